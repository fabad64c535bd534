// SPDX-License-Identifier: Apache-2.0
//
// What SetUnitProperties(runtime) does to a unit, and its exact undo: the properties and the
// drop-ins that systemd writes for them. Shared by the levers that change a unit; which value is
// wanted, and what in the control group shows that it came, is theirs. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "injector/host/units.h"

namespace faultline {

constexpr char kQuotaProperty[] = "CPUQuotaPerSecUSec";
constexpr char kPeriodProperty[] = "CPUQuotaPeriodUSec";
constexpr char kWeightProperty[] = "CPUWeight";
constexpr char kMemoryProperty[] = "MemoryAccounting";

// `property`=`value` as the line of a drop-in.
std::string UnitLine(absl::string_view property, std::uint64_t value);
// What is left of a value that systemd reads from its own drop-in.
std::uint64_t UnitValueAfterReload(absl::string_view property, std::uint64_t value);

void AddProperty(absl::string_view name, std::uint64_t before, std::uint64_t after,
                 v1::UnitChange* change);
// The drop-ins of the properties of `change`, as they are now, and the folders that do not exist.
absl::Status FillFiles(Units* units, const Units::Unit& unit, v1::UnitChange* change);

// What `change`, which must outlive it, did.
class UnitProperties {
 public:
  UnitProperties(Units* units, const v1::UnitChange& change) : units_(units), change_(change) {}

  // Whether this version knows every property, so that it can take them back.
  bool Known() const;

  absl::Status Set() const;

  // In the order of the change. NotFound: systemd has not loaded the unit; its files say all.
  absl::StatusOr<std::vector<std::uint64_t>> Now() const;

  // Sets back what is ours of `now`. What is not goes to `foreign`, a sentence each.
  absl::Status SetBack(const std::vector<std::uint64_t>& now,
                       std::vector<std::string>* foreign) const;

  // The drop-ins and their folders as they were, but for those that somebody else wrote.
  absl::Status RestoreFiles(std::vector<std::string>* foreign) const;

  // FailedPrecondition: a property or a drop-in is not as before.
  absl::Status Residue() const;

 private:
  absl::Status RestoreFile(int i, std::vector<std::string>* foreign) const;

  Units* const units_;
  const v1::UnitChange& change_;
};

// Aborted if something is foreign.
absl::Status LeftAlone(const std::vector<std::string>& foreign);

}  // namespace faultline
