// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/inventory.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

// More CPUs than any kernel is built for; keeps a damaged file from costing memory.
constexpr int kMaxCpus = 8192;
// The kernel's dev_t: 12 bits of major, 20 of minor (include/linux/kdev_t.h).
constexpr int kMinorBits = 20;

// One line of /proc/diskstats.
struct DiskLine {
  absl::string_view name;
  std::uint32_t device = 0;
  // Has ever read or written.
  bool used = false;
};

std::optional<DiskLine> ParseDisk(absl::string_view line) {
  DiskLine disk;
  const std::optional<std::uint64_t> major = ToNumber(TakeWord(&line));
  const std::optional<std::uint64_t> minor = ToNumber(TakeWord(&line));
  disk.name = TakeWord(&line);
  if (!major.has_value() || !minor.has_value() || disk.name.empty()) return std::nullopt;
  disk.device = static_cast<std::uint32_t>(*major << kMinorBits | *minor);
  while (!line.empty() && !disk.used) {
    const std::optional<std::uint64_t> value = ToNumber(TakeWord(&line));
    disk.used = value.has_value() && *value != 0;
  }
  return disk;
}

// Kinds of disk that exist by the dozen without being used.
bool ShownWhenUsed(absl::string_view name) {
  for (absl::string_view prefix : {"loop", "ram", "zram", "nbd", "fd", "sr"}) {
    if (absl::StartsWith(name, prefix)) return true;
  }
  return false;
}

Entity New(std::string name) {
  Entity entity;
  entity.name = std::move(name);
  return entity;
}

}  // namespace

std::vector<int> ParseCpuList(absl::string_view text) {
  std::vector<int> cpus;
  for (absl::string_view part : absl::StrSplit(absl::StripAsciiWhitespace(text), ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    int first = 0;
    int last = 0;
    if (!absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) ||
        first < 0 || last < first || last >= kMaxCpus) {
      return {};
    }
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

Inventory::Inventory(TextFiles* files, CgroupIndex* cgroups, std::uint64_t* next_id)
    : files_(files), cgroups_(cgroups), next_id_(next_id) {
  Add(Table::kHost, {"host"});
  for (int slot = 1; slot < DISK_SLOTS; ++slot) free_disk_slots_.push_back(slot);
}

void Inventory::Add(Table table, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    At(table).push_back(New(name));
    At(table).back().id = (*next_id_)++;
  }
}

void Inventory::Refresh() {
  ++refreshes_;
  cgroups_->Refresh();
  At(Table::kCgroup) = cgroups_->entities();
  RefreshCpus();
  RefreshDisks();
  RefreshNetdevs();
}

std::vector<Entity> Inventory::Update(Table table, std::vector<Entity> found) {
  std::vector<Entity>& current = At(table);
  for (Entity& entity : found) {
    const auto known = std::find_if(current.begin(), current.end(), [&](const Entity& old) {
      return old.name == entity.name && old.device == entity.device;
    });
    if (known == current.end()) {
      entity.id = (*next_id_)++;
    } else {
      entity = std::move(*known);
      current.erase(known);
    }
  }
  std::swap(current, found);
  return found;
}

void Inventory::RefreshCpus() {
  const absl::StatusOr<absl::string_view> text = files_->Read("/sys/devices/system/cpu/online");
  if (!text.ok() || *text == cpus_text_) return;
  cpus_text_ = std::string(*text);
  std::vector<Entity> found;
  for (int cpu : ParseCpuList(*text)) {
    found.push_back(New(absl::StrCat(cpu)));
    found.back().slot = cpu;
  }
  Update(Table::kCpu, std::move(found));
}

bool Inventory::IsWholeDisk(absl::string_view name, std::uint32_t device) {
  const auto [entry, added] = whole_disks_.try_emplace(absl::StrCat(device, " ", name), false);
  if (added) {
    // sysfs cannot have '/' in a name.
    const std::string directory = absl::StrReplaceAll(name, {{"/", "!"}});
    entry->second =
        ::access(files_->Locate(absl::StrCat("/sys/block/", directory)).c_str(), F_OK) == 0;
  }
  return entry->second;
}

void Inventory::RefreshDisks() {
  absl::StatusOr<absl::string_view> text = files_->Read("/proc/diskstats");
  if (!text.ok()) return;
  std::vector<Entity> found;
  while (!text->empty()) {
    const std::optional<DiskLine> disk = ParseDisk(TakeLine(&*text));
    if (!disk.has_value() || !IsWholeDisk(disk->name, disk->device)) continue;
    if (!disk->used && ShownWhenUsed(disk->name)) continue;
    found.push_back(New(std::string(disk->name)));
    found.back().device = disk->device;
  }
  for (const Entity& gone : Update(Table::kDisk, std::move(found))) {
    if (gone.slot > 0) freed_disk_slots_.push_back({gone.slot, refreshes_});
  }
  while (!freed_disk_slots_.empty() && freed_disk_slots_.front().refresh + 2 <= refreshes_) {
    free_disk_slots_.push_back(freed_disk_slots_.front().slot);
    freed_disk_slots_.pop_front();
  }
  for (Entity& disk : At(Table::kDisk)) {
    if (disk.slot >= 0 || free_disk_slots_.empty()) continue;
    disk.slot = free_disk_slots_.front();
    free_disk_slots_.pop_front();
  }
}

void Inventory::RefreshNetdevs() {
  absl::StatusOr<absl::string_view> text = files_->Read("/proc/net/dev");
  if (!text.ok()) return;
  std::vector<Entity> found;
  while (!text->empty()) {
    absl::string_view line = TakeLine(&*text);
    // The two lines of headings have '|'.
    if (absl::StrContains(line, '|')) continue;
    if (const absl::string_view name = TakeKey(&line); !name.empty()) {
      found.push_back(New(std::string(name)));
    }
  }
  Update(Table::kNetdev, std::move(found));
}

}  // namespace faultline
