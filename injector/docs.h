// SPDX-License-Identifier: Apache-2.0
//
// The fault table for readers: what a row says, as a message and as docs/faults.md. Stateless.
#pragma once

#include <string>

#include "faultline/v1/faults.pb.h"
#include "injector/faults/fault.h"

namespace faultline {

// Everything but the availability, which is the host's.
v1::FaultInfo Describe(const FaultType& type);

// docs/faults.md; a test compares.
std::string FaultsDoc();

}  // namespace faultline
