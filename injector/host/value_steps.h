// SPDX-License-Identifier: Apache-2.0
//
// The values that a change of a control group's value passes while its fault follows a shape: all
// of them stand in the change, so the journal knows them before the first is written. Pure.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// What `change` has at `level`: before at 0, after at 1, and in between one of its steps, or after
// where it has none.
const std::string& ValueAt(const v1::Change& change, double level);

// What Apply sets: the first step, or after.
const std::string& FirstValue(const v1::Change& change);

// Whether the fault itself sets `value`: after, or a step.
bool IsOwnValue(const v1::Change& change, absl::string_view value);

}  // namespace faultline
