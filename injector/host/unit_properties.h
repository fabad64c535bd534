// SPDX-License-Identifier: Apache-2.0
//
// What SetUnitProperties(runtime) does to a unit, and its exact undo: the properties and the
// drop-ins that systemd writes for them. Shared by the levers that change a unit; which value is
// wanted, and what in the control group shows that it came, is theirs. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
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
constexpr char kMemoryMaxProperty[] = "MemoryMax";
constexpr char kMemoryHighProperty[] = "MemoryHigh";
constexpr char kIoProperty[] = "IOAccounting";

// A systemd that does not answer (a daemon-reload) is asked again for so long, and so often.
constexpr std::int64_t kBusyNs = 5'000'000'000;
constexpr std::int64_t kAskAgainNs = 100'000'000;

// `property`=`value` as the line of a drop-in.
std::string UnitLine(absl::string_view property, std::uint64_t value);
// What is left of a value that systemd reads from its own drop-in.
std::uint64_t UnitValueAfterReload(absl::string_view property, std::uint64_t value);

void AddProperty(absl::string_view name, std::uint64_t before, std::uint64_t after,
                 v1::UnitChange* change);
// The drop-ins of the properties of `change`, as they are now, and their folders, to be removed
// when they are empty again. Also those that are there: of two faults on a unit the first has
// systemd make them, and the last to end finds them empty. systemd makes them when it needs them,
// and one that is empty says nothing to it.
absl::Status FillFiles(Units* units, const Units::Unit& unit, v1::UnitChange* change);

// What `change`, which must outlive it, did.
class UnitProperties {
 public:
  // `steps`: values of the first property on the way to `after`.
  UnitProperties(Units* units, const v1::UnitChange& change, std::vector<std::uint64_t> steps = {})
      : units_(units), change_(change), steps_(std::move(steps)) {}

  // Whether this version knows every property, so that it can take them back.
  bool Known() const;

  // As they are to be, or with the first at `first`.
  absl::Status Set() const;
  absl::Status SetFirst(std::uint64_t first) const;
  // As they were before, while the fault goes on: between two pulses.
  absl::Status SetBefore() const;

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
  // What is set here, of property `i`: the last value and those on the way there.
  std::vector<std::uint64_t> OwnValues(int i) const;

  Units* const units_;
  const v1::UnitChange& change_;
  const std::vector<std::uint64_t> steps_;
};

// Aborted if something is foreign.
absl::Status LeftAlone(const std::vector<std::string>& foreign);

}  // namespace faultline
