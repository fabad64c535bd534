// SPDX-License-Identifier: Apache-2.0
//
// Reads every CgroupField: files of each control group, on v1 or v2, whichever hierarchy of this
// host has the controller. A group's descriptors stay open as long as it has a row; each file is
// read once per tick for all its rows. Owned by the sampler; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent/metrics/cgroups.h"
#include "agent/metrics/source.h"
#include "agent/metrics/text_files.h"

namespace faultline {

class CgroupSource final : public Source {
 public:
  // `cgroups` must outlive this and is refreshed by the sampler.
  explicit CgroupSource(const CgroupIndex* cgroups) : cgroups_(cgroups) {}

  // Unimplemented: this host has the controller in no hierarchy, or only in a version of cgroups
  // that has no such file.
  absl::Status Add(size_t index, const Field& field) override;
  std::string Hook(const Field& field) const override;
  void Read(const Entities& entities, std::vector<Column>* columns) override;

 private:
  // What a field comes down to on this host.
  struct Item {
    const CgroupTree::Hierarchy* hierarchy = nullptr;
    std::string file;
    // Empty: the file is one number.
    std::string key;
    std::int64_t multiplier = 1;
  };
  struct Use {
    size_t metric = 0;
    std::string key;
    std::int64_t multiplier = 1;
  };
  struct File {
    const CgroupTree::Hierarchy* hierarchy = nullptr;
    std::string name;
    std::vector<Use> uses;
  };
  struct OpenGroup {
    CgroupPlaces places;
    // By index of files_.
    std::vector<OpenFile> descriptors;
    std::int64_t last_read = 0;
  };

  absl::StatusOr<Item> Resolve(const CgroupField& field) const;
  OpenGroup* Open(const Entity& entity, const CgroupPlaces& places);
  static void Parse(absl::string_view text, const File& file, size_t row,
                    std::vector<Column>* columns);

  const CgroupIndex* const cgroups_;
  std::vector<File> files_;
  absl::flat_hash_map<std::uint64_t, OpenGroup> open_;
  std::int64_t reads_ = 0;
};

}  // namespace faultline
