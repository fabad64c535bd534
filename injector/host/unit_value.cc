// SPDX-License-Identifier: Apache-2.0
#include <stop_token>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "injector/host/unit_file.h"
#include "injector/host/unit_properties.h"
#include "injector/host/unit_quota.h"
#include "injector/host/units.h"
#include "injector/host/value_steps.h"

namespace faultline {
namespace {

// From systemd's answer to the control group's file: 92 ms at most of a set, an emulated machine
// (docs/decisions/0006-units.md).
constexpr std::int64_t kSettleNs = kNsPerSecond;
constexpr std::int64_t kSettlePollNs = 2 * kNsPerMs;
// Waited for on the spot, and between two looks afterwards: other faults have deadlines.
constexpr std::int64_t kMomentNs = 10 * kNsPerMs;

// What systemd makes the file of `change` of. Null: this version knows no such file.
const UnitFile* RowOf(const v1::Change& change) {
  const std::vector<std::string> names =
      absl::StrSplit(change.attribute(), absl::MaxSplits(':', 1));
  return names.size() == 2 ? FindUnitFile(names[0], names[1]) : nullptr;
}

absl::StatusOr<UnitValues> ReadProperties(Units* units, const std::string& unit,
                                          const UnitFile& row) {
  return units->Get(unit, std::vector<std::string>(row.properties.begin(), row.properties.end()));
}

// What systemd is told for `value`, once the change is in force: its own property of it.
std::uint64_t OwnProperty(const UnitFile& row, const v1::Change& change, const std::string& value) {
  UnitValues with(row.properties.size(), kUnitInfinity);
  for (size_t i = 0; i < with.size(); ++i) {
    for (const v1::UnitProperty& property : change.unit().properties()) {
      if (property.name() == row.properties[i]) with[i] = property.after();
    }
  }
  const std::optional<UnitValues> values = row.values(value, with);
  // Each was tried when the lever was made.
  return values ? values->front() : kUnitInfinity;
}

std::vector<std::uint64_t> StepsOf(const UnitFile& row, const v1::Change& change) {
  std::vector<std::uint64_t> steps;
  for (const std::string& step : change.steps()) steps.push_back(OwnProperty(row, change, step));
  return steps;
}

class UnitValue final : public Lever {
 public:
  UnitValue(Units* units, Clock* clock, const UnitFile& row, v1::Change change, bool recovered)
      : units_(units),
        clock_(clock),
        row_(row),
        change_(std::move(change)),
        by_(units, change_.unit(), StepsOf(row_, change_)),
        recovered_(recovered),
        set_(FirstValue(change_)),
        slow_(
            Name(),
            [this](const std::string& value) {
              return units_->BeginWriteGroup(change_.object(), row_.file, value);
            },
            [this] { return CheckOurs(); }) {}

  const v1::Change& change() const override { return change_; }

  std::vector<std::string> Notes() const override {
    std::vector<std::string> notes;
    const std::string& unit = change_.unit().unit();
    if (change_.before().empty()) {
      notes.push_back(absl::StrCat(
          "the ", row_.controller, " controller is off for ", unit,
          ": systemd turns it on for every unit beside it and off again after the fault, which "
          "their metrics show; give one of them a ",
          row_.keeper, " before the run to keep it on"));
    }
    const v1::UnitProperty& own = change_.unit().properties(0);
    const std::uint64_t quota = own.after();
    if (UnitValueAfterReload(own.name(), quota) != quota) {
      notes.push_back(absl::StrCat(
          "systemd keeps a quota in whole percents of a CPU: a daemon-reload would leave ", unit,
          " ", QuotaLine(quota).substr(QuotaLine(0).find('=') + 1),
          ", which ends the fault as interfered"));
    }
    return notes;
  }

  absl::Status Apply() override { return Move(); }

  absl::Status SetLevel(double level) override {
    const std::string value = ValueAt(change_, level);
    off_ = level <= 0;
    if (set_ != value) asked_ns_ = told_ns_ = 0;
    set_ = value;
    return Move();
  }

  std::int64_t wait_ns() const override { return wait_ns_; }

  absl::Status Verify() override {
    const absl::StatusOr<Text> now = Read();
    if (absl::IsNotFound(now.status())) return now.status();
    if (!now.ok()) return absl::AbortedError(now.status().message());
    if (IsSet(*now) || (recovered_ && IsOwn(*now))) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat(
        Name(), " is ", Show(*now), " although the fault set it to ", set_, " through systemd"));
  }

  absl::Status Restore() override {
    const absl::StatusOr<Text> found = Read();
    if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
    const Text text = found.ok() ? *found : Text();
    const absl::Status left = slow_.Leave();
    wait_ns_ = slow_.wait_ns();
    EndAtOnce(text);
    if (!left.ok()) return left;
    std::vector<std::string> foreign;
    const absl::StatusOr<UnitValues> now = ReadProperties(units_, change_.unit().unit(), row_);
    if (!now.ok() && !absl::IsNotFound(now.status())) return now.status();
    if (now.ok()) {
      // Kept from one attempt to the next: systemd overwrites it with what we ask for.
      const bool known = !text || IsOwn(text) || IsBefore(text) || *text == row_.text(*now);
      if (!known && past_systemd_.empty()) past_systemd_ = *text;
      if (absl::Status set = by_.SetBack(Ours(*now), &foreign); !set.ok()) return set;
      // Also what an earlier attempt died before.
      units_->DropEmptyGroup(change_.object());
    }
    if (absl::Status status = by_.RestoreFiles(&foreign); !status.ok()) return status;
    if (foreign.empty()) {
      if (back_ns_ == 0) back_ns_ = clock_->Now().boottime_ns;
      absl::Status back = Await(&UnitValue::IsBefore, change_.before(), back_ns_);
      if (wait_ns_ == 0) back_ns_ = 0;
      if (!back.ok()) return back;
    }
    if (!past_systemd_.empty()) {
      foreign.push_back(absl::StrCat(Name(), " was ", past_systemd_));
      absl::Status kept = units_->WriteGroup(change_.object(), row_.file, past_systemd_);
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

  absl::StatusOr<Text> Read() const { return units_->ReadGroup(change_.object(), row_.file); }
  std::string Name() const { return absl::StrCat(row_.file, " of ", change_.object()); }
  std::string Before() const { return change_.before().empty() ? row_.fresh : change_.before(); }
  static std::string Show(const Text& text) { return text ? *text : "gone with its controller"; }

  bool IsSet(const Text& text) const { return text && *text == set_; }
  bool IsOwn(const Text& text) const { return text && IsOwnValue(change_, *text); }
  // A group whose controller is off has no limit.
  bool IsBefore(const Text& text) const {
    return text ? *text == Before() : Before() == row_.fresh;
  }

  // Brings set_ into force: the kernel makes room for it, systemd is told, its file shows it.
  absl::Status Move() {
    wait_ns_ = 0;
    const std::int64_t now_ns = clock_->Now().boottime_ns;
    if (asked_ns_ == 0) asked_ns_ = now_ns;
    absl::Status status = told_ns_ == 0 ? MakeRoom() : absl::OkStatus();
    if (status.ok() && told_ns_ == 0) {
      status = Tell();
      // It is busy; asked in vain it does the same once more.
      const bool patient = clock_->Now().boottime_ns - asked_ns_ < kBusyNs;
      if (absl::IsUnavailable(status) && patient) wait_ns_ = kAskAgainNs;
      if (status.ok()) told_ns_ = clock_->Now().boottime_ns;
    }
    if (status.ok())
      status = Await(off_ ? &UnitValue::IsBefore : &UnitValue::IsSet, set_, told_ns_);
    if (wait_ns_ == 0) asked_ns_ = told_ns_ = 0;
    return status;
  }

  absl::Status Tell() const {
    if (off_) return by_.SetBefore();
    const bool whole = set_ == change_.after();
    return whole ? by_.Set() : by_.SetFirst(OwnProperty(row_, change_, set_));
  }

  // While a write is under way, which would overwrite what somebody else wrote since.
  absl::Status CheckOurs() const {
    const absl::StatusOr<Text> now = Read();
    if (!now.ok()) return now.status();
    if (IsBefore(*now) || IsOwn(*now)) return absl::OkStatus();
    return absl::AbortedError(
        absl::StrCat(Name(), " is ", Show(*now), ": somebody else set it while the fault did"));
  }

  // What is above a limit of memory is freed before systemd writes it: PID 1 would stand still.
  absl::Status MakeRoom() {
    if (!FreesMemory(row_.file)) return absl::OkStatus();
    const absl::StatusOr<Text> now = Read();
    if (off_) {
      // The one before may still be making it.
      absl::Status left = slow_.Leave();
      wait_ns_ = slow_.wait_ns();
      if (!left.ok() && now.ok()) EndAtOnce(*now);
      return left;
    }
    // Its controller is off: nothing is charged to it.
    if (!now.ok() || !*now) return absl::OkStatus();
    absl::Status status = slow_.Set(set_);
    wait_ns_ = slow_.wait_ns();
    return status;
  }

  // Until the file `is`, for a moment; a group that is gone has nothing to wait for. Systemd agreed
  // at `since_ns`.
  absl::Status Await(bool (UnitValue::*is)(const Text&) const, const std::string& wanted,
                     std::int64_t since_ns) {
    const std::int64_t moment_ns = clock_->Now().boottime_ns + kMomentNs;
    while (true) {
      const absl::StatusOr<Text> now = Read();
      if (absl::IsNotFound(now.status())) return absl::OkStatus();
      if (!now.ok()) return now.status();
      if ((this->*is)(*now)) return absl::OkStatus();
      const std::int64_t now_ns = clock_->Now().boottime_ns;
      const bool over = now_ns - since_ns >= kSettleNs;
      if (over || now_ns >= moment_ns) {
        wait_ns_ = over ? 0 : kMomentNs;
        return absl::UnavailableError(absl::StrCat(
            Name(), " is still ", Show(*now), over ? " 1 s" : "",
            " after systemd agreed to make it ", wanted.empty() ? row_.fresh : wanted));
      }
      clock_->WaitUntil(now_ns + kSettlePollNs, std::stop_token());
    }
  }

  // The deadline does not wait for systemd. What it makes of it is the same value.
  void EndAtOnce(const Text& text) const {
    if (!IsOwn(text) || IsBefore(text)) return;
    [[maybe_unused]] const absl::Status written =
        units_->WriteGroup(change_.object(), row_.file, Before());
  }

  // The properties of the change.
  std::vector<std::uint64_t> Ours(const UnitValues& now) const {
    std::vector<std::uint64_t> values;
    for (const v1::UnitProperty& property : change_.unit().properties()) {
      for (size_t i = 0; i < now.size(); ++i) {
        if (property.name() == row_.properties[i]) values.push_back(now[i]);
      }
    }
    return values;
  }

  Units* const units_;
  Clock* const clock_;
  const UnitFile& row_;
  const v1::Change change_;
  // Declared after what it points into.
  const UnitProperties by_;
  const bool recovered_;
  // What was last set, or is to be, and whether that is what was before.
  std::string set_;
  bool off_ = false;
  SlowWrites slow_;
  // When it was first tried to bring set_ into force, when systemd agreed to that, and when to what
  // was before, CLOCK_BOOTTIME ns; 0: not under way.
  std::int64_t asked_ns_ = 0;
  std::int64_t told_ns_ = 0;
  std::int64_t back_ns_ = 0;
  // What somebody wrote past systemd, found by the first attempt to undo; empty: nothing.
  std::string past_systemd_;
  std::int64_t wait_ns_ = 0;
};

}  // namespace

const char* UnitDefault(absl::string_view controller, absl::string_view file) {
  const UnitFile* row = FindUnitFile(controller, file);
  return row == nullptr ? nullptr : row->fresh;
}

LeverOr MakeUnitValue(Units* units, Clock* clock, const Units::Unit& unit,
                      const std::string& controller, const std::string& file,
                      const std::string& value, const std::vector<std::string>& steps) {
  const UnitFile& row = *FindUnitFile(controller, file);
  const absl::StatusOr<std::optional<std::string>> text = units->ReadGroup(unit.cgroup, file);
  if (!text.ok()) return text.status();
  const absl::StatusOr<UnitValues> now = ReadProperties(units, unit.id, row);
  if (!now.ok()) return now.status();
  const std::string is = text->value_or(row.fresh);
  if (row.text(*now) != is) {
    return absl::FailedPreconditionError(absl::StrCat(
        file, " of ", unit.cgroup, " is ", is, ", but systemd would make it ", row.text(*now),
        " for ", unit.id,
        ": somebody wrote past it, and that would be lost; `systemctl daemon-reload` brings what "
        "systemd knows into force"));
  }
  std::vector<std::string> all = steps;
  all.push_back(value);
  for (const std::string& each : all) {
    if (row.values(each, *now)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("systemd cannot give ", unit.id, " a ", file, " of ", each));
  }
  const UnitValues wanted = *row.values(value, *now);
  v1::Change change;
  change.set_kind("cgroup_value");
  change.set_object(unit.cgroup);
  change.set_attribute(absl::StrCat(controller, ":", file));
  change.set_before(text->value_or(""));
  change.set_after(value);
  change.mutable_steps()->Assign(steps.begin(), steps.end());
  v1::UnitChange* by = change.mutable_unit();
  by->set_unit(unit.id);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i > 0 && wanted[i] == now->at(i)) continue;
    AddProperty(row.properties[i], now->at(i), wanted[i], by);
  }
  if (absl::Status status = FillFiles(units, unit, by); !status.ok()) return status;
  return std::make_unique<UnitValue>(units, clock, row, std::move(change), false);
}

LeverOr RecoverUnitValue(Units* units, Clock* clock, const v1::Change& change) {
  const UnitFile* row = RowOf(change);
  if (row != nullptr && UnitProperties(units, change.unit()).Known()) {
    return std::make_unique<UnitValue>(units, clock, *row, change, true);
  }
  return absl::InvalidArgumentError(absl::StrCat("the journal holds a property of ",
                                                 change.unit().unit(),
                                                 " that this version does not know"));
}

}  // namespace faultline
