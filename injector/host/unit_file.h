// SPDX-License-Identifier: Apache-2.0
//
// The control group files that systemd makes of a unit's properties, one row each: which properties
// those are, and how the text of the file and their values become each other. Follows
// cgroup_context_apply of systemd 252 (src/core/cgroup.c). A file that has no row here is written
// past systemd, which leaves it alone: io.max has lines only for devices that the unit's own
// settings name. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace faultline {

// Of a unit's properties, in the order of the row.
using UnitValues = std::vector<std::uint64_t>;

struct UnitFile {
  const char* controller;
  const char* file;
  // The first is the value's own; what the others are is kept where that will do.
  absl::Span<const char* const> properties;
  // What the file says at first after its controller was turned on.
  const char* fresh;
  // A setting that keeps the controller on.
  const char* keeper;
  std::string (*text)(const UnitValues& values);
  // What makes systemd write `text`, given what is in force. None: nothing does.
  std::optional<UnitValues> (*values)(absl::string_view text, const UnitValues& now);
};

// Null: no property stands behind `file` of `controller`, of cgroup v2.
const UnitFile* FindUnitFile(absl::string_view controller, absl::string_view file);

}  // namespace faultline
