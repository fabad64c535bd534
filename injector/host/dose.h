// SPDX-License-Identifier: Apache-2.0
//
// One amount of Evidence, in one line. Stateless.
#pragma once

#include <cstdint>

#include "faultline/v1/faults.pb.h"

namespace faultline {

// `unit` in UCUM. A gauge's value is of now, any other's since the start of the fault.
inline v1::Dose MakeDose(const char* name, const char* unit, std::int64_t value,
                         bool gauge = false) {
  v1::Dose dose;
  dose.set_name(name);
  dose.set_unit(unit);
  dose.set_value(value);
  dose.set_gauge(gauge);
  return dose;
}

}  // namespace faultline
