// SPDX-License-Identifier: Apache-2.0
#include "injector/stop_conditions.h"

#include <algorithm>
#include <array>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "injector/host/leak.h"

namespace faultline {
namespace {

constexpr std::int64_t kLeastDiskBytes = std::int64_t{512} << 20;

// One condition with a number: what is read, and what it is called.
struct Condition {
  const char* option;
  const char* what;
  const char* unit;
  double StopLimits::*limit;
  absl::StatusOr<double> (*read)(HostReadings& readings);
};

constexpr std::array<Condition, 5> kConditions{{
    {"stop-psi-cpu", "CPU pressure", " %", &StopLimits::psi_cpu,
     [](HostReadings& readings) { return readings.Pressure("cpu"); }},
    {"stop-psi-memory", "memory pressure", " %", &StopLimits::psi_memory,
     [](HostReadings& readings) { return readings.Pressure("memory"); }},
    {"stop-psi-io", "I/O pressure", " %", &StopLimits::psi_io,
     [](HostReadings& readings) { return readings.Pressure("io"); }},
    {"stop-temperature", "the hottest sensor", " degrees", &StopLimits::temperature,
     [](HostReadings& readings) { return readings.Temperature(); }},
    {"stop-load", "load per CPU", "", &StopLimits::load,
     [](HostReadings& readings) { return readings.LoadPerCpu(); }},
}};

std::string SpellNumber(double value) { return absl::StrFormat("%.4g", value); }

// A share of a small file system must not be all of it.
std::int64_t DiskReserve(const Reserve& reserve, std::int64_t total) {
  if (reserve.percent == 0) return reserve.bytes;
  return std::max(reserve.Of(total), std::min(kLeastDiskBytes, total / 4));
}

std::string MemoryLow(const StopLimits& limits, HostReadings& readings) {
  if (limits.memory_free.off()) return "";
  const absl::StatusOr<Amounts> memory = readings.Memory();
  if (!memory.ok() || memory->available >= limits.memory_free.Of(memory->total)) return "";
  return absl::StrCat("available memory ", SpellBytes(memory->available),
                      " is below stop-memory-free ", ReserveText(limits.memory_free));
}

std::string DiskLow(const StopLimits& limits, HostReadings& readings) {
  if (limits.disk.off()) return "";
  const absl::StatusOr<Amounts> disk = readings.Disk();
  if (!disk.ok()) return "";
  const std::int64_t kept = DiskReserve(limits.disk, disk->total);
  if (disk->available >= kept) return "";
  return absl::StrCat(SpellBytes(disk->available),
                      " free where the journal is, which is below disk-reserve, here ",
                      SpellBytes(kept));
}

std::string NotLookedAt(const absl::Status& status) {
  return status.ok() ? "" : absl::StrCat(" (not looked at: ", status.message(), ")");
}

}  // namespace

std::string StopConditions::Holding() const {
  if (readings_ == nullptr) return "";
  for (const Condition& row : kConditions) {
    const double limit = limits_.*row.limit;
    if (limit == 0) continue;
    const absl::StatusOr<double> now = row.read(*readings_);
    if (!now.ok() || *now <= limit) continue;
    return absl::StrCat(row.what, " ", SpellNumber(*now), row.unit, " is above ", row.option, " ",
                        SpellNumber(limit), row.unit);
  }
  std::string low = MemoryLow(limits_, *readings_);
  return low.empty() ? DiskLow(limits_, *readings_) : low;
}

std::vector<std::string> StopConditions::Describe() const {
  std::vector<std::string> sentences;
  if (readings_ != nullptr) {
    for (const Condition& row : kConditions) {
      const double limit = limits_.*row.limit;
      if (limit == 0) continue;
      sentences.push_back(absl::StrCat(row.what, " above ", SpellNumber(limit), row.unit,
                                       NotLookedAt(row.read(*readings_).status())));
    }
    if (!limits_.memory_free.off()) {
      sentences.push_back(absl::StrCat("available memory below ", ReserveText(limits_.memory_free),
                                       NotLookedAt(readings_->Memory().status())));
    }
    const absl::StatusOr<Amounts> disk = readings_->Disk();
    if (!limits_.disk.off()) {
      sentences.push_back(absl::StrCat("free space where the journal is below ",
                                       disk.ok()
                                           ? SpellBytes(DiskReserve(limits_.disk, disk->total))
                                           : ReserveText(limits_.disk),
                                       NotLookedAt(disk.status())));
    }
  }
  if (limits_.loss_ns != 0) {
    sentences.push_back(absl::StrCat("a collector that was there is not heard of for ",
                                     absl::FormatDuration(absl::Nanoseconds(limits_.loss_ns))));
  }
  return sentences;
}

bool StopConditions::any() const {
  if (readings_ == nullptr) return false;
  return std::any_of(kConditions.begin(), kConditions.end(),
                     [this](const Condition& row) { return limits_.*row.limit != 0; }) ||
         !limits_.memory_free.off() || !limits_.disk.off();
}

}  // namespace faultline
