// SPDX-License-Identifier: Apache-2.0
//
// A source reads all metrics of one kind of field (files, control groups, BPF maps, perf events).
// It yields cumulative values; the sampler alone turns them into increments, so that counters are
// differenced in one place. Owned and called by the sampler; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/metrics/metric.h"
#include "bpf/metric.h"

namespace faultline {

// A row of a table: something that is measured on its own.
struct Entity {
  // Unique within the agent's life, never reused.
  std::uint64_t id = 0;
  std::string name;
  // Index into BPF maps of its table; -1: it has none. A CPU's is its number; cgroups and disks
  // count from 1, since 0 is what has no row. A disk's slot is given away again two ticks after the
  // disk went, a cgroup's as cgroups.h says.
  int slot = -1;
  // Table::kDisk: major << 20 | minor, as the kernel's own dev_t.
  std::uint32_t device = 0;
  std::string unit;
  std::string container;
};

// The entities of each table at this tick, in the order of the frame.
using Entities = std::array<std::vector<Entity>, kTables>;

// One metric's values in one tick, cumulative since a start of the source's choosing.
struct Column {
  // By entity. Used by counters and gauges; nullopt = cannot be read.
  std::vector<std::optional<std::int64_t>> values;
  // By entity. Used by histograms; null = cannot be read.
  std::vector<std::unique_ptr<histogram>> histograms;
};

class Source {
 public:
  virtual ~Source() = default;

  // Whether this host allows metric `index` (of Metrics()) to be read by `field`; tries, never
  // guesses by version. OK adds it to what Read reads; otherwise the reason: Unimplemented = the
  // kernel lacks it, PermissionDenied = it is forbidden.
  virtual absl::Status Add(size_t index, const Field& field) = 0;

  // After the last Add, before the first Read: loads and attaches. Returns the metrics that turned
  // out not to work after all, with the reason.
  virtual std::vector<std::pair<size_t, absl::Status>> Start() { return {}; }

  // Where an added field is read from on this host, for people: "tp_btf/sched_switch"; asked after
  // Start. Empty: what the row says.
  virtual std::string Hook(const Field& /*field*/) const { return ""; }

  // Names of the entities of `table` that only this source knows; asked once, after Start.
  virtual std::vector<std::string> EntityNames(Table /*table*/) const { return {}; }

  // Reads every added metric for `entities`; `columns` is indexed by metric and its vectors are
  // sized to the metric's entities by the caller, all null.
  virtual void Read(const Entities& entities, std::vector<Column>* columns) = 0;
};

}  // namespace faultline
