// SPDX-License-Identifier: Apache-2.0
//
// What faults that give packets to a class of the plane have in common: net.rate, net.delay.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "injector/faults/fault.h"

namespace faultline {

// Fills in what the request says of `spec`.
void ReadSteering(const Request& request, SteerSpec* spec);

// What a person should know of any of them; `rest` follows the device's name.
void NoteSteering(Host& host, const std::string& device, const std::string& rest,
                  std::vector<std::string>* notes);

// The class counts what passed it; the program at the hook knows when. `primary` is the dose that
// the class counts.
Evidence MeasureSteered(absl::Span<const std::unique_ptr<Lever>> levers, absl::string_view primary);

}  // namespace faultline
