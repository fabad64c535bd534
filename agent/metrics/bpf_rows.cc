// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/bpf_rows.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline {
namespace {

// Rows are copied in pieces of at most this size.
constexpr size_t kBufferBytes = 131'072;
// The kernel's answer for "this map has no batches", which is in no user header.
constexpr int kErrnoNotSupported = 524;

bool PerCpu(const bpf_map* map) { return bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY; }

std::uint64_t Load(const char* from) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// Adds the histogram at `from` to `sum`.
void AddHistogram(const char* from, histogram* sum) {
  // Most rows are of groups that do nothing.
  if (Load(from + offsetof(histogram, count)) == 0) return;
  histogram part;
  std::memcpy(&part, from, sizeof(part));
  sum->sum += part.sum;
  sum->count += part.count;
  for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; ++bucket) {
    sum->buckets[bucket] += part.buckets[bucket];
  }
}

}  // namespace

BpfRows::BpfRows(const bpf_map* map, Table table)
    : fd_(bpf_map__fd(map)),
      table_(table),
      value_size_(bpf_map__value_size(map)),
      slots_(bpf_map__max_entries(map)),
      copies_(PerCpu(map) ? std::max(1, libbpf_num_possible_cpus()) : 1),
      stride_(PerCpu(map) ? (value_size_ + 7) / 8 * 8 : value_size_) {}

absl::Status BpfRows::Add(size_t metric, int item) {
  const bool is_histogram = Metrics()[metric].kind == Kind::kHistogram;
  const size_t size = is_histogram ? sizeof(histogram) : sizeof(std::uint64_t);
  const size_t offset = static_cast<size_t>(item) * size;
  if (item < 0 || offset + size > value_size_) {
    return absl::OutOfRangeError(absl::StrCat("the BPF map has no item ", item));
  }
  uses_.push_back({metric, offset, is_histogram});
  return absl::OkStatus();
}

absl::Status BpfRows::Copy(std::uint32_t first, std::uint32_t count) {
  const size_t row_size = stride_ * static_cast<size_t>(copies_);
  buffer_.resize(std::max(buffer_.size(), row_size * count));
  // Arrays count keys from the one after `in`; none means from the first.
  std::uint32_t before = first - 1;
  std::uint32_t next = 0;
  std::uint32_t got = count;
  std::vector<std::uint32_t> keys(count);
  int result = bpf_map_lookup_batch(fd_, first == 0 ? nullptr : &before, &next, keys.data(),
                                    buffer_.data(), &got, nullptr);
  // ENOENT: that was the end of the map.
  if (result == -ENOENT || (result == 0 && got == count)) return absl::OkStatus();
  if (result != 0 && result != -EINVAL && result != -EOPNOTSUPP && result != -kErrnoNotSupported) {
    return BpfStatus(result, "read BPF map");
  }
  // Per-CPU arrays have batches from 5.13 on.
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t key = first + i;
    result = bpf_map_lookup_elem(fd_, &key, buffer_.data() + row_size * i);
    if (result != 0) return BpfStatus(result, "read BPF map");
  }
  return absl::OkStatus();
}

void BpfRows::Fill(const Use& use, const char* row, int cpu, size_t entity, Column* column) const {
  const int begin = cpu < 0 ? 0 : cpu;
  const int end = cpu < 0 ? copies_ : cpu + 1;
  if (use.histogram) {
    auto sum = std::make_unique<histogram>();
    for (int copy = begin; copy < end; ++copy) {
      AddHistogram(row + stride_ * static_cast<size_t>(copy) + use.offset, sum.get());
    }
    column->histograms[entity] = std::move(sum);
    return;
  }
  std::uint64_t sum = 0;
  for (int copy = begin; copy < end; ++copy) {
    sum += Load(row + stride_ * static_cast<size_t>(copy) + use.offset);
  }
  column->values[entity] = static_cast<std::int64_t>(sum);
}

absl::Status BpfRows::ReadCpus(const std::vector<Entity>& entities, std::vector<Column>* columns) {
  if (absl::Status status = Copy(0, 1); !status.ok()) return status;
  for (size_t entity = 0; entity < entities.size(); ++entity) {
    const int cpu = entities[entity].slot;
    if (cpu < 0 || cpu >= copies_) continue;
    for (const Use& use : uses_) {
      Fill(use, buffer_.data(), cpu, entity, &(*columns)[use.metric]);
    }
  }
  return absl::OkStatus();
}

absl::Status BpfRows::Read(const std::vector<Entity>& entities, std::vector<Column>* columns) {
  if (table_ == Table::kCpu) return ReadCpus(entities, columns);
  by_slot_.assign(slots_, -1);
  std::uint32_t end = 0;
  for (size_t entity = 0; entity < entities.size(); ++entity) {
    const int slot = entities[entity].slot;
    if (slot < 0 || static_cast<std::uint32_t>(slot) >= slots_) continue;
    by_slot_[static_cast<size_t>(slot)] = static_cast<int>(entity);
    end = std::max(end, static_cast<std::uint32_t>(slot) + 1);
  }
  const size_t row_size = stride_ * static_cast<size_t>(copies_);
  const auto piece = static_cast<std::uint32_t>(std::max<size_t>(1, kBufferBytes / row_size));
  for (std::uint32_t first = 0; first < end; first += piece) {
    const std::uint32_t count = std::min(piece, end - first);
    if (absl::Status status = Copy(first, count); !status.ok()) return status;
    for (std::uint32_t i = 0; i < count; ++i) {
      const int entity = by_slot_[first + i];
      if (entity < 0) continue;
      for (const Use& use : uses_) {
        Fill(use, buffer_.data() + row_size * i, -1, static_cast<size_t>(entity),
             &(*columns)[use.metric]);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status BpfRows::Zero(int slot) {
  if (table_ == Table::kCpu || slot < 0 || static_cast<std::uint32_t>(slot) >= slots_) {
    return absl::OkStatus();
  }
  const std::vector<char> zeros(stride_ * static_cast<size_t>(copies_));
  const auto key = static_cast<std::uint32_t>(slot);
  return BpfStatus(bpf_map_update_elem(fd_, &key, zeros.data(), BPF_ANY), "clear BPF map row");
}

}  // namespace faultline
