// SPDX-License-Identifier: Apache-2.0
//
// The rows of one BPF map that is an array by entity slot, plain or per CPU, whose value is an
// array of u64 or of struct histogram. Owned by the BPF source, which lets several metrics read the
// same rows; one thread.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "agent/metrics/metric.h"
#include "agent/metrics/source.h"
#include "bpf/metric.h"

namespace faultline {

class BpfRows {
 public:
  // `map` is loaded and outlives this; `table` says what its rows are.
  BpfRows(const bpf_map* map, Table table);

  // Adds a metric: item `item` of the value. OutOfRange: the value has no such item.
  absl::Status Add(size_t metric, int item);

  // Fills the columns of all metrics for `entities`; what has no slot or cannot be read stays null.
  absl::Status Read(const std::vector<Entity>& entities, std::vector<Column>* columns);

  // Before a slot is given to another entity.
  absl::Status Zero(int slot);

  Table table() const { return table_; }

 private:
  struct Use {
    size_t metric;
    size_t offset;
    bool histogram;
  };

  // Copies rows [first, first + count) to buffer_.
  absl::Status Copy(std::uint32_t first, std::uint32_t count);
  absl::Status ReadCpus(const std::vector<Entity>& entities, std::vector<Column>* columns);
  // The value of row `row` of the buffer, or of one CPU's part of it (-1: all added up).
  void Fill(const Use& use, const char* row, int cpu, size_t entity, Column* column) const;

  const int fd_;
  const Table table_;
  const size_t value_size_;
  const std::uint32_t slots_;
  // Copies of a value in a row: CPUs of a per-CPU array, else 1.
  const int copies_;
  // Distance between two copies, bytes.
  const size_t stride_;
  std::vector<Use> uses_;
  std::vector<char> buffer_;
  // Entity index by slot, -1: none; kept to save the allocation.
  std::vector<int> by_slot_;
};

}  // namespace faultline
