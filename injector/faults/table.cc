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

// ---- process.pause: faults/process_pause.cc
std::unique_ptr<Fault> MakeProcessPause();
absl::Status ProbeProcessPause(Host& host);
constexpr const char* kProcessPauseSymptoms[] = {"cgroup_cpu_time_ns",
                                                 "process_context_switches_voluntary_count"};

// ---- mem.leak: faults/mem_leak.cc
std::unique_ptr<Fault> MakeMemLeak();
absl::Status ProbeMemLeak(Host& host);
constexpr Parameter kMemLeakParameters[] = {
    {"bytes", Kind::kBytes, "By", 4096, 1099511627776.0, nullptr, nullptr,
     "memory that is touched and held inside the group at the end of the ramp"},
    {"rate", Kind::kBytes, "By/s", 4096, 1099511627776.0, "64MiB/s", nullptr, "how fast it grows"},
    {"allow_oom", Kind::kChoice, "", 0, 0, "no", "no|yes",
     "go on where the group's memory limit is lower than what it would then use"},
};
constexpr const char* kMemLeakSymptoms[] = {"cgroup_memory_usage_bytes",
                                            "cgroup_memory_events_max_count"};

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

// ---- sham: faults/sham.cc
std::unique_ptr<Fault> MakeSham();
absl::Status ProbeSham(Host& host);
constexpr Parameter kShamParameters[] = {
    {"mechanism", Kind::kChoice, "", 0, 0, "cgroup", "cgroup|helper|link",
     "whose calls are made at zero dose: cgroup writes the quota that is there already, helper "
     "holds 0 bytes, link attaches the loss program at 0 %"},
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
     .controllers = kNeedsCpu,
     .dose = "throttled_ns",
     .dose_unit = "ns",
     .ledger = false,
     .symptoms = kCpuLimitSymptoms,
     .make = MakeCpuLimit,
     .probe = ProbeCpuLimit},
    {.name = "process.pause",
     .meaning = "Every task of the group stops, by the freezer, and goes on where it was.",
     .parameters = {},
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .dose = "paused_ns",
     .dose_unit = "ns",
     .ledger = false,
     .symptoms = kProcessPauseSymptoms,
     .make = MakeProcessPause,
     .probe = ProbeProcessPause},
    {.name = "mem.leak",
     .meaning = "Memory that is never given back grows inside the group, held by a helper process.",
     .parameters = kMemLeakParameters,
     .targets = "cgroup|unit|pid",
     .peers = false,
     .sham = false,
     .controllers = kNeedsMemory,
     .dose = "held_bytes",
     .dose_unit = "By",
     .ledger = false,
     .symptoms = kMemLeakSymptoms,
     .make = MakeMemLeak,
     .probe = ProbeMemLeak},
    {.name = "net.loss",
     .meaning =
         "Packets of the group never arrive, and nobody is told: real loss, by BPF programs.",
     .parameters = kNetLossParameters,
     .targets = "cgroup|unit|pid",
     .peers = true,
     .sham = false,
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
     .dose = "packets_shaped",
     .dose_unit = "{packet}",
     .ledger = true,
     .symptoms = kNetRateSymptoms,
     .make = MakeNetRate,
     .probe = ProbeNetRate},
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
         Filled(row.dose_unit) && (row.sham || !row.symptoms.empty()) && (row.sham || !row.hold);
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

absl::Span<const FaultType> FaultTypes() { return kRows; }

const FaultType* FindFaultType(absl::string_view name) {
  for (const FaultType& row : kRows) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

}  // namespace faultline
