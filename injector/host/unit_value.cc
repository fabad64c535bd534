// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <stop_token>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
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

// Where SetUnitProperties(runtime) puts drop-ins: unit_drop_in_dir of systemd's src/core/unit.c.
constexpr char kControlFolder[] = "/run/systemd/system.control";
constexpr char kTransientFolder[] = "/run/systemd/transient";

std::uint64_t Same(std::uint64_t value) { return value; }

struct Property {
  const char* name;
  // Of the drop-in, 50-SETTING.conf.
  const char* setting;
  std::string (*line)(std::uint64_t value);
  // What is left of a value that systemd reads from its own drop-in.
  std::uint64_t (*after_reload)(std::uint64_t value);
};
constexpr std::array<Property, 2> kProperties{
    {{"CPUQuotaPerSecUSec", "CPUQuota", QuotaLine, QuotaAfterReload},
     {"CPUQuotaPeriodUSec", "CPUQuotaPeriodSec", PeriodLine, Same}}};

const Property* FindProperty(absl::string_view name) {
  for (const Property& property : kProperties) {
    if (name == property.name) return &property;
  }
  return nullptr;
}

absl::StatusOr<UnitQuota> ReadQuota(Units* units, const std::string& unit) {
  const std::vector<std::string> names{kProperties[0].name, kProperties[1].name};
  const absl::StatusOr<std::vector<std::uint64_t>> values = units->Get(unit, names);
  if (!values.ok()) return values.status();
  return UnitQuota{values->at(0), values->at(1)};
}

std::uint64_t ValueOf(const UnitQuota& quota, absl::string_view property) {
  return property == kProperties[0].name ? quota.per_second_us : quota.period_us;
}

class UnitValue final : public Lever {
 public:
  UnitValue(Units* units, Clock* clock, v1::Change change)
      : units_(units), clock_(clock), change_(std::move(change)) {}

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
    std::vector<Units::Setting> settings;
    for (const v1::UnitProperty& property : change_.unit().properties()) {
      settings.push_back({property.name(), property.after()});
    }
    if (absl::Status set = units_->Set(change_.unit().unit(), settings); !set.ok()) return set;
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
      if (absl::Status set = SetBack(*now, &foreign); !set.ok()) return set;
      // Also what an earlier attempt died before.
      units_->DropEmptyGroup(change_.object());
      const bool known = !text || IsAfter(text) || IsBefore(text) || *text == CpuMaxOf(*now);
      if (!known) past_systemd = *text;
    }
    for (int i = 0; i < change_.unit().files_size(); ++i) {
      if (absl::Status status = RestoreFile(i, &foreign); !status.ok()) return status;
    }
    for (const std::string& folder : change_.unit().folders()) units_->RemoveFolder(folder);
    if (foreign.empty()) {
      absl::Status back = Await(&UnitValue::IsBefore, change_.before());
      if (!back.ok()) return back;
    }
    if (!past_systemd.empty()) {
      foreign.push_back(absl::StrCat(Name(), " was ", past_systemd));
      absl::Status kept = units_->WriteGroup(change_.object(), kQuotaFile, past_systemd);
      if (!kept.ok()) return kept;
    }
    if (foreign.empty()) return absl::OkStatus();
    return absl::AbortedError(
        absl::StrCat(foreign.front(),
                     ", neither what the fault set nor what was there before: somebody else's, "
                     "left alone"));
  }

  absl::Status Residue() override {
    const absl::StatusOr<Text> text = Read();
    if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
    if (text.ok() && !IsBefore(*text)) {
      return absl::FailedPreconditionError(absl::StrCat(
          Name(), " is ", Show(*text), "; before the fault it was ", change_.before()));
    }
    const absl::StatusOr<UnitQuota> now = ReadQuota(units_, change_.unit().unit());
    if (!now.ok() && !absl::IsNotFound(now.status())) return now.status();
    for (const v1::UnitProperty& property : change_.unit().properties()) {
      if (!now.ok() || ValueOf(*now, property.name()) == property.before()) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(property.name(), " of ", change_.unit().unit(), " is not as before"));
    }
    for (const v1::UnitFile& file : change_.unit().files()) {
      const absl::StatusOr<Text> is = units_->ReadFile(file.path());
      if (!is.ok()) return is.status();
      // What somebody else took away is not ours to bring back.
      if (!*is || (file.existed() && **is == file.text())) continue;
      return absl::FailedPreconditionError(absl::StrCat(file.path(), " is not as before"));
    }
    return absl::OkStatus();
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

  absl::Status SetBack(const UnitQuota& now, std::vector<std::string>* foreign) const {
    std::vector<Units::Setting> settings;
    for (const v1::UnitProperty& property : change_.unit().properties()) {
      const std::uint64_t value = ValueOf(now, property.name());
      const Property* row = FindProperty(property.name());
      if (value == property.before()) continue;
      if (value == property.after() || value == row->after_reload(property.after())) {
        settings.push_back({property.name(), property.before()});
      } else {
        foreign->push_back(
            absl::StrCat(row->line(value), " is in force for ", change_.unit().unit()));
      }
    }
    if (settings.empty()) return absl::OkStatus();
    return units_->Set(change_.unit().unit(), settings);
  }

  // Ours if every line for the setting is one that systemd wrote at our word.
  bool IsOurs(const std::string& text, const v1::UnitProperty& property) const {
    const Property* row = FindProperty(property.name());
    bool any = false;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (!absl::StartsWith(line, absl::StrCat(row->setting, "="))) continue;
      if (line != row->line(property.after()) && line != row->line(property.before())) return false;
      any = true;
    }
    return any;
  }

  absl::Status RestoreFile(int i, std::vector<std::string>* foreign) const {
    const v1::UnitFile& file = change_.unit().files(i);
    const absl::StatusOr<Text> is = units_->ReadFile(file.path());
    if (!is.ok()) return is.status();
    if (!*is || (file.existed() && **is == file.text())) return absl::OkStatus();
    if (!IsOurs(**is, change_.unit().properties(i))) {
      foreign->push_back(absl::StrCat(file.path(), " was written anew"));
      return absl::OkStatus();
    }
    return file.existed() ? units_->WriteFile(file.path(), file.text())
                          : units_->RemoveFile(file.path());
  }

  Units* const units_;
  Clock* const clock_;
  const v1::Change change_;
};

// The drop-ins of `properties`, as they are now.
absl::Status FillFiles(Units* units, const Units::Unit& unit, v1::UnitChange* change) {
  const std::string parent = unit.transient ? kTransientFolder : kControlFolder;
  const std::string folder = absl::StrCat(parent, "/", unit.id, ".d");
  for (const v1::UnitProperty& property : change->properties()) {
    v1::UnitFile* file = change->add_files();
    file->set_path(absl::StrCat(folder, "/50-", FindProperty(property.name())->setting, ".conf"));
    const absl::StatusOr<std::optional<std::string>> text = units->ReadFile(file->path());
    if (!text.ok()) return text.status();
    file->set_existed(text->has_value());
    if (text->has_value()) file->set_text(**text);
  }
  for (const std::string& path : {folder, parent}) {
    if (!units->HasFolder(path)) change->add_folders(path);
  }
  return absl::OkStatus();
}

void AddProperty(const char* name, std::uint64_t before, std::uint64_t after,
                 v1::UnitChange* change) {
  v1::UnitProperty* property = change->add_properties();
  property->set_name(name);
  property->set_before(before);
  property->set_after(after);
}

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
  AddProperty(kProperties[0].name, now->per_second_us, wanted->per_second_us, by);
  if (wanted->period_us != now->period_us) {
    AddProperty(kProperties[1].name, now->period_us, wanted->period_us, by);
  }
  if (absl::Status status = FillFiles(units, unit, by); !status.ok()) return status;
  return std::make_unique<UnitValue>(units, clock, std::move(change));
}

LeverOr RecoverUnitValue(Units* units, Clock* clock, const v1::Change& change) {
  const v1::UnitChange& by = change.unit();
  const bool known =
      std::all_of(by.properties().begin(), by.properties().end(),
                  [](const auto& property) { return FindProperty(property.name()); });
  if (known && by.properties_size() == by.files_size()) {
    return std::make_unique<UnitValue>(units, clock, change);
  }
  return absl::InvalidArgumentError(absl::StrCat("the journal holds a property of ", by.unit(),
                                                 " that this version does not know"));
}

}  // namespace faultline
