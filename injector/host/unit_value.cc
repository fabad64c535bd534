// SPDX-License-Identifier: Apache-2.0
#include <stop_token>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "injector/host/unit_properties.h"
#include "injector/host/unit_quota.h"
#include "injector/host/units.h"

namespace faultline {
namespace {

// From systemd's answer to the control group's file: 92 ms at most of a set, an emulated machine
// (docs/decisions/0006-units.md).
constexpr std::int64_t kSettleNs = kNsPerSecond;
constexpr std::int64_t kSettlePollNs = 2 * kNsPerMs;

constexpr char kQuotaController[] = "cpu";
constexpr char kQuotaFile[] = "cpu.max";

absl::StatusOr<UnitQuota> ReadQuota(Units* units, const std::string& unit) {
  const std::vector<std::string> names{kQuotaProperty, kPeriodProperty};
  const absl::StatusOr<std::vector<std::uint64_t>> values = units->Get(unit, names);
  if (!values.ok()) return values.status();
  return UnitQuota{values->at(0), values->at(1)};
}

class UnitValue final : public Lever {
 public:
  UnitValue(Units* units, Clock* clock, v1::Change change)
      : units_(units), clock_(clock), change_(std::move(change)), by_(units, change_.unit()) {}

  const v1::Change& change() const override { return change_; }

  std::vector<std::string> Notes() const override {
    std::vector<std::string> notes;
    const std::string& unit = change_.unit().unit();
    if (change_.before().empty()) {
      notes.push_back(absl::StrCat(
          "the cpu controller is off for ", unit,
          ": systemd turns it on for every unit beside it and off again after the fault, which "
          "their metrics show; give one of them a CPUWeight= before the run to keep it on"));
    }
    const std::uint64_t quota = change_.unit().properties(0).after();
    if (QuotaAfterReload(quota) != quota) {
      notes.push_back(absl::StrCat(
          "systemd keeps a quota in whole percents of a CPU: a daemon-reload would leave ", unit,
          " ", QuotaLine(quota).substr(QuotaLine(0).find('=') + 1),
          ", which ends the fault as interfered"));
    }
    return notes;
  }

  absl::Status Apply() override {
    if (absl::Status set = by_.Set(); !set.ok()) return set;
    return Await(&UnitValue::IsAfter, change_.after());
  }

  absl::Status Verify() override {
    const absl::StatusOr<Text> now = Read();
    if (absl::IsNotFound(now.status())) return now.status();
    if (!now.ok()) return absl::AbortedError(now.status().message());
    if (IsAfter(*now)) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat(Name(), " is ", Show(*now),
                                           " although the fault set it to ", change_.after(),
                                           " through systemd"));
  }

  absl::Status Restore() override {
    const absl::StatusOr<Text> found = Read();
    if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
    const Text text = found.ok() ? *found : Text();
    EndAtOnce(text);
    std::vector<std::string> foreign;
    std::string past_systemd;
    const absl::StatusOr<UnitQuota> now = ReadQuota(units_, change_.unit().unit());
    if (!now.ok() && !absl::IsNotFound(now.status())) return now.status();
    if (now.ok()) {
      if (absl::Status set = by_.SetBack(Ours(*now), &foreign); !set.ok()) return set;
      // Also what an earlier attempt died before.
      units_->DropEmptyGroup(change_.object());
      const bool known = !text || IsAfter(text) || IsBefore(text) || *text == CpuMaxOf(*now);
      if (!known) past_systemd = *text;
    }
    if (absl::Status status = by_.RestoreFiles(&foreign); !status.ok()) return status;
    if (foreign.empty()) {
      absl::Status back = Await(&UnitValue::IsBefore, change_.before());
      if (!back.ok()) return back;
    }
    if (!past_systemd.empty()) {
      foreign.push_back(absl::StrCat(Name(), " was ", past_systemd));
      absl::Status kept = units_->WriteGroup(change_.object(), kQuotaFile, past_systemd);
      if (!kept.ok()) return kept;
    }
    return LeftAlone(foreign);
  }

  absl::Status Residue() override {
    const absl::StatusOr<Text> text = Read();
    if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
    if (text.ok() && !IsBefore(*text)) {
      return absl::FailedPreconditionError(absl::StrCat(
          Name(), " is ", Show(*text), "; before the fault it was ", change_.before()));
    }
    return by_.Residue();
  }

 private:
  using Text = std::optional<std::string>;

  absl::StatusOr<Text> Read() const { return units_->ReadGroup(change_.object(), kQuotaFile); }
  std::string Name() const { return absl::StrCat(kQuotaFile, " of ", change_.object()); }
  static std::string Show(const Text& text) { return text ? *text : "gone with its controller"; }

  bool IsAfter(const Text& text) const { return text && *text == change_.after(); }
  // A group whose controller is off has no limit.
  bool IsBefore(const Text& text) const {
    const std::string& before = change_.before().empty() ? kUnitDefault : change_.before();
    return text ? *text == before : before == kUnitDefault;
  }

  // Until the file `is`; a group that is gone has nothing to wait for.
  absl::Status Await(bool (UnitValue::*is)(const Text&) const, const std::string& wanted) const {
    const std::int64_t end_ns = clock_->Now().boottime_ns + kSettleNs;
    while (true) {
      const absl::StatusOr<Text> now = Read();
      if (absl::IsNotFound(now.status())) return absl::OkStatus();
      if (!now.ok()) return now.status();
      if ((this->*is)(*now)) return absl::OkStatus();
      const std::int64_t now_ns = clock_->Now().boottime_ns;
      if (now_ns >= end_ns) {
        return absl::UnavailableError(absl::StrCat(Name(), " is still ", Show(*now),
                                                   " 1 s after systemd agreed to make it ",
                                                   wanted.empty() ? kUnitDefault : wanted));
      }
      clock_->WaitUntil(now_ns + kSettlePollNs, std::stop_token());
    }
  }

  // The deadline does not wait for systemd. What it makes of it is the same value.
  void EndAtOnce(const Text& text) const {
    if (!IsAfter(text) || IsBefore(text)) return;
    [[maybe_unused]] const absl::Status written = units_->WriteGroup(
        change_.object(), kQuotaFile, change_.before().empty() ? kUnitDefault : change_.before());
  }

  // The properties of the change.
  std::vector<std::uint64_t> Ours(const UnitQuota& quota) const {
    std::vector<std::uint64_t> values;
    for (const v1::UnitProperty& property : change_.unit().properties()) {
      const bool period = property.name() == kPeriodProperty;
      values.push_back(period ? quota.period_us : quota.per_second_us);
    }
    return values;
  }

  Units* const units_;
  Clock* const clock_;
  const v1::Change change_;
  // Declared after what it points into.
  const UnitProperties by_;
};

}  // namespace

bool IsUnitValue(absl::string_view controller, absl::string_view file) {
  return controller == kQuotaController && file == kQuotaFile;
}

LeverOr MakeUnitValue(Units* units, Clock* clock, const Units::Unit& unit,
                      const std::string& controller, const std::string& file,
                      const std::string& value) {
  const absl::StatusOr<std::optional<std::string>> text = units->ReadGroup(unit.cgroup, file);
  if (!text.ok()) return text.status();
  const absl::StatusOr<UnitQuota> now = ReadQuota(units, unit.id);
  if (!now.ok()) return now.status();
  const std::string is = text->value_or(kUnitDefault);
  if (CpuMaxOf(*now) != is) {
    return absl::FailedPreconditionError(absl::StrCat(
        file, " of ", unit.cgroup, " is ", is, ", but systemd would make it ", CpuMaxOf(*now),
        " for ", unit.id,
        ": somebody wrote past it, and that would be lost; `systemctl daemon-reload` brings what "
        "systemd knows into force"));
  }
  const std::optional<UnitQuota> wanted = QuotaFor(value, *now);
  if (!wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat("systemd cannot give ", unit.id, " a ", file, " of ", value));
  }
  v1::Change change;
  change.set_kind("cgroup_value");
  change.set_object(unit.cgroup);
  change.set_attribute(absl::StrCat(controller, ":", file));
  change.set_before(text->value_or(""));
  change.set_after(value);
  v1::UnitChange* by = change.mutable_unit();
  by->set_unit(unit.id);
  AddProperty(kQuotaProperty, now->per_second_us, wanted->per_second_us, by);
  if (wanted->period_us != now->period_us) {
    AddProperty(kPeriodProperty, now->period_us, wanted->period_us, by);
  }
  if (absl::Status status = FillFiles(units, unit, by); !status.ok()) return status;
  return std::make_unique<UnitValue>(units, clock, std::move(change));
}

LeverOr RecoverUnitValue(Units* units, Clock* clock, const v1::Change& change) {
  if (UnitProperties(units, change.unit()).Known()) {
    return std::make_unique<UnitValue>(units, clock, change);
  }
  return absl::InvalidArgumentError(absl::StrCat("the journal holds a property of ",
                                                 change.unit().unit(),
                                                 " that this version does not know"));
}

}  // namespace faultline
