// SPDX-License-Identifier: Apache-2.0
//
// What a bench yields: figures, each beside a peer's of the same run where there is one. Plain
// data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace faultline {

struct Figure {
  std::string name;
  double value = 0;
  std::string unit;
  // The same thing measured on somebody else's program in this run.
  std::string peer = {};
  std::optional<double> peer_value = std::nullopt;
  // The ratio to the peer must not be above `reach_ratio`, the value not above `reach_value`; no
  // target without either.
  std::optional<double> reach_ratio = std::nullopt;
  std::optional<double> reach_value = std::nullopt;
  // What a reader must know to judge the number, in sentences; empty: nothing.
  std::string note = {};
  // Why there is no number: what this host lacks, in a sentence. Empty: there is one.
  std::string missing = {};
};

inline Figure NotMeasured(absl::string_view name, absl::string_view why) {
  Figure figure;
  figure.name = std::string(name);
  figure.missing = std::string(why);
  return figure;
}

using Figures = std::vector<Figure>;

// What a bench needs to know: where the programs are, and a folder of its own to put things.
struct BenchPlace {
  std::string bin;
  std::string temp;
};

// Each tells on stderr what it does, appends what it measured, whether or not it comes to its end,
// and leaves nothing behind; the first two run for at most two minutes.
// CPU and memory of the agent at 1 Hz beside prometheus-node-exporter scraped at 1 Hz.
absl::Status BenchAgent(const BenchPlace& place, Figures* figures);
// ns per event of every BPF program of the agent beside programs of libbpf-tools.
absl::Status BenchBpf(const BenchPlace& place, Figures* figures);
// What a fault does beside what was asked of it and what is told of it, by witnesses, and beside
// the tools that people use for the same: times from command to undone, labels, doses, others'
// packets.
absl::Status BenchFaults(const BenchPlace& place, Figures* figures);
// What stays of eight faults when their injector is killed, 1,000 times.
absl::Status BenchKills(const BenchPlace& place, Figures* figures);
// Whether a machine is as before after a million random histories of its injector.
absl::Status BenchHistories(const BenchPlace& place, Figures* figures);
// net.delay in a guest, whose kernel has netem, as BenchFaults has it where the host's does.
absl::Status BenchDelay(const BenchPlace& place, Figures* figures);
// BenchKills in two guests with the packages, systemd and cgroup v2.
absl::Status BenchGuestKills(const BenchPlace& place, Figures* figures);
// The packages in guests: from boot to sample, sizes, memory, deadlines and power cuts.
absl::Status BenchMachines(const BenchPlace& place, Figures* figures);

// The value below which `share` (0 to 1) of `values` lie; 0 for none.
double Quantile(std::vector<double> values, double share);
// The middle one, or the mean of the middle two; 0 for none.
double Median(std::vector<double> values);

}  // namespace faultline
