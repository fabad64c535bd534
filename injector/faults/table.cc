// SPDX-License-Identifier: Apache-2.0
//
// Every type of fault: a block each of what its file defines, its parameters and symptoms; then its
// row. docs/adding-a-fault.md walks through one.
#include <cstddef>

#include "injector/faults/fault.h"

namespace faultline {

using Kind = Parameter::Kind;

constexpr const char* kNeedsCpu[] = {"cpu"};
constexpr const char* kNeedsMemory[] = {"memory"};
constexpr const char* kNeedsIo[] = {"io"};

// ---- cpu.limit: faults/cpu_limit.cc
std::unique_ptr<Fault> MakeCpuLimit();
absl::Status ProbeCpuLimit(Host& host);
constexpr Parameter kCpuLimitParameters[] = {
    {"cpus", Kind::kNumber, "CPU", 0.05, 64, nullptr, nullptr,
     "CPU time that the group may use, in CPUs: 0.5 is half of one"},
    {"period", Kind::kDuration, "ns", 1e6, 1e9, "100ms", nullptr,
     "time over which the quota is counted; a longer one makes longer stalls"},
};
constexpr const char* kCpuLimitSymptoms[] = {"cgroup_cpu_throttled_ns",
                                             "cgroup_cpu_throttled_count", "cgroup_cpu_time_ns",
                                             "sched_runqueue_wait_ns_p99"};

// ---- cpu.load: faults/cpu_load.cc
std::unique_ptr<Fault> MakeCpuLoad();
absl::Status ProbeCpuLoad(Host& host);
constexpr Parameter kCpuLoadParameters[] = {
    {"cpus", Kind::kNumber, "CPU", 0.05, 64, nullptr, nullptr,
     "CPU time that the group is to use, its own work included, in CPUs; where that alone uses "
     "more, nothing is burnt"},
};
constexpr const char* kCpuLoadSymptoms[] = {"cgroup_cpu_time_ns", "sched_runqueue_wait_ns_p99",
                                            "process_context_switches_involuntary_count"};

// ---- process.pause: faults/process_pause.cc
std::unique_ptr<Fault> MakeProcessPause();
absl::Status ProbeProcessPause(Host& host);
constexpr const char* kProcessPauseSymptoms[] = {"cgroup_cpu_time_ns",
                                                 "process_context_switches_voluntary_count"};

// ---- process.kill: faults/process_kill.cc
std::unique_ptr<Fault> MakeProcessKill();
absl::Status ProbeProcessKill(Host& host);
constexpr Parameter kProcessKillParameters[] = {
    {"signal", Kind::kChoice, "", 0, 0, "KILL", "KILL|TERM|INT|HUP|QUIT|ABRT|USR1|USR2",
     "signal that is sent; to stop processes there is process.pause"},
    {"every", Kind::kDuration, "ns", 0, 3600e9, "0", nullptr,
     "time after which it is sent again, also to what came back; 0 is once"},
};
constexpr const char* kProcessKillSymptoms[] = {"cgroup_cpu_time_ns", "cgroup_memory_usage_bytes",
                                                "process_paging_faults_minor_count"};

// ---- mem.leak: faults/mem_leak.cc
std::unique_ptr<Fault> MakeMemLeak();
absl::Status ProbeMemLeak(Host& host);
constexpr Parameter kMemLeakParameters[] = {
    {"bytes", Kind::kBytes, "By", 4096, 1099511627776.0, nullptr, nullptr,
     "memory that is touched and held inside the group at the end of the ramp"},
    {"rate", Kind::kBytes, "By/s", 4096, 1099511627776.0, "64MiB/s", nullptr,
     "how fast it grows; a ramp has a rate of its own"},
    {"allow_oom", Kind::kChoice, "", 0, 0, "no", "no|yes",
     "go on where the group's memory limit is lower than what it would then use"},
};
constexpr const char* kMemLeakSymptoms[] = {"cgroup_memory_usage_bytes",
                                            "cgroup_memory_events_max_count"};

// ---- mem.limit: faults/mem_limit.cc
std::unique_ptr<Fault> MakeMemLimit();
absl::Status ProbeMemLimit(Host& host);
constexpr Parameter kMemLimitParameters[] = {
    {"bytes", Kind::kBytes, "By", 4096, 1099511627776.0, nullptr, nullptr,
     "memory that the group may use, page cache included; a ramp goes down to it from what is "
     "used"},
    {"by", Kind::kChoice, "", 0, 0, "max", "max|high",
     "max reclaims, and kills where that is not enough; high, of cgroup v2 only, reclaims and "
     "slows "
     "down, and never kills"},
    {"allow_oom", Kind::kChoice, "", 0, 0, "no", "no|yes",
     "go on where the group holds more than bytes that cannot be reclaimed, so that the kernel "
     "kills tasks of it"},
};
constexpr const char* kMemLimitSymptoms[] = {
    "cgroup_memory_events_max_count", "memory_reclaim_memcg_ns_count",
    "cgroup_memory_events_high_count", "cgroup_memory_usage_bytes",
    "process_paging_faults_major_count"};

// ---- io.limit: faults/io_limit.cc
std::unique_ptr<Fault> MakeIoLimit();
absl::Status ProbeIoLimit(Host& host);
constexpr Parameter kIoLimitParameters[] = {
    {"device", Kind::kText, "", 0, 0, nullptr, nullptr,
     "block device, by its name or number: vda or 254:0; a whole one, no partition"},
    {"read", Kind::kBytes, "By/s", 0, 1099511627776.0, "0", nullptr,
     "bytes that the group may read from it in a second; 0 is no limit, as below"},
    {"write", Kind::kBytes, "By/s", 0, 1099511627776.0, "0", nullptr,
     "bytes that it may write; on cgroup v1 only past the page cache"},
    {"read_ops", Kind::kNumber, "{operation}/s", 0, 500000, "0", nullptr,
     "reads that it may make in a second"},
    {"write_ops", Kind::kNumber, "{operation}/s", 0, 500000, "0", nullptr,
     "writes that it may make in a second"},
};
constexpr const char* kIoLimitSymptoms[] = {"cgroup_disk_read_bytes", "cgroup_disk_write_bytes",
                                            "cgroup_disk_read_count", "cgroup_disk_write_count",
                                            "sched_offcpu_disk_ns_sum"};

// ---- net.loss: faults/net_loss.cc
std::unique_ptr<Fault> MakeNetLoss();
absl::Status ProbeNetLoss(Host& host);
constexpr Parameter kNetLossParameters[] = {
    {"loss", Kind::kPercent, "%", 0.1, 100, nullptr, nullptr,
     "share of the packets that is lost; 100% is a partition"},
    {"direction", Kind::kChoice, "", 0, 0, "both", "in|out|both",
     "packets to the group, from it, or both"},
    {"device", Kind::kText, "", 0, 0, "", nullptr,
     "network devices for outbound packets, separated by commas; empty is every one that is up, "
     "loopback excepted"},
};
constexpr const char* kNetLossSymptoms[] = {"tcp_retransmits_count", "tcp_rtt_us_p99",
                                            "tcp_connections_failed_count"};

// ---- net.rate: faults/net_rate.cc
std::unique_ptr<Fault> MakeNetRate();
absl::Status ProbeNetRate(Host& host);
constexpr Parameter kNetRateParameters[] = {
    {"rate", Kind::kRate, "bit/s", 8e3, 100e9, nullptr, nullptr,
     "what the group's outbound packets share, link-layer headers included"},
    {"device", Kind::kText, "", 0, 0, nullptr, nullptr,
     "network device by which they leave; it needs the standing plane"},
};
constexpr const char* kNetRateSymptoms[] = {"tcp_rtt_us_p99", "tcp_rtt_us_p50",
                                            "tcp_retransmits_count"};

// ---- net.delay: faults/net_delay.cc
std::unique_ptr<Fault> MakeNetDelay();
absl::Status ProbeNetDelay(Host& host);
constexpr Parameter kNetDelayParameters[] = {
    {"delay", Kind::kDuration, "ns", 1e3, 60e9, nullptr, nullptr,
     "how long each of the group's outbound packets is held back"},
    {"jitter", Kind::kDuration, "ns", 0, 60e9, "0ms", nullptr,
     "by how much that varies, evenly to both sides; less than the delay"},
    {"device", Kind::kText, "", 0, 0, nullptr, nullptr,
     "network device by which they leave; it needs the standing plane"},
};
constexpr const char* kNetDelaySymptoms[] = {"tcp_rtt_us_p99", "tcp_rtt_us_p50",
                                             "tcp_retransmits_count"};

// ---- sham: faults/sham.cc
std::unique_ptr<Fault> MakeSham();
absl::Status ProbeSham(Host& host);
constexpr Parameter kShamParameters[] = {
    {"mechanism", Kind::kChoice, "", 0, 0, "cgroup",
     "cgroup|unit|freezer|process|helper|link|plane",
     "whose calls are made at zero dose: cgroup, as cpu.limit, writes the quota that is there "
     "already, through systemd where the group is a unit's own; unit is refused where that is not "
     "so; freezer, as process.pause, lets the tasks go on; process, as process.kill, opens each "
     "process and sends no signal; helper, as mem.leak, holds 0 bytes; link, as net.loss, attaches "
     "the program at 0 %; plane, as net.rate, steers packets through a class that limits nothing"},
    {"device", Kind::kText, "", 0, 0, "", nullptr,
     "network device of mechanism plane, which needs the standing plane; no other takes one"},
};

// ---- hold.controllers: faults/hold_controllers.cc
std::unique_ptr<Fault> MakeHoldControllers();
absl::Status ProbeHoldControllers(Host& host);

namespace {

constexpr FaultType kRows[] = {
    {.name = "cpu.limit",
     .meaning = "The group gets at most so much CPU time, by the kernel's bandwidth control.",
     .parameters = kCpuLimitParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .shapes = "ramp|pulse",
     .controllers = kNeedsCpu,
     .dose = "throttled_ns",
     .dose_unit = "ns",
     .ledger = false,
     .symptoms = kCpuLimitSymptoms,
     .make = MakeCpuLimit,
     .probe = ProbeCpuLimit},
    {.name = "cpu.load",
     .meaning = "The group uses so much CPU time: what its own work leaves of it is burnt by a "
                "helper process inside.",
     .parameters = kCpuLoadParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .shapes = "ramp|pulse",
     .follower = Follower::kHelper,
     .dose = "burnt_ns",
     .dose_unit = "ns",
     .ledger = false,
     .symptoms = kCpuLoadSymptoms,
     .make = MakeCpuLoad,
     .probe = ProbeCpuLoad},
    {.name = "process.pause",
     .meaning = "Every task of the group stops, by the freezer, and goes on where it was.",
     .parameters = {},
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .shapes = "pulse",
     .dose = "paused_ns",
     .dose_unit = "ns",
     .ledger = false,
     .symptoms = kProcessPauseSymptoms,
     .make = MakeProcessPause,
     .probe = ProbeProcessPause},
    {.name = "process.kill",
     .meaning = "A signal to one process, or to every process of the group and below. It is never "
                "undone; the fault lasts until its end, whether or not the target comes back.",
     .parameters = kProcessKillParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .shapes = "pulse",
     .dose = "processes_signalled",
     .dose_unit = "{process}",
     .ledger = false,
     .symptoms = kProcessKillSymptoms,
     .make = MakeProcessKill,
     .probe = ProbeProcessKill},
    {.name = "mem.leak",
     .meaning = "Memory that is never given back grows inside the group, held by a helper process.",
     .parameters = kMemLeakParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .shapes = "ramp|pulse",
     .follower = Follower::kHelper,
     .controllers = kNeedsMemory,
     .dose = "held_bytes",
     .dose_unit = "By",
     .ledger = false,
     .symptoms = kMemLeakSymptoms,
     .make = MakeMemLeak,
     .probe = ProbeMemLeak},
    {.name = "mem.limit",
     .meaning = "The group may use at most so much memory: the kernel reclaims what is above it.",
     .parameters = kMemLimitParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .shapes = "ramp|pulse",
     .controllers = kNeedsMemory,
     .dose = "limit_hits",
     .dose_unit = "{hit}",
     .ledger = false,
     .symptoms = kMemLimitSymptoms,
     .make = MakeMemLimit,
     .probe = ProbeMemLimit},
    {.name = "io.limit",
     .meaning = "The group reads and writes at most so much a second on one block device; the rest "
                "waits. The dose is what it moved in the directions that are limited.",
     .parameters = kIoLimitParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .shapes = "ramp|pulse",
     .controllers = kNeedsIo,
     .dose = "bytes_done",
     .dose_unit = "By",
     .ledger = false,
     .symptoms = kIoLimitSymptoms,
     .make = MakeIoLimit,
     .probe = ProbeIoLimit},
    {.name = "net.loss",
     .meaning =
         "Packets of the group never arrive, and nobody is told: real loss, by BPF programs.",
     .parameters = kNetLossParameters,
     .targets = "cgroup|unit|pid",
     .peers = true,
     .sham = false,
     .shapes = "ramp|pulse",
     .follower = Follower::kProgram,
     .dose = "packets_dropped",
     .dose_unit = "{packet}",
     .ledger = true,
     .symptoms = kNetLossSymptoms,
     .make = MakeNetLoss,
     .probe = ProbeNetLoss},
    {.name = "net.rate",
     .meaning =
         "What the group sends over a device shares a rate; the rest waits, as on a slow link.",
     .parameters = kNetRateParameters,
     .targets = "cgroup|unit|pid",
     .peers = true,
     .sham = false,
     .shapes = "ramp|pulse",
     .follower = Follower::kProgram,
     .ramp_in_steps = true,
     .dose = "packets_shaped",
     .dose_unit = "{packet}",
     .ledger = true,
     .symptoms = kNetRateSymptoms,
     .make = MakeNetRate,
     .probe = ProbeNetRate},
    {.name = "net.delay",
     .meaning =
         "What the group sends over a device is held back for a time, in order, as on a long link.",
     .parameters = kNetDelayParameters,
     .targets = "cgroup|unit|pid",
     .peers = true,
     .sham = false,
     .shapes = "ramp|pulse",
     .dose = "packets_delayed",
     .dose_unit = "{packet}",
     .ledger = true,
     .symptoms = kNetDelaySymptoms,
     .make = MakeNetDelay,
     .probe = ProbeNetDelay},
    {.name = "sham",
     .meaning = "The same calls and attachments as a real fault, at zero dose: shows what a model "
                "learnt of the injector instead of the anomaly.",
     .parameters = kShamParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = true,
     .controllers = kNeedsCpu,
     .dose = "none",
     .dose_unit = "1",
     .ledger = false,
     .symptoms = {},
     .make = MakeSham,
     .probe = ProbeSham},
    {.name = "hold.controllers",
     .meaning = "No fault: the control group controllers that the faults above need are on for the "
                "group, and stay so. A run has them held on its targets, so that no fault turns "
                "them on beside its own effect.",
     .parameters = {},
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = true,
     .hold = true,
     .dose = "none",
     .dose_unit = "1",
     .ledger = false,
     .symptoms = {},
     .make = MakeHoldControllers,
     .probe = ProbeHoldControllers},
};

constexpr bool Filled(const char* text) { return text != nullptr && text[0] != '\0'; }

constexpr bool Same(const char* a, const char* b) {
  for (; *a != '\0' && *a == *b; ++a, ++b) {
  }
  return *a == *b;
}

// The functions are checked by a test: under -fsanitize=undefined g++ 12 takes no address of one
// for a constant (GCC bug 71962).
constexpr bool KnownShapes(const char* shapes) {
  return Same(shapes, "") || Same(shapes, "ramp") || Same(shapes, "pulse") ||
         Same(shapes, "ramp|pulse");
}

constexpr bool Complete(const FaultType& row) {
  for (const Parameter& parameter : row.parameters) {
    const bool choice = parameter.kind == Kind::kChoice;
    if (!Filled(parameter.name) || !Filled(parameter.meaning) || parameter.unit == nullptr) {
      return false;
    }
    if (choice != Filled(parameter.choices)) return false;
    if (!choice && parameter.kind != Kind::kText && parameter.minimum > parameter.maximum) {
      return false;
    }
  }
  // `make` and `probe` are called by the table's test: with sanitizers on, g++ 12 does not take a
  // function's address for a constant.
  return Filled(row.name) && Filled(row.meaning) && Filled(row.targets) && Filled(row.dose) &&
         Filled(row.dose_unit) && (row.sham || !row.symptoms.empty()) && (row.sham || !row.hold) &&
         KnownShapes(row.shapes);
}

constexpr bool AllCompleteAndDistinct() {
  for (const FaultType& row : kRows) {
    if (!Complete(row)) return false;
    for (const FaultType& other : kRows) {
      if (&row != &other && Same(row.name, other.name)) return false;
    }
  }
  return true;
}

static_assert(AllCompleteAndDistinct(), "a row of the fault table lacks something or is a double");

}  // namespace

Follower FollowerOf(const FaultType& type, bool ramp) {
  return ramp && type.ramp_in_steps ? Follower::kController : type.follower;
}

// What a program does is exact to the packet; a helper and the controller have to wake up.
std::int64_t LeastShapeNs(const FaultType& type, bool ramp) {
  constexpr std::int64_t kLeastOfProgramNs = 1'000'000;
  return FollowerOf(type, ramp) == Follower::kProgram ? kLeastOfProgramNs : Shape::kLeastStepNs;
}

absl::Span<const FaultType> FaultTypes() { return kRows; }

const FaultType* FindFaultType(absl::string_view name) {
  for (const FaultType& row : kRows) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

}  // namespace faultline
