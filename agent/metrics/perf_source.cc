// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/perf_source.h"

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline {
namespace {

// glibc has no wrapper. Returns a descriptor or -1 with errno. A leader counts nothing before it is
// enabled, and neither does its group: all of them begin at the same moment.
int OpenEvent(const PerfField& field, int cpu, int leader) {
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = field.type;
  attributes.config = field.config;
  attributes.disabled = (leader < 0);
  attributes.read_format =
      PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  return static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, -1, cpu, leader, PERF_FLAG_FD_CLOEXEC));
}

// Whose events are opened to see whether that is allowed.
constexpr int kFirstCpu = 0;

}  // namespace

absl::Status PerfSource::Add(size_t index, const Field& field) {
  const auto* const wanted = std::get_if<PerfField>(&field);
  if (wanted == nullptr) return absl::InvalidArgumentError("not a perf event");
  const OpenFile probe(OpenEvent(*wanted, kFirstCpu, -1));
  if (!probe) return Denied(errno);
  events_.push_back({index, *wanted});
  return absl::OkStatus();
}

absl::Status PerfSource::Denied(int error) const {
  absl::Status status = ErrnoStatus(error, "perf_event_open");
  if (error == EACCES || error == EPERM) {
    const absl::StatusOr<absl::string_view> level =
        files_->Read("/proc/sys/kernel/perf_event_paranoid");
    return absl::PermissionDeniedError(
        absl::StrCat(status.message(), "; kernel.perf_event_paranoid is ",
                     level.ok() ? absl::StripAsciiWhitespace(*level) : "unknown",
                     ": with CAP_PERFMON 2 is enough, without it 0"));
  }
  if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV || error == ENOSYS) {
    return absl::UnimplementedError(absl::StrCat(
        "this machine has no such hardware counter (PMU); a virtual machine has one only if its "
        "host passes it on (",
        status.message(), ")"));
  }
  return status;
}

std::string PerfSource::Hook(const Field& field) const {
  const auto* const wanted = std::get_if<PerfField>(&field);
  if (wanted == nullptr || wanted->type != PERF_TYPE_HARDWARE) return "";
  return absl::StrCat("perf_event_open hardware ",
                      wanted->config == PERF_COUNT_HW_CPU_CYCLES ? "cycles" : "instructions");
}

PerfSource::Group PerfSource::OpenGroup(const Entity& cpu) const {
  Group group;
  int leader = -1;
  for (const Event& event : events_) {
    group.descriptors.emplace_back(OpenEvent(event.field, cpu.slot, leader));
    if (leader < 0) leader = group.descriptors.back().get();
    if (leader < 0 || !group.descriptors.back()) return {};
  }
  if (::ioctl(leader, PERF_EVENT_IOC_ENABLE, 0) != 0) return {};
  return group;
}

void PerfSource::Read(const Entities& entities, std::vector<Column>* columns) {
  if (events_.empty()) return;
  ++reads_;
  const std::vector<Entity>& cpus = entities[static_cast<size_t>(Table::kCpu)];
  for (size_t row = 0; row < cpus.size(); ++row) {
    auto group = groups_.find(cpus[row].id);
    if (group == groups_.end()) {
      group = groups_.emplace(cpus[row].id, OpenGroup(cpus[row])).first;
    }
    group->second.last_read = reads_;
    ReadGroup(row, &group->second, columns);
  }
  absl::erase_if(groups_, [this](const auto& entry) { return entry.second.last_read != reads_; });
}

void PerfSource::ReadGroup(size_t row, Group* group, std::vector<Column>* columns) const {
  if (group->descriptors.empty()) return;
  // perf_event_open(2), PERF_FORMAT_GROUP: nr, time_enabled, time_running, value of each event.
  std::vector<std::uint64_t> data(3 + events_.size());
  const size_t size = data.size() * sizeof(data[0]);
  const ssize_t got = ::read(group->descriptors[0].get(), data.data(), size);
  if (got != static_cast<ssize_t>(size) || data[0] != events_.size()) return;
  const std::uint64_t enabled = data[1] - std::exchange(group->enabled_ns, data[1]);
  const std::uint64_t running = data[2] - std::exchange(group->running_ns, data[2]);
  if (running == 0 || running < enabled) return;
  for (size_t i = 0; i < events_.size(); ++i) {
    // A CPU that has run at all has cycles and instructions; 0 is a counter that does not count.
    if (data[3 + i] == 0) continue;
    (*columns)[events_[i].metric].values[row] = static_cast<std::int64_t>(data[3 + i]);
  }
}

}  // namespace faultline
