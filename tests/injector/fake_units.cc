// SPDX-License-Identifier: Apache-2.0
#include "tests/injector/fake_units.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "injector/host/unit_properties.h"
#include "injector/host/unit_quota.h"

namespace faultline {
namespace {

constexpr char kQuota[] = "CPUQuotaPerSecUSec";
constexpr char kPeriod[] = "CPUQuotaPeriodUSec";
constexpr char kKey[] = "/system.slice/nginx.service cpu:cpu.max";
constexpr char kWeightKey[] = "/system.slice/nginx.service cpu:cpu.weight";

constexpr char kOn[] = "/system.slice has on ";

std::string Parent(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// "/system.slice/nginx.service memory:memory.max".
std::string FileKey(const std::string& file) {
  return absl::StrCat(FakeUnits::kGroup, " ", file.substr(0, file.find('.')), ":", file);
}

std::uint64_t ReadMemoryLine(absl::string_view text) {
  std::uint64_t bytes = 0;
  return absl::SimpleAtoi(text, &bytes) ? bytes : kUnitInfinity;
}

std::uint64_t ReadQuotaLine(absl::string_view text, std::uint64_t was) {
  std::uint64_t percent = 0;
  if (text.empty()) return kUnitInfinity;
  // systemd ignores a quota of 0.
  if (!absl::SimpleAtoi(absl::StripSuffix(text, "%"), &percent) || percent == 0) return was;
  return percent * 10'000;
}

std::uint64_t ReadPeriodLine(absl::string_view text, std::uint64_t was) {
  double ms = 0;
  if (text.empty()) return kUnitInfinity;
  if (!absl::SimpleAtod(absl::StripSuffix(text, "ms"), &ms)) return was;
  return static_cast<std::uint64_t>(ms * 1000);
}

}  // namespace

void FakeUnits::Start(bool controller) {
  running_ = true;
  controller_ = controller;
  for (const char* folder : {"/run", "/run/systemd"}) folders_.insert(folder);
  if (properties_.empty()) {
    DaemonReload();
  } else {
    Realize();
  }
}

void FakeUnits::Stop() {
  running_ = false;
  values_->erase(kKey);
  values_->erase(kWeightKey);
  if (collects) properties_.clear();
}

void FakeUnits::Realize() {
  const bool asks =
      properties_[kWeightProperty] != kUnitInfinity || properties_[kQuota] != kUnitInfinity;
  const auto turn = [this](const char* controller, bool on) {
    if (on) {
      (*values_)[absl::StrCat(kOn, controller)] = "1";
    } else {
      values_->erase(absl::StrCat(kOn, controller));
    }
  };
  turn("cpu", controller_ || asks);
  turn("memory", properties_[kMemoryProperty] != 0);
  turn("io", properties_[kIoProperty] != 0);
  const UnitQuota quota{properties_[kQuota], properties_[kPeriod]};
  old_ = Files();
  late_ = 0;
  if (!running_) return;
  RealizeMemory(kMemoryMaxProperty, "memory.max");
  RealizeMemory(kMemoryHighProperty, "memory.high");
  if (controller_ || asks) {
    (*values_)[kKey] = CpuMaxOf(quota);
    if (values_->count(kWeightKey) == 0) (*values_)[kWeightKey] = "100";
  } else {
    values_->erase(kKey);
    values_->erase(kWeightKey);
  }
}

// In whole pages.
void FakeUnits::RealizeMemory(const char* property, const char* file) {
  const std::uint64_t bytes = properties_[property];
  (*values_)[FileKey(file)] = bytes == kUnitInfinity ? "max" : absl::StrCat(bytes / 4096 * 4096);
}

std::map<std::string, std::string> FakeUnits::Files() const {
  std::map<std::string, std::string> group;
  for (const auto& [key, text] : *values_) {
    if (absl::StartsWith(key, absl::StrCat(kGroup, " "))) group[key] = text;
  }
  return group;
}

void FakeUnits::DaemonReload() {
  properties_ = {{kQuota, kUnitInfinity},
                 {kPeriod, kUnitInfinity},
                 {kWeightProperty, kUnitInfinity},
                 {"StartupCPUWeight", kUnitInfinity},
                 {kMemoryProperty, accounts ? 1 : 0},
                 {kMemoryMaxProperty, kUnitInfinity},
                 {kMemoryHighProperty, kUnitInfinity},
                 {kIoProperty, accounts ? 1 : 0}};
  // Of drop-ins of one name the one of the first folder counts: /etc before /run. Then by name.
  std::map<std::string, std::string> by_name;
  for (const auto& [path, text] : files) by_name.emplace(NameOf(path), text);
  for (const auto& [name, text] : by_name) {
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (absl::ConsumePrefix(&line, "CPUQuota=")) {
        properties_[kQuota] = ReadQuotaLine(line, properties_[kQuota]);
      } else if (absl::ConsumePrefix(&line, "CPUQuotaPeriodSec=")) {
        properties_[kPeriod] = ReadPeriodLine(line, properties_[kPeriod]);
      } else if (line == "CPUWeight=100") {
        properties_[kWeightProperty] = 100;
      } else if (line == "MemoryAccounting=yes") {
        properties_[kMemoryProperty] = 1;
      } else if (line == "IOAccounting=yes") {
        properties_[kIoProperty] = 1;
      } else if (absl::ConsumePrefix(&line, "MemoryMax=")) {
        properties_[kMemoryMaxProperty] = ReadMemoryLine(line);
      } else if (absl::ConsumePrefix(&line, "MemoryHigh=")) {
        properties_[kMemoryHighProperty] = ReadMemoryLine(line);
      }
    }
  }
  Realize();
}

void FakeUnits::Write(const std::string& path, const std::string& setting, std::uint64_t value) {
  const std::string line = UnitLine(setting, value);
  for (std::string folder = Parent(path); folder.size() > 1; folder = Parent(folder)) {
    folders_.insert(folder);
  }
  files[path] = absl::StrCat("# Written by systemd.\n[Service]\n", line, "\n");
}

void FakeUnits::DropWeight() {
  properties_[kWeightProperty] = kUnitInfinity;
  Realize();
}

void FakeUnits::SetProperty(const std::string& path, std::uint64_t quota_us) {
  properties_[kQuota] = quota_us;
  Write(path, kQuota, quota_us);
  Realize();
}

std::string FakeUnits::Digest() const {
  std::string text;
  for (const auto& [name, value] : properties_) absl::StrAppend(&text, name, "=", value, "\n");
  for (const auto& [path, content] : files) absl::StrAppend(&text, path, ":\n", content);
  for (const std::string& folder : folders_) absl::StrAppend(&text, folder, "\n");
  return text;
}

absl::StatusOr<Units::Unit> FakeUnits::Named(const std::string& name) {
  ++asked;
  if (absl::Status status = step_("read"); !status.ok()) return status;
  if (!running_ || name != kUnit) return absl::NotFoundError(absl::StrCat("no unit ", name));
  return Unit{kUnit, kGroup, false};
}

absl::StatusOr<std::vector<std::string>> FakeUnits::GroupsOf(absl::Span<const std::string> units) {
  ++asked;
  if (absl::Status status = step_("read"); !status.ok()) return status;
  std::vector<std::string> groups;
  for (const std::string& unit : units)
    groups.emplace_back(running_ && unit == kUnit ? kGroup : "");
  return groups;
}

absl::StatusOr<std::optional<Units::Unit>> FakeUnits::Owner(const std::string& cgroup) {
  ++asked;
  if (absl::Status status = step_("read"); !status.ok()) return status;
  if (!Has(cgroup)) return std::optional<Unit>();
  return std::optional<Unit>(Unit{kUnit, kGroup, false});
}

absl::StatusOr<std::vector<std::uint64_t>> FakeUnits::Get(
    const std::string& /*unit*/, absl::Span<const std::string> properties) {
  ++asked;
  if (absl::Status status = step_("get"); !status.ok()) return status;
  if (properties_.empty()) return absl::NotFoundError("the unit is not loaded");
  std::vector<std::uint64_t> values;
  for (const std::string& property : properties) values.push_back(properties_.at(property));
  return values;
}

absl::Status FakeUnits::Sure(const char* step) {
  absl::Status status = step_(step);
  return absl::IsDataLoss(status) ? absl::OkStatus() : status;
}

bool FakeUnits::IsLost(const absl::Status& before) {
  if (absl::IsDataLoss(before)) ++lost;
  return absl::IsDataLoss(before);
}

// It may die on the way to systemd, or on the way back.
absl::Status FakeUnits::Set(const std::string& /*unit*/, absl::Span<const Setting> settings) {
  const absl::Status before = step_("set");
  if (IsLost(before)) return absl::OkStatus();
  if (!before.ok()) return before;
  for (const Setting& setting : settings) {
    properties_.at(setting.property) = setting.value;
    const std::string line = UnitLine(setting.property, setting.value);
    const std::string name = line.substr(0, line.find('='));
    Write(absl::StrCat(kControl, "/50-", name, ".conf"), setting.property, setting.value);
  }
  Realize();
  // The group of a unit that does not run, too.
  if (!running_) (*values_)[kKey] = UnitDefault("cpu", "cpu.max");
  late_ = lag;
  return Sure("set");
}

void FakeUnits::DropEmptyGroup(const std::string& cgroup) {
  if (Sure("change").ok() && !Has(cgroup)) values_->erase(kKey);
}

absl::StatusOr<std::optional<std::string>> FakeUnits::ReadGroup(const std::string& cgroup,
                                                                const std::string& file) {
  if (absl::Status status = step_("read"); !status.ok()) return status;
  if (!Has(cgroup) && values_->count(kKey) == 0) {
    return absl::NotFoundError(absl::StrCat(cgroup, " is gone"));
  }
  const bool late = late_ > 0;
  if (late) --late_;
  const std::map<std::string, std::string>& from = late ? old_ : *values_;
  const auto at = from.find(FileKey(file));
  return at == from.end() ? std::optional<std::string>() : std::optional<std::string>(at->second);
}

absl::Status FakeUnits::WriteGroup(const std::string& /*cgroup*/, const std::string& file,
                                   const std::string& value) {
  const absl::Status before = step_("change");
  if (IsLost(before)) return absl::OkStatus();
  if (!before.ok()) return before;
  late_ = 0;
  (*values_)[FileKey(file)] = value;
  return Sure("change");
}

absl::StatusOr<std::unique_ptr<SlowWrite>> FakeUnits::BeginWriteGroup(const std::string& cgroup,
                                                                      const std::string& file,
                                                                      const std::string& value) {
  // Over before it can be waited for.
  class Done final : public SlowWrite {
   public:
    explicit Done(absl::Status status) : status_(std::move(status)) {}
    std::optional<absl::Status> Result() override { return status_; }
    void Interrupt() override {}

   private:
    const absl::Status status_;
  };
  return std::make_unique<Done>(WriteGroup(cgroup, file, value));
}

absl::StatusOr<std::optional<std::string>> FakeUnits::ReadFile(const std::string& path) {
  if (absl::Status status = step_("read"); !status.ok()) return status;
  const auto at = files.find(path);
  return at == files.end() ? std::optional<std::string>() : std::optional<std::string>(at->second);
}

absl::Status FakeUnits::WriteFile(const std::string& path, const std::string& text) {
  if (absl::Status status = Sure("change"); !status.ok()) return status;
  files[path] = text;
  return Sure("change");
}

absl::Status FakeUnits::RemoveFile(const std::string& path) {
  if (absl::Status status = Sure("change"); !status.ok()) return status;
  files.erase(path);
  return Sure("change");
}

bool FakeUnits::IsEmptyFolder(const std::string& path) const {
  for (const auto& [file, text] : files) {
    if (absl::StartsWith(file, path + "/")) return false;
  }
  for (const std::string& folder : folders_) {
    if (absl::StartsWith(folder, path + "/")) return false;
  }
  return folders_.count(path) == 1;
}

absl::Status FakeUnits::RemoveFolder(const std::string& path) {
  if (!IsEmptyFolder(path)) return absl::OkStatus();
  if (absl::Status status = Sure("change"); !status.ok()) return status;
  folders_.erase(path);
  return Sure("change");
}

}  // namespace faultline
