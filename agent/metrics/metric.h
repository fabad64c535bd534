// SPDX-License-Identifier: Apache-2.0
//
// One row per metric: what it is called, what it means, and where on this host it can be read from,
// best first. The rows stand in table.cc; everything else (schema, capability report, docs,
// reading) is derived from them. Constant data, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <variant>

#include "absl/types/span.h"

namespace faultline {

// Tables of the dataset. A metric belongs to one; a table's entities are its rows per tick.
enum class Table : std::uint8_t { kHost, kCpu, kCgroup, kDisk, kNetdev, kBpf, kFault };
constexpr int kTables = 7;

// "host", "cpu", ...
const char* TableName(Table table);

enum class Kind : std::uint8_t { kCounter, kGauge, kHistogram };

// A number in a text file below /proc or /sys that holds one host-wide table (meminfo, vmstat,
// stat, diskstats, net/dev).
struct FileField {
  // E.g. "/proc/meminfo"; the sampler's roots are put in front.
  const char* path;
  // First word of the line without trailing ':' (/proc/diskstats: the third); "{entity}" stands for
  // the row's entity name. Several, separated by spaces, are added up, or subtracted where a '-'
  // stands before the key.
  const char* key;
  // Which word of the line after the key, from 0.
  int column;
  // Multiplied and divided, in this order, to reach the metric's unit. "USER_HZ" values use
  // 1e9 / 100.
  std::int64_t multiplier = 1;
  std::int64_t divisor = 1;
};

// A number in a file of each control group.
struct CgroupField {
  // Controller whose v1 hierarchy has the file; null: v1 cannot.
  const char* v1_controller;
  const char* v1_file;
  // First word of the line; empty: the file is one number.
  const char* v1_key;
  std::int64_t v1_multiplier;
  // The same for v2; null file: v2 cannot.
  const char* v2_file;
  const char* v2_key;
  std::int64_t v2_multiplier;
};

// An item of a BPF map: the map is an array by entity slot (a per-CPU array is summed over CPUs,
// or is one row per CPU in Table::kCpu), its value an array of u64, or of struct histogram.
struct BpfField {
  // Name of the object file without .bpf.o.
  const char* object;
  // Map name = metric name, at most 15 characters.
  const char* map;
  // Index into the value.
  int item;
};

// A counting perf event per CPU; null while the counter did not run.
struct PerfField {
  std::uint32_t type;
  std::uint64_t config;
};

// What the agent knows of itself.
enum class SelfField : std::uint8_t {
  kCpuTime,
  kResidentBytes,
  kSkippedTicks,
  kSampleTime,
  kCgroupsFolded,
};

// What the kernel knows of a BPF program or map of ours (Table::kBpf).
enum class BpfCostField : std::uint8_t { kRunTime, kRunCount, kMissed, kMapEntries, kMapCapacity };

// Filled by agent/labels, Table::kFault only.
struct LabelField {};

using Field = std::variant<std::monostate, FileField, CgroupField, BpfField, PerfField, SelfField,
                           BpfCostField, LabelField>;

struct Metric {
  // Number in the catalogue, docs/metrics.md: "E3". Self-metrics: "S1".
  const char* id;
  // OpenTelemetry's name where it has one.
  const char* name;
  Table table;
  // Column of the dataset: <subsystem>_<what>_<unit>.
  const char* column;
  // UCUM: "ns", "By", "1", "{packet}".
  const char* unit;
  Kind kind;
  // Decimal scale, 0 unless a comment in the row says why.
  int scale;
  // Choices, best first; the one that works is reported, any but the first as "degraded".
  std::array<Field, 3> fields;
  // What a fallback loses, for the report; empty without fallbacks.
  const char* degraded;
  // One sentence.
  const char* meaning;
};

// Every metric, grouped by table in the order of Table.
absl::Span<const Metric> Metrics();

}  // namespace faultline
