// SPDX-License-Identifier: Apache-2.0
//
// Reads every PerfField: counting events of the PMU, one group per CPU so that all of them cover
// the same time. A group that did not run during the whole window (somebody else's events took
// turns with it, or a virtual machine has no PMU behind it) yields nothing rather than a number
// that is too small. Owned by the sampler; one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent/metrics/source.h"
#include "agent/metrics/text_files.h"

namespace faultline {

class PerfSource final : public Source {
 public:
  // `files` must outlive this.
  explicit PerfSource(TextFiles* files) : files_(files) {}

  // PermissionDenied names the sysctl that would allow it.
  absl::Status Add(size_t index, const Field& field) override;
  std::string Hook(const Field& field) const override;
  void Read(const Entities& entities, std::vector<Column>* columns) override;

 private:
  struct Event {
    size_t metric = 0;
    PerfField field{};
  };
  // Of one CPU; by index of events_, the first leads.
  struct Group {
    std::vector<OpenFile> descriptors;
    std::uint64_t enabled_ns = 0;
    std::uint64_t running_ns = 0;
    std::int64_t last_read = 0;
  };

  absl::Status Denied(int error) const;
  Group OpenGroup(const Entity& cpu) const;
  void ReadGroup(size_t row, Group* group, std::vector<Column>* columns) const;

  TextFiles* const files_;
  std::vector<Event> events_;
  // By entity.
  absl::flat_hash_map<std::uint64_t, Group> groups_;
  std::int64_t reads_ = 0;
};

}  // namespace faultline
