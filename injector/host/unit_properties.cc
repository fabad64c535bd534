// SPDX-License-Identifier: Apache-2.0
#include "injector/host/unit_properties.h"

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/host/unit_quota.h"

namespace faultline {
namespace {

// Where SetUnitProperties(runtime) puts drop-ins: unit_drop_in_dir of systemd's src/core/unit.c.
constexpr char kControlFolder[] = "/run/systemd/system.control";
constexpr char kTransientFolder[] = "/run/systemd/transient";

std::uint64_t Same(std::uint64_t value) { return value; }

// bus_cgroup_set_cpu_weight and bus_cgroup_set_boolean of systemd's src/core/dbus-cgroup.c; a
// weight of 0 is "idle".
std::string WeightLine(std::uint64_t weight) {
  if (weight == kUnitInfinity) return "CPUWeight=";
  return weight == 0 ? "CPUWeight=idle" : absl::StrCat("CPUWeight=", weight);
}
std::string MemoryLine(std::uint64_t on) {
  return absl::StrCat("MemoryAccounting=", on == 0 ? "no" : "yes");
}
std::string IoLine(std::uint64_t on) {
  return absl::StrCat("IOAccounting=", on == 0 ? "no" : "yes");
}
// BUS_DEFINE_SET_CGROUP_LIMIT, there.
std::string MemoryMaxLine(std::uint64_t bytes) {
  return bytes == kUnitInfinity ? "MemoryMax=infinity" : absl::StrCat("MemoryMax=", bytes);
}
std::string MemoryHighLine(std::uint64_t bytes) {
  return bytes == kUnitInfinity ? "MemoryHigh=infinity" : absl::StrCat("MemoryHigh=", bytes);
}

struct Property {
  const char* name;
  // Of the drop-in, 50-SETTING.conf.
  const char* setting;
  std::string (*line)(std::uint64_t value);
  std::uint64_t (*after_reload)(std::uint64_t value);
};
constexpr std::array<Property, 7> kProperties{
    {{kQuotaProperty, "CPUQuota", QuotaLine, QuotaAfterReload},
     {kPeriodProperty, "CPUQuotaPeriodSec", PeriodLine, Same},
     {kWeightProperty, "CPUWeight", WeightLine, Same},
     {kMemoryProperty, "MemoryAccounting", MemoryLine, Same},
     {kMemoryMaxProperty, "MemoryMax", MemoryMaxLine, Same},
     {kMemoryHighProperty, "MemoryHigh", MemoryHighLine, Same},
     {kIoProperty, "IOAccounting", IoLine, Same}}};

const Property* FindProperty(absl::string_view name) {
  for (const Property& property : kProperties) {
    if (name == property.name) return &property;
  }
  return nullptr;
}

// Ours if every line for the setting is one that systemd wrote at our word: for what was before, or
// for one of `own`.
bool IsOurs(const std::string& text, const v1::UnitProperty& property,
            const std::vector<std::uint64_t>& own) {
  const Property* row = FindProperty(property.name());
  bool any = false;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, absl::StrCat(row->setting, "="))) continue;
    const bool known = line == row->line(property.before()) ||
                       std::any_of(own.begin(), own.end(), [row, line](std::uint64_t value) {
                         return line == row->line(value);
                       });
    if (!known) return false;
    any = true;
  }
  return any;
}

}  // namespace

std::string UnitLine(absl::string_view property, std::uint64_t value) {
  return FindProperty(property)->line(value);
}

std::uint64_t UnitValueAfterReload(absl::string_view property, std::uint64_t value) {
  return FindProperty(property)->after_reload(value);
}

void AddProperty(absl::string_view name, std::uint64_t before, std::uint64_t after,
                 v1::UnitChange* change) {
  v1::UnitProperty* property = change->add_properties();
  property->set_name(std::string(name));
  property->set_before(before);
  property->set_after(after);
}

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
  change->add_folders(folder);
  // A transient unit's own file lies in the other one, so that is not of our making.
  if (!unit.transient) change->add_folders(parent);
  return absl::OkStatus();
}

bool UnitProperties::Known() const {
  const bool known =
      std::all_of(change_.properties().begin(), change_.properties().end(),
                  [](const auto& property) { return FindProperty(property.name()) != nullptr; });
  return known && change_.properties_size() == change_.files_size();
}

absl::Status UnitProperties::Set() const { return SetFirst(change_.properties(0).after()); }

absl::Status UnitProperties::SetFirst(std::uint64_t first) const {
  std::vector<Units::Setting> settings;
  for (const v1::UnitProperty& property : change_.properties()) {
    settings.push_back({property.name(), settings.empty() ? first : property.after()});
  }
  return units_->Set(change_.unit(), settings);
}

absl::Status UnitProperties::SetBefore() const {
  std::vector<Units::Setting> settings;
  for (const v1::UnitProperty& property : change_.properties()) {
    settings.push_back({property.name(), property.before()});
  }
  return units_->Set(change_.unit(), settings);
}

std::vector<std::uint64_t> UnitProperties::OwnValues(int i) const {
  std::vector<std::uint64_t> own{change_.properties(i).after()};
  if (i == 0) own.insert(own.end(), steps_.begin(), steps_.end());
  return own;
}

absl::StatusOr<std::vector<std::uint64_t>> UnitProperties::Now() const {
  std::vector<std::string> names;
  for (const v1::UnitProperty& property : change_.properties()) names.push_back(property.name());
  return units_->Get(change_.unit(), names);
}

absl::Status UnitProperties::SetBack(const std::vector<std::uint64_t>& now,
                                     std::vector<std::string>* foreign) const {
  std::vector<Units::Setting> settings;
  for (int i = 0; i < change_.properties_size(); ++i) {
    const v1::UnitProperty& property = change_.properties(i);
    const std::uint64_t value = now.at(static_cast<size_t>(i));
    const Property* row = FindProperty(property.name());
    if (value == property.before()) continue;
    const std::vector<std::uint64_t> own = OwnValues(i);
    if (std::any_of(own.begin(), own.end(), [row, value](std::uint64_t one) {
          return value == one || value == row->after_reload(one);
        })) {
      settings.push_back({property.name(), property.before()});
    } else {
      foreign->push_back(absl::StrCat(row->line(value), " is in force for ", change_.unit()));
    }
  }
  if (settings.empty()) return absl::OkStatus();
  return units_->Set(change_.unit(), settings);
}

absl::Status UnitProperties::RestoreFile(int i, std::vector<std::string>* foreign) const {
  const v1::UnitFile& file = change_.files(i);
  const absl::StatusOr<std::optional<std::string>> is = units_->ReadFile(file.path());
  if (!is.ok()) return is.status();
  if (!*is || (file.existed() && **is == file.text())) return absl::OkStatus();
  if (!IsOurs(**is, change_.properties(i), OwnValues(i))) {
    foreign->push_back(absl::StrCat(file.path(), " was written anew"));
    return absl::OkStatus();
  }
  return file.existed() ? units_->WriteFile(file.path(), file.text())
                        : units_->RemoveFile(file.path());
}

absl::Status UnitProperties::RestoreFiles(std::vector<std::string>* foreign) const {
  for (int i = 0; i < change_.files_size(); ++i) {
    if (absl::Status status = RestoreFile(i, foreign); !status.ok()) return status;
  }
  for (const std::string& folder : change_.folders()) {
    if (absl::Status status = units_->RemoveFolder(folder); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status UnitProperties::Residue() const {
  const absl::StatusOr<std::vector<std::uint64_t>> now = Now();
  if (!now.ok() && !absl::IsNotFound(now.status())) return now.status();
  for (int i = 0; i < change_.properties_size(); ++i) {
    const v1::UnitProperty& property = change_.properties(i);
    if (!now.ok() || now->at(static_cast<size_t>(i)) == property.before()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(property.name(), " of ", change_.unit(), " is not as before"));
  }
  for (const v1::UnitFile& file : change_.files()) {
    const absl::StatusOr<std::optional<std::string>> is = units_->ReadFile(file.path());
    if (!is.ok()) return is.status();
    // What somebody else took away is not ours to bring back.
    if (!*is || (file.existed() && **is == file.text())) continue;
    return absl::FailedPreconditionError(absl::StrCat(file.path(), " is not as before"));
  }
  return absl::OkStatus();
}

absl::Status LeftAlone(const std::vector<std::string>& foreign) {
  if (foreign.empty()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(
      foreign.front(),
      ", neither what was set here nor what was there before: somebody else's, left alone"));
}

}  // namespace faultline
