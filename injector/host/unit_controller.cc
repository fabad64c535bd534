// SPDX-License-Identifier: Apache-2.0
//
// A controller that systemd keeps on for a unit, because a property of the unit asks for it: one
// that says what is in force anyway. It is set also where the controller is on for another's sake,
// who may go.
#include <algorithm>
#include <array>
#include <stop_token>

#include "absl/strings/str_cat.h"
#include "injector/host/controllers.h"
#include "injector/host/unit_properties.h"
#include "injector/host/unit_quota.h"

namespace faultline {
namespace {

// From systemd's answer to the file: docs/decisions/0006-units.md.
constexpr std::int64_t kTurnOnNs = kNsPerSecond;
// Back off, where nobody else needs it, which is not for us to say: no error if not.
constexpr std::int64_t kTurnOffNs = 300 * kNsPerMs;
constexpr std::int64_t kTurnPollNs = 2 * kNsPerMs;
// Waited for on the spot, and between two looks afterwards: other faults have deadlines.
constexpr std::int64_t kTurnMomentNs = 10 * kNsPerMs;

// Of systemd 252: cgroup_context_get_mask of src/core/cgroup.c.
struct ControllerRow {
  const char* controller;
  // Set to this value, the unit asks for the controller and is otherwise as before.
  const char* property;
  std::uint64_t value;
  // What it and the others are where nobody set them; set, each asks for the controller, too.
  std::uint64_t unset;
  std::array<const char*, 3> askers;
  // That it stands for, with the text that it would make; null: none.
  const char* file;
  const char* text;
};
constexpr std::array<ControllerRow, 3> kControllerRows{
    {{"cpu",
      kWeightProperty,
      100,
      kUnitInfinity,
      {kWeightProperty, "StartupCPUWeight", kQuotaProperty},
      "cpu.weight",
      "100"},
     {"memory", kMemoryProperty, 1, 0, {kMemoryProperty, nullptr, nullptr}, nullptr, nullptr},
     {"io", kIoProperty, 1, 0, {kIoProperty, nullptr, nullptr}, nullptr, nullptr}}};

const ControllerRow* FindControllerRow(const std::string& controller) {
  for (const ControllerRow& row : kControllerRows) {
    if (controller == row.controller) return &row;
  }
  return nullptr;
}

// Whether the unit's own settings ask for the controller.
absl::StatusOr<bool> Asks(Units* units, const std::string& unit, const ControllerRow& row) {
  std::vector<std::string> names;
  for (const char* name : row.askers) {
    if (name != nullptr) names.emplace_back(name);
  }
  const absl::StatusOr<std::vector<std::uint64_t>> values = units->Get(unit, names);
  if (!values.ok()) return values.status();
  return std::any_of(values->begin(), values->end(),
                     [&row](std::uint64_t value) { return value != row.unset; });
}

class UnitController final : public Lever {
 public:
  UnitController(const ControllerHost& host, v1::Change change)
      : host_(host), change_(std::move(change)), by_(host.units, change_.unit()) {}

  const v1::Change& change() const override { return change_; }

  std::vector<std::string> Notes() const override {
    if (change_.before() == kControllerOn) return {};
    return {absl::StrCat("the ", change_.attribute(), " controller is off for ",
                         change_.unit().unit(),
                         ": systemd turns it on for every unit beside it, too, which their metrics "
                         "show from then on")};
  }

  absl::Status Apply() override {
    if (change_.unit().properties().empty()) return absl::OkStatus();
    wait_ns_ = 0;
    if (since_ns_ == 0) {
      if (absl::Status set = by_.Set(); !set.ok()) return AskAgain(set);
      since_ns_ = host_.clock->Now().boottime_ns;
    }
    asked_ns_ = 0;
    return Await(true, kTurnOnNs);
  }

  std::int64_t wait_ns() const override { return wait_ns_; }

  // The unit may stop and start again meanwhile: systemd asks for what it knows of it, running or
  // not.
  absl::Status Verify() override {
    return CheckOn(host_.subtrees, change_.object(), change_.attribute());
  }

  absl::Status Restore() override {
    if (change_.unit().properties().empty()) return absl::OkStatus();
    wait_ns_ = 0;
    std::vector<std::string> foreign;
    const absl::StatusOr<std::vector<std::uint64_t>> now = by_.Now();
    if (!now.ok() && !absl::IsNotFound(now.status())) return now.status();
    if (now.ok()) {
      if (absl::Status set = by_.SetBack(*now, &foreign); !set.ok()) return set;
      // Also what an earlier attempt died before.
      host_.units->DropEmptyGroup(change_.object());
    }
    if (absl::Status status = by_.RestoreFiles(&foreign); !status.ok()) return status;
    if (change_.before() == kControllerOff && foreign.empty()) {
      if (!restoring_) since_ns_ = host_.clock->Now().boottime_ns;
      restoring_ = true;
      absl::Status off = Await(false, kTurnOffNs);
      if (wait_ns_ > 0) return off;
      restoring_ = false;
    }
    return LeftAlone(foreign);
  }

  absl::Status Residue() override { return by_.Residue(); }

 private:
  // Systemd may be too busy for an answer; asked in vain it does the same once more.
  absl::Status AskAgain(const absl::Status& set) {
    const std::int64_t now_ns = host_.clock->Now().boottime_ns;
    if (asked_ns_ == 0) asked_ns_ = now_ns;
    if (absl::IsUnavailable(set) && now_ns - asked_ns_ < kBusyNs) {
      wait_ns_ = kAskAgainNs;
    } else {
      asked_ns_ = 0;
    }
    return set;
  }

  // For a moment, of `patience_ns` since since_ns_.
  absl::Status Await(bool wanted, std::int64_t patience_ns) {
    const std::int64_t moment_ns = host_.clock->Now().boottime_ns + kTurnMomentNs;
    while (true) {
      const absl::StatusOr<bool> on =
          host_.subtrees->HasOn(ParentGroup(change_.object()), change_.attribute());
      const bool done = on.ok() && *on == wanted;
      const std::int64_t now_ns = host_.clock->Now().boottime_ns;
      const bool over = now_ns - since_ns_ >= patience_ns;
      if (!on.ok() || done || over) since_ns_ = 0;
      if (!on.ok()) return on.status();
      if (done) return absl::OkStatus();
      if (over || now_ns >= moment_ns) {
        wait_ns_ = over ? 0 : kTurnMomentNs;
        return absl::UnavailableError(absl::StrCat(
            "the ", change_.attribute(), " controller is still ", *on ? "on" : "off", " for ",
            change_.object(), " although systemd agreed to turn it ", wanted ? "on" : "off"));
      }
      host_.clock->WaitUntil(now_ns + kTurnPollNs, std::stop_token());
    }
  }

  const ControllerHost host_;
  const v1::Change change_;
  // Declared after what it points into.
  const UnitProperties by_;
  // When systemd agreed to what is waited for, CLOCK_BOOTTIME ns; 0: nothing is.
  std::int64_t since_ns_ = 0;
  // When it was asked first, while it was too busy to answer.
  std::int64_t asked_ns_ = 0;
  bool restoring_ = false;
  std::int64_t wait_ns_ = 0;
};

// That the property says what holds anyway.
absl::Status CheckInForce(Units* units, const Units::Unit& unit, const ControllerRow& row) {
  if (row.file == nullptr) return absl::OkStatus();
  const absl::StatusOr<std::optional<std::string>> text = units->ReadGroup(unit.cgroup, row.file);
  if (!text.ok()) return text.status();
  if (!*text || **text == row.text) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      row.file, " of ", unit.cgroup, " is ", **text, ", but ", unit.id, " has no ", row.property,
      "=: somebody wrote past systemd, and that would be lost; `systemctl set-property --runtime ",
      unit.id, " ", row.property, "=", **text, "` makes systemd keep it"));
}

}  // namespace

LeverOr MakeUnitController(const ControllerHost& host, const Units::Unit& unit,
                           const std::string& controller) {
  const ControllerRow* row = FindControllerRow(controller);
  if (row == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("no property of units turns on the ", controller, " controller alone"));
  }
  const absl::StatusOr<bool> on = host.subtrees->HasOn(ParentGroup(unit.cgroup), controller);
  if (!on.ok()) return on.status();
  const absl::StatusOr<bool> asks = Asks(host.units, unit.id, *row);
  if (!asks.ok()) return asks.status();
  if (*asks && !*on) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the ", controller, " controller is off for ", unit.cgroup, ", although ", unit.id,
        " asks for it; `systemctl daemon-reload` brings what systemd knows into force"));
  }
  v1::Change change;
  change.set_kind("controller");
  change.set_object(unit.cgroup);
  change.set_attribute(controller);
  change.set_before(*on ? kControllerOn : kControllerOff);
  change.set_after(kControllerOn);
  v1::UnitChange* by = change.mutable_unit();
  by->set_unit(unit.id);
  if (!*asks) {
    if (absl::Status same = CheckInForce(host.units, unit, *row); !same.ok()) return same;
    AddProperty(row->property, row->unset, row->value, by);
    if (absl::Status status = FillFiles(host.units, unit, by); !status.ok()) return status;
  }
  return std::make_unique<UnitController>(host, std::move(change));
}

LeverOr RecoverUnitController(const ControllerHost& host, const v1::Change& change) {
  if (host.units == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("systemd does not run, so ", change.unit().unit(), " cannot be set back"));
  }
  if (UnitProperties(host.units, change.unit()).Known()) {
    return std::make_unique<UnitController>(host, change);
  }
  return absl::InvalidArgumentError(absl::StrCat("the journal holds a property of ",
                                                 change.unit().unit(),
                                                 " that this version does not know"));
}

}  // namespace faultline
