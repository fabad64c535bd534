// SPDX-License-Identifier: Apache-2.0
//
// The rows. A column is <subsystem>_<what>_<unit>; what has no unit ends in _count.
#include <linux/perf_event.h>

#include "absl/strings/string_view.h"
#include "agent/metrics/metric.h"

namespace faultline {
namespace {

// /proc counts time in USER_HZ, 100 per second in the user-space interface of every architecture
// that we run on, whatever the kernel's own tick is.
constexpr std::int64_t kTickNs = 1'000'000'000 / 100;
constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kUsNs = 1000;
constexpr std::int64_t kMsNs = 1'000'000;
// diskstats counts sectors of 512 bytes, whatever the disk's own are (Documentation/admin-guide/
// iostats.rst).
constexpr std::int64_t kSector = 512;

constexpr const char* kStat = "/proc/stat";
constexpr const char* kMeminfo = "/proc/meminfo";
constexpr const char* kVmstat = "/proc/vmstat";
constexpr const char* kDiskstats = "/proc/diskstats";
constexpr const char* kNetDev = "/proc/net/dev";
constexpr const char* kEntity = "{entity}";
constexpr const char* kCpuEntity = "cpu{entity}";

constexpr const char* kNoFallback = "";
constexpr const char* kDiskFallback =
    "the block layer's own counters, which stop while the queue's iostats is 0";
constexpr const char* kDiscardFallback =
    "the block layer's own counters: discards only, and they stop while the queue's iostats is 0";
constexpr const char* kUsageFallback =
    "the group's own accounting, which counts the groups below it too";
constexpr const char* kOomFallback =
    "counts only kills by the group's own memory limit, and, on v2, those of the groups below it";

constexpr Table kHost = Table::kHost;
constexpr Table kCpu = Table::kCpu;
constexpr Table kCgroup = Table::kCgroup;
constexpr Table kDisk = Table::kDisk;
constexpr Table kNetdev = Table::kNetdev;
constexpr Table kBpf = Table::kBpf;
constexpr Table kFault = Table::kFault;
constexpr Kind kCounter = Kind::kCounter;
constexpr Kind kGauge = Kind::kGauge;
constexpr Kind kHistogram = Kind::kHistogram;

// Three lines a row: what it is, where it is read, what it means.
// clang-format off
constexpr Metric kMetrics[] = {
    // host: what exists once per machine.
    {"E1", "system.cpu.time", kHost, "system_cpu_time_user_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 0, kTickNs}}}, kNoFallback,
     "Time of all CPUs in user mode, guests included; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_nice_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 1, kTickNs}}}, kNoFallback,
     "Time of all CPUs in user mode at lowered priority, guests included; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_system_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 2, kTickNs}}}, kNoFallback,
     "Time of all CPUs in the kernel; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_idle_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 3, kTickNs}}}, kNoFallback,
     "Time of all CPUs idle; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_iowait_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 4, kTickNs}}}, kNoFallback,
     "Time of all CPUs idle while a task of this CPU waited for a disk (an estimate of the "
     "kernel's); in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_irq_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 5, kTickNs}}}, kNoFallback,
     "Time of all CPUs in hardware interrupts; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_softirq_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 6, kTickNs}}}, kNoFallback,
     "Time of all CPUs in soft interrupts; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_steal_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 7, kTickNs}}}, kNoFallback,
     "Time of all CPUs taken by the hypervisor; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_guest_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 8, kTickNs}}}, kNoFallback,
     "Time of all CPUs running a guest; also part of user; in steps of 10 ms."},
    {"E1", "system.cpu.time", kHost, "system_cpu_time_guest_nice_ns", "ns", kCounter, 0,
     {{FileField{kStat, "cpu", 9, kTickNs}}}, kNoFallback,
     "Time of all CPUs running a guest at lowered priority; also part of nice; in steps of 10 ms."},
    {"E34", "system.memory.limit", kHost, "system_memory_limit_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "MemTotal", 0, kKiB}}}, kNoFallback,
     "Memory that the kernel manages."},
    {"E34", "system.memory.usage", kHost, "system_memory_free_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "MemFree", 0, kKiB}}}, kNoFallback,
     "Memory that nothing uses."},
    {"E34", "system.memory.usage", kHost, "system_memory_used_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "MemTotal -MemFree -Buffers -Cached -SReclaimable", 0, kKiB}}},
     kNoFallback,
     "Total without free, buffers, cached and reclaimable slab."},
    {"E34", "system.memory.usage", kHost, "system_memory_buffers_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Buffers", 0, kKiB}}}, kNoFallback,
     "Cache of block devices."},
    {"E34", "system.memory.usage", kHost, "system_memory_cached_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Cached", 0, kKiB}}}, kNoFallback,
     "Page cache, shared memory included."},
    {"E34", "system.memory.usage", kHost, "system_memory_active_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Active", 0, kKiB}}}, kNoFallback,
     "Memory used recently."},
    {"E34", "system.memory.usage", kHost, "system_memory_inactive_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Inactive", 0, kKiB}}}, kNoFallback,
     "Memory not used recently, the first to be reclaimed."},
    {"E34", "system.memory.usage", kHost, "system_memory_dirty_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Dirty", 0, kKiB}}}, kNoFallback,
     "Page cache that waits to be written."},
    {"E34", "system.memory.usage", kHost, "system_memory_writeback_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Writeback", 0, kKiB}}}, kNoFallback,
     "Page cache that is being written."},
    {"E34", "system.memory.usage", kHost, "system_memory_slab_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Slab", 0, kKiB}}}, kNoFallback,
     "Memory of the kernel's own objects."},
    {"E34", "system.memory.usage", kHost, "system_memory_committed_bytes", "By", kGauge, 0,
     {{FileField{kMeminfo, "Committed_AS", 0, kKiB}}}, kNoFallback,
     "Address space that the kernel has promised to processes."},
    {"E35", "system.memory.linux.available", kHost, "system_memory_available_bytes",
     "By", kGauge, 0, {{FileField{kMeminfo, "MemAvailable", 0, kKiB}}}, kNoFallback,
     "The kernel's estimate of what can be had without swapping."},
    {"E39", "system.paging.faults", kHost, "system_paging_faults_minor_count",
     "{fault}", kCounter, 0, {{FileField{kVmstat, "pgfault -pgmajfault", 0}}}, kNoFallback,
     "Page faults that needed no disk."},
    {"E40", "system.paging.faults", kHost, "system_paging_faults_major_count",
     "{fault}", kCounter, 0, {{FileField{kVmstat, "pgmajfault", 0}}}, kNoFallback,
     "Page faults that read from a disk."},
    {"E47", "memory.oom.kills", kHost, "memory_oom_kills_count", "{kill}", kCounter, 0,
     {{FileField{kVmstat, "oom_kill", 0}}}, kNoFallback,
     "Processes killed for want of memory, for whatever limit."},
    {"S1", "process.cpu.time", kHost, "agent_cpu_time_ns", "ns", kCounter, 0,
     {{SelfField::kCpuTime}}, kNoFallback,
     "CPU time of the agent itself, all threads."},
    {"S2", "process.memory.usage", kHost, "agent_memory_rss_bytes", "By", kGauge, 0,
     {{SelfField::kResidentBytes}}, kNoFallback,
     "Resident memory of the agent itself; BPF maps count only where they are mapped."},
    {"S3", "faultline.agent.ticks.skipped", kHost, "agent_ticks_skipped_count",
     "{tick}", kCounter, 0, {{SelfField::kSkippedTicks}}, kNoFallback,
     "Ticks that were due and have no frame, noticed since the frame before."},
    {"S4", "faultline.agent.sample.time", kHost, "agent_sample_time_ns", "ns", kGauge, 0,
     {{SelfField::kSampleTime}}, kNoFallback,
     "How long reading this frame's sources took."},
    {"S5", "faultline.agent.cgroups.folded", kHost, "agent_cgroups_folded_count",
     "{cgroup}", kGauge, 0, {{SelfField::kCgroupsFolded}}, kNoFallback,
     "Control groups without a row of their own, counted in ~other."},
    // cpu: one row per online CPU.
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_user_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 0, kTickNs}}}, kNoFallback,
     "Time of this CPU in user mode, guests included; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_nice_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 1, kTickNs}}}, kNoFallback,
     "Time of this CPU in user mode at lowered priority, guests included; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_system_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 2, kTickNs}}}, kNoFallback,
     "Time of this CPU in the kernel; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_idle_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 3, kTickNs}}}, kNoFallback,
     "Time of this CPU idle; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_iowait_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 4, kTickNs}}}, kNoFallback,
     "Time of this CPU idle while a task of this CPU waited for a disk (an estimate of the "
     "kernel's); in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_irq_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 5, kTickNs}}}, kNoFallback,
     "Time of this CPU in hardware interrupts; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_softirq_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 6, kTickNs}}}, kNoFallback,
     "Time of this CPU in soft interrupts; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_steal_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 7, kTickNs}}}, kNoFallback,
     "Time of this CPU taken by the hypervisor; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_guest_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 8, kTickNs}}}, kNoFallback,
     "Time of this CPU running a guest; also part of user; in steps of 10 ms."},
    {"E1", "system.cpu.time", kCpu, "system_cpu_time_guest_nice_ns", "ns", kCounter, 0,
     {{FileField{kStat, kCpuEntity, 9, kTickNs}}}, kNoFallback,
     "Time of this CPU running a guest at lowered priority; also part of nice; in steps of 10 ms."},
    {"E2", "faultline.cpu.busy", kCpu, "cpu_busy_ns", "ns", kCounter, 0,
     {{BpfField{"sched", "cpu_busy", 0}}}, kNoFallback,
     "Time in which a task other than idle was on this CPU, exact."},
    {"E5", "process.context_switches", kCpu, "cpu_context_switches_count", "{switch}", kCounter, 0,
     {{BpfField{"sched", "cpu_busy", 1}}}, kNoFallback,
     "Context switches on this CPU."},
    {"S14", "faultline.sched.discarded", kCpu, "cpu_sched_discarded_count",
     "{sample}", kCounter, 0, {{BpfField{"sched", "cpu_busy", 2}}}, kNoFallback,
     "Waits, times off the CPU and switches that could not be counted: the kernel did not tell of "
     "the switch, a clock ran backwards or was not set, or too many tasks were blocked at once."},
    {"E20", "hw.cpu.cycles", kCpu, "hw_cpu_cycles_count", "{cycle}", kCounter, 0,
     {{PerfField{PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES}}}, kNoFallback,
     "Core cycles, halted ones not counted."},
    {"E21", "hw.cpu.instructions", kCpu, "hw_cpu_instructions_count", "{instruction}", kCounter, 0,
     {{PerfField{PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS}}}, kNoFallback,
     "Instructions retired."},
    // cgroup: one row per control group. BPF counts what tasks of the group itself do; a group's
    // own
    // files also count the groups below it.
    {"E2", "container.cpu.time", kCgroup, "cgroup_cpu_time_ns", "ns", kCounter, 0,
     {{BpfField{"sched", "cpu_time", 0},
       CgroupField{"cpuacct", "cpuacct.usage", "", 1, "cpu.stat", "usage_usec", kUsNs}}},
     kUsageFallback,
     "Time on a CPU of the group's own tasks, exact."},
    {"E3", "sched.runqueue.wait", kCgroup, "sched_runqueue_wait_ns", "ns", kHistogram, 0,
     {{BpfField{"sched", "runq_wait", 0}}}, kNoFallback,
     "How long tasks that could run waited for a CPU, each time one got it."},
    {"E4", "sched.offcpu", kCgroup, "sched_offcpu_sleep_ns", "ns", kHistogram, 0,
     {{BpfField{"sched", "offcpu", 0}}}, kNoFallback,
     "How long tasks were asleep and could be woken, each time one came back."},
    {"E4", "sched.offcpu", kCgroup, "sched_offcpu_disk_ns", "ns", kHistogram, 0,
     {{BpfField{"sched", "offcpu", 1}}}, kNoFallback,
     "How long tasks were in uninterruptible sleep that was not marked as waiting for a disk, "
     "each time one came back."},
    {"E4", "sched.offcpu", kCgroup, "sched_offcpu_iowait_ns", "ns", kHistogram, 0,
     {{BpfField{"sched", "offcpu", 2}}}, kNoFallback,
     "How long tasks were waiting for a disk, each time one came back."},
    {"E5", "process.context_switches", kCgroup, "process_context_switches_voluntary_count",
     "{switch}", kCounter, 0, {{BpfField{"sched", "ctx_switches", 0}}}, kNoFallback,
     "Times that tasks left the CPU because the task had to wait."},
    {"E5", "process.context_switches", kCgroup, "process_context_switches_involuntary_count",
     "{switch}", kCounter, 0, {{BpfField{"sched", "ctx_switches", 1}}}, kNoFallback,
     "Times that tasks left the CPU because another task was to run."},
    {"E14", "cgroup.cpu.periods", kCgroup, "cgroup_cpu_periods_count", "{period}", kCounter, 0,
     {{CgroupField{"cpu", "cpu.stat", "nr_periods", 1, "cpu.stat", "nr_periods", 1}}}, kNoFallback,
     "Periods of the CPU limit in which the group wanted to run; stays 0 without a limit."},
    {"E15", "cgroup.cpu.throttled", kCgroup, "cgroup_cpu_throttled_count", "{period}", kCounter, 0,
     {{CgroupField{"cpu", "cpu.stat", "nr_throttled", 1, "cpu.stat", "nr_throttled", 1}}},
     kNoFallback,
     "Periods in which the group was stopped for having used up its CPU limit."},
    {"E16", "cgroup.cpu.throttled.time", kCgroup, "cgroup_cpu_throttled_ns", "ns", kCounter, 0,
     {{CgroupField{"cpu", "cpu.stat", "throttled_time", 1, "cpu.stat", "throttled_usec", kUsNs}}},
     kNoFallback,
     "Time for which the group was stopped by its CPU limit, summed over CPUs."},
    {"E36", "container.memory.usage", kCgroup, "cgroup_memory_usage_bytes", "By", kGauge, 0,
     {{CgroupField{"memory", "memory.usage_in_bytes", "", 1, "memory.current", "", 1}}},
     kNoFallback,
     "Memory charged to the group and those below it, page cache included."},
    {"E38", "cgroup.memory.events", kCgroup, "cgroup_memory_events_low_count",
     "{event}", kCounter, 0,
     {{CgroupField{nullptr, nullptr, nullptr, 0, "memory.events", "low", 1}}}, kNoFallback,
     "Reclaims of the group below its memory.low; cgroup v1 has no such count."},
    {"E38", "cgroup.memory.events", kCgroup, "cgroup_memory_events_high_count",
     "{event}", kCounter, 0,
     {{CgroupField{nullptr, nullptr, nullptr, 0, "memory.events", "high", 1}}}, kNoFallback,
     "Times that tasks were slowed for exceeding memory.high; cgroup v1 has no such count."},
    {"E38", "cgroup.memory.events", kCgroup, "cgroup_memory_events_max_count",
     "{event}", kCounter, 0,
     {{CgroupField{"memory", "memory.failcnt", "", 1, "memory.events", "max", 1}}}, kNoFallback,
     "Times that the memory limit was about to be exceeded; on v1 memory.failcnt, charges that "
     "hit the limit, of the group alone."},
    {"E38", "cgroup.memory.events", kCgroup, "cgroup_memory_events_oom_count",
     "{event}", kCounter, 0,
     {{CgroupField{nullptr, nullptr, nullptr, 0, "memory.events", "oom", 1}}}, kNoFallback,
     "Times that the limit was hit and reclaim did not help; cgroup v1 has no such count."},
    {"E38", "cgroup.memory.events", kCgroup, "cgroup_memory_events_oom_kill_count",
     "{event}", kCounter, 0,
     {{CgroupField{"memory", "memory.oom_control", "oom_kill", 1, "memory.events", "oom_kill", 1}}},
     kNoFallback,
     "Processes of the group killed by any kind of OOM killer; on v1 the group alone, on v2 "
     "those below it too."},
    {"E39", "process.paging.faults", kCgroup, "process_paging_faults_minor_count",
     "{fault}", kCounter, 0, {{BpfField{"tasks", "page_faults", 0}}}, kNoFallback,
     "Page faults that needed no disk, of all tasks that lived in the window."},
    {"E40", "process.paging.faults", kCgroup, "process_paging_faults_major_count",
     "{fault}", kCounter, 0, {{BpfField{"tasks", "page_faults", 1}}}, kNoFallback,
     "Page faults that read from a disk, of all tasks that lived in the window."},
    {"E42", "memory.reclaim.direct", kCgroup, "memory_reclaim_direct_ns", "ns", kHistogram, 0,
     {{BpfField{"memory", "direct_reclaim", 0}}}, kNoFallback,
     "How long tasks were held up to free memory for the whole machine."},
    {"E43", "memory.reclaim.memcg", kCgroup, "memory_reclaim_memcg_ns", "ns", kHistogram, 0,
     {{BpfField{"memory", "memcg_reclaim", 0}}}, kNoFallback,
     "How long tasks were held up to free memory for a control group's limit."},
    {"E47", "memory.oom.kills", kCgroup, "memory_oom_kills_count", "{kill}", kCounter, 0,
     {{BpfField{"memory", "oom_kills", 0},
       CgroupField{"memory", "memory.oom_control", "oom_kill", 1, "memory.events", "oom_kill", 1}}},
     kOomFallback,
     "Processes of the group chosen by the OOM killer."},
    {"E48", "container.disk.io", kCgroup, "cgroup_disk_read_bytes", "By", kCounter, 0,
     {{BpfField{"block", "cg_disk_bytes", 0}}}, kNoFallback,
     "Bytes read, in requests that the group's tasks issued themselves. Null in a v2 group without "
     "the io controller, as the kernel charges its requests to a group above it."},
    {"E48", "container.disk.io", kCgroup, "cgroup_disk_write_bytes", "By", kCounter, 0,
     {{BpfField{"block", "cg_disk_bytes", 1}}}, kNoFallback,
     "Bytes written, in requests that the group's tasks issued themselves."},
    {"E48", "container.disk.io", kCgroup, "cgroup_disk_other_bytes", "By", kCounter, 0,
     {{BpfField{"block", "cg_disk_bytes", 2}}}, kNoFallback,
     "Bytes of other requests (discards and the like), in requests that the group's tasks issued "
     "themselves."},
    {"E49", "container.disk.operations", kCgroup, "cgroup_disk_read_count",
     "{operation}", kCounter, 0, {{BpfField{"block", "cg_disk_ops", 0}}}, kNoFallback,
     "Reads that completed and that the group's tasks issued themselves."},
    {"E49", "container.disk.operations", kCgroup, "cgroup_disk_write_count",
     "{operation}", kCounter, 0, {{BpfField{"block", "cg_disk_ops", 1}}}, kNoFallback,
     "Writes that completed and that the group's tasks issued themselves."},
    {"E49", "container.disk.operations", kCgroup, "cgroup_disk_other_count",
     "{operation}", kCounter, 0, {{BpfField{"block", "cg_disk_ops", 2}}}, kNoFallback,
     "Other requests (discards, flushes) that completed and that the group's tasks issued "
     "themselves."},
    {"E60", "tcp.rtt", kCgroup, "tcp_rtt_us", "us", kHistogram, 0,
     {{BpfField{"tcp", "tcp_rtt", 0}}}, kNoFallback,
     "Smoothed round-trip time of TCP connections, at each segment received."},
    {"E61", "tcp.retransmits", kCgroup, "tcp_retransmits_count", "{segment}", kCounter, 0,
     {{BpfField{"tcp", "tcp_retrans", 0}}}, kNoFallback,
     "TCP segments sent again."},
    {"E61", "tcp.retransmits", kCgroup, "tcp_retransmits_synack_count", "{segment}", kCounter, 0,
     {{BpfField{"tcp", "tcp_retrans", 1}}}, kNoFallback,
     "Answers to TCP connection requests sent again."},
    {"E62", "tcp.connect.duration", kCgroup, "tcp_connect_duration_ns", "ns", kHistogram, 0,
     {{BpfField{"tcp", "tcp_connect", 0}}}, kNoFallback,
     "From SYN to established, of TCP connections that the group opened."},
    {"E63", "tcp.connections", kCgroup, "tcp_connections_opened_count", "{connection}", kCounter, 0,
     {{BpfField{"tcp", "tcp_conns", 0}}}, kNoFallback,
     "TCP connections that the group opened."},
    {"E63", "tcp.connections", kCgroup, "tcp_connections_accepted_count",
     "{connection}", kCounter, 0, {{BpfField{"tcp", "tcp_conns", 1}}}, kNoFallback,
     "TCP connections that the group accepted."},
    {"E63", "tcp.connections", kCgroup, "tcp_connections_failed_count", "{connection}", kCounter, 0,
     {{BpfField{"tcp", "tcp_conns", 2}}}, kNoFallback,
     "TCP connections that the group tried to open in vain."},
    {"E63", "tcp.connections", kCgroup, "tcp_connections_closed_count", "{connection}", kCounter, 0,
     {{BpfField{"tcp", "tcp_conns", 3}}}, kNoFallback,
     "TCP connections of the group that were closed after they had been established."},
    // disk: one row per whole disk; partitions count with theirs.
    {"E48", "system.disk.io", kDisk, "system_disk_read_bytes", "By", kCounter, 0,
     {{BpfField{"block", "disk_bytes", 0},
       FileField{kDiskstats, kEntity, 2, kSector}}}, kDiskFallback,
     "Bytes read."},
    {"E48", "system.disk.io", kDisk, "system_disk_write_bytes", "By", kCounter, 0,
     {{BpfField{"block", "disk_bytes", 1},
       FileField{kDiskstats, kEntity, 6, kSector}}}, kDiskFallback,
     "Bytes written."},
    {"E48", "system.disk.io", kDisk, "system_disk_other_bytes", "By", kCounter, 0,
     {{BpfField{"block", "disk_bytes", 2},
       FileField{kDiskstats, kEntity, 13, kSector}}}, kDiscardFallback,
     "Bytes of other requests (discards and the like)."},
    {"E49", "system.disk.operations", kDisk, "system_disk_read_count", "{operation}", kCounter, 0,
     {{BpfField{"block", "disk_ops", 0}, FileField{kDiskstats, kEntity, 0}}}, kDiskFallback,
     "Reads that completed."},
    {"E49", "system.disk.operations", kDisk, "system_disk_write_count", "{operation}", kCounter, 0,
     {{BpfField{"block", "disk_ops", 1}, FileField{kDiskstats, kEntity, 4}}}, kDiskFallback,
     "Writes that completed."},
    {"E49", "system.disk.operations", kDisk, "system_disk_other_count", "{operation}", kCounter, 0,
     {{BpfField{"block", "disk_ops", 2}, FileField{kDiskstats, kEntity, 11}}}, kDiscardFallback,
     "Other requests (discards, flushes) that completed."},
    {"E50", "disk.latency.device", kDisk, "disk_latency_read_ns", "ns", kHistogram, 0,
     {{BpfField{"block", "disk_latency", 0}}}, kNoFallback,
     "From handing a read to the device to its completion."},
    {"E50", "disk.latency.device", kDisk, "disk_latency_write_ns", "ns", kHistogram, 0,
     {{BpfField{"block", "disk_latency", 1}}}, kNoFallback,
     "From handing a write to the device to its completion."},
    {"E52", "system.disk.io_time", kDisk, "system_disk_io_time_ns", "ns", kCounter, 0,
     {{FileField{kDiskstats, kEntity, 9, kMsNs}}}, kNoFallback,
     "Time in which at least one request was under way; in steps of the kernel's tick."},
    {"E52", "disk.inflight", kDisk, "disk_inflight_count", "{operation}", kGauge, 0,
     {{FileField{kDiskstats, kEntity, 8}}}, kNoFallback,
     "Requests under way at the tick."},
    // netdev: one row per network device of the agent's network namespace.
    {"E56", "system.network.io", kNetdev, "system_network_receive_bytes", "By", kCounter, 0,
     {{FileField{kNetDev, kEntity, 0}}}, kNoFallback,
     "Bytes received."},
    {"E57", "system.network.packet.count", kNetdev, "system_network_receive_packets_count",
     "{packet}", kCounter, 0, {{FileField{kNetDev, kEntity, 1}}}, kNoFallback,
     "Packets received."},
    {"E58", "system.network.errors", kNetdev, "system_network_receive_errors_count",
     "{error}", kCounter, 0, {{FileField{kNetDev, kEntity, 2}}}, kNoFallback,
     "Packets that could not be received because of an error."},
    {"E58", "system.network.packet.dropped", kNetdev, "system_network_receive_dropped_count",
     "{packet}", kCounter, 0, {{FileField{kNetDev, kEntity, 3}}}, kNoFallback,
     "Packets dropped by the device or its queue instead of being received."},
    {"E56", "system.network.io", kNetdev, "system_network_transmit_bytes", "By", kCounter, 0,
     {{FileField{kNetDev, kEntity, 8}}}, kNoFallback,
     "Bytes sent."},
    {"E57", "system.network.packet.count", kNetdev, "system_network_transmit_packets_count",
     "{packet}", kCounter, 0, {{FileField{kNetDev, kEntity, 9}}}, kNoFallback,
     "Packets sent."},
    {"E58", "system.network.errors", kNetdev, "system_network_transmit_errors_count",
     "{error}", kCounter, 0, {{FileField{kNetDev, kEntity, 10}}}, kNoFallback,
     "Packets that could not be sent because of an error."},
    {"E58", "system.network.packet.dropped", kNetdev, "system_network_transmit_dropped_count",
     "{packet}", kCounter, 0, {{FileField{kNetDev, kEntity, 11}}}, kNoFallback,
     "Packets dropped by the device or its queue instead of being sent."},
    // bpf: what the agent's own programs ("prog:NAME") and maps ("map:NAME") cost.
    {"S6", "faultline.bpf.program.run_time", kBpf, "bpf_program_run_time_ns", "ns", kCounter, 0,
     {{BpfCostField::kRunTime}}, kNoFallback,
     "Time spent in the program; needs the sysctl kernel.bpf_stats_enabled=1."},
    {"S7", "faultline.bpf.program.run_count", kBpf, "bpf_program_runs_count", "{run}", kCounter, 0,
     {{BpfCostField::kRunCount}}, kNoFallback,
     "Runs of the program; needs the sysctl kernel.bpf_stats_enabled=1."},
    {"S8", "faultline.bpf.program.missed", kBpf, "bpf_program_missed_count", "{run}", kCounter, 0,
     {{BpfCostField::kMissed}}, kNoFallback,
     "Events that the program did not see because it was running already."},
    {"S9", "faultline.bpf.map.entries", kBpf, "bpf_map_entries_count", "{entry}", kGauge, 0,
     {{BpfCostField::kMapEntries}}, kNoFallback,
     "Entries in use."},
    {"S10", "faultline.bpf.map.capacity", kBpf, "bpf_map_capacity_count", "{entry}", kGauge, 0,
     {{BpfCostField::kMapCapacity}}, kNoFallback,
     "Entries that there is room for."},
    // fault: one row per fault that is active; the dose is in the unit of that fault, see
    // faults.csv.
    {"S11", "faultline.fault.active", kFault, "active", "1", kGauge, 0,
     {{LabelField{}}}, kNoFallback,
     "1: the fault was acked and not undone in some part of the window. Null while the injector is "
     "not seen."},
    {"S12", "faultline.fault.dose", kFault, "fault_dose", "{dose}", kCounter, 0,
     {{LabelField{}}}, kNoFallback,
     "What the fault did in the window: its primary dose, in the unit of the fault (faults.csv)."},
    {"S13", "faultline.fault.dose", kFault, "fault_dose_total", "{dose}", kGauge, 0,
     {{LabelField{}}}, kNoFallback,
     "Its primary dose since its start, in the unit of the fault (faults.csv)."},
};
// clang-format on

constexpr bool IsEmpty(const char* text) { return text == nullptr || *text == '\0'; }

constexpr bool HasField(const Metric& metric, size_t choice) {
  return !std::holds_alternative<std::monostate>(metric.fields[choice]);
}

constexpr bool RowsAreComplete() {
  for (const Metric& metric : kMetrics) {
    if (IsEmpty(metric.id) || IsEmpty(metric.name) || IsEmpty(metric.column) ||
        IsEmpty(metric.unit) || IsEmpty(metric.meaning) || !HasField(metric, 0)) {
      return false;
    }
  }
  return true;
}

constexpr bool FallbacksSayWhatTheyLose() {
  for (const Metric& metric : kMetrics) {
    if (HasField(metric, 1) == IsEmpty(metric.degraded)) return false;
    if (HasField(metric, 2) && !HasField(metric, 1)) return false;
  }
  return true;
}

constexpr bool RowsAreGroupedByTable() {
  Table last = Table::kHost;
  for (const Metric& metric : kMetrics) {
    if (metric.table < last) return false;
    last = metric.table;
  }
  return true;
}

constexpr bool ColumnsAreUnique() {
  for (const Metric& metric : kMetrics) {
    for (const Metric& other : kMetrics) {
      if (&metric != &other && metric.table == other.table &&
          absl::string_view(metric.column) == absl::string_view(other.column)) {
        return false;
      }
    }
  }
  return true;
}

constexpr bool HistogramsComeFromBpfOnly() {
  for (const Metric& metric : kMetrics) {
    if (metric.kind != kHistogram) continue;
    if (!std::holds_alternative<BpfField>(metric.fields[0]) || HasField(metric, 1)) return false;
  }
  return true;
}

static_assert(RowsAreComplete());
static_assert(FallbacksSayWhatTheyLose());
static_assert(RowsAreGroupedByTable());
static_assert(ColumnsAreUnique());
static_assert(HistogramsComeFromBpfOnly());

}  // namespace

const char* TableName(Table table) {
  constexpr const char* kNames[kTables] = {"host",   "cpu", "cgroup", "disk",
                                           "netdev", "bpf", "fault"};
  return kNames[static_cast<int>(table)];
}

absl::Span<const Metric> Metrics() { return kMetrics; }

}  // namespace faultline
