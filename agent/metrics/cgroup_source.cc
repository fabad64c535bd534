// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/cgroup_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

// A key that cpu.stat of v2 has in every group, whether or not the cpu controller is on.
bool InCore(const CgroupField& field) {
  return absl::string_view(field.v2_file) == "cpu.stat" &&
         absl::string_view(field.v2_key) == "usage_usec";
}

// Between two tries to open what a group did not have.
constexpr std::int64_t kLookAgainReads = 10;

}  // namespace

absl::StatusOr<CgroupSource::Item> CgroupSource::Resolve(const CgroupField& field) const {
  const CgroupTree& tree = cgroups_->tree();
  if (field.v1_controller != nullptr) {
    const CgroupTree::Hierarchy* const v1 = tree.For(field.v1_controller);
    if (v1 != nullptr && !v1->v2) {
      return Item{v1, field.v1_file, field.v1_key, field.v1_multiplier};
    }
  }
  if (field.v2_file == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("no cgroup v1 hierarchy of the ", field.v1_controller, " controller"));
  }
  const std::string controller(*absl::StrSplit(field.v2_file, '.').begin());
  const CgroupTree::Hierarchy* const owner = tree.For(controller);
  const CgroupTree::Hierarchy* const v2 = tree.V2();
  if (v2 == nullptr || (owner != v2 && !InCore(field))) {
    return absl::UnimplementedError(
        owner == nullptr
            ? absl::StrCat("no control group hierarchy has the ", controller, " controller")
            : absl::StrCat("the ", controller, " controller is on cgroup v1, which has no ",
                           field.v2_file, " with \"", field.v2_key, "\""));
  }
  return Item{v2, field.v2_file, field.v2_key, field.v2_multiplier};
}

absl::Status CgroupSource::Add(size_t index, const Field& field) {
  const auto* const wanted = std::get_if<CgroupField>(&field);
  if (wanted == nullptr) return absl::InvalidArgumentError("not a field of control groups");
  absl::StatusOr<Item> item = Resolve(*wanted);
  if (!item.ok()) return item.status();
  Use use{index, item->key, item->multiplier};
  for (File& file : files_) {
    if (file.hierarchy != item->hierarchy || file.name != item->file) continue;
    file.uses.push_back(std::move(use));
    return absl::OkStatus();
  }
  File file{item->hierarchy, item->file, {}};
  file.uses.push_back(std::move(use));
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

std::string CgroupSource::Hook(const Field& field) const {
  const auto* const wanted = std::get_if<CgroupField>(&field);
  if (wanted == nullptr) return "";
  absl::StatusOr<Item> item = Resolve(*wanted);
  if (!item.ok()) return "";
  return absl::StrCat("cgroup v", item->hierarchy->v2 ? 2 : 1, " ", item->file,
                      item->key.empty() ? "" : " ", item->key);
}

CgroupSource::OpenGroup* CgroupSource::Open(const Entity& entity, const CgroupPlaces& places) {
  OpenGroup& group = open_[entity.id];
  group.last_read = reads_;
  // A controller may be switched on for a group at any time, and gives it files.
  if (group.places == places && reads_ % kLookAgainReads != 0) return &group;
  group.places = places;
  group.descriptors.resize(files_.size());
  for (size_t i = 0; i < files_.size(); ++i) {
    if (group.descriptors[i]) continue;
    const std::string directory = CgroupTree::Directory(*files_[i].hierarchy, entity.name);
    const std::string path = absl::StrCat(directory, "/", files_[i].name);
    group.descriptors[i] = OpenFile(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  return &group;
}

void CgroupSource::Read(const Entities& entities, std::vector<Column>* columns) {
  // Each of these files is one record of seq_file, so one read yields all of it.
  std::array<char, 4096> text;
  ++reads_;
  const std::vector<Entity>& groups = entities[static_cast<size_t>(Table::kCgroup)];
  for (size_t row = 0; row < groups.size(); ++row) {
    const CgroupPlaces* const places = cgroups_->PlacesOf(groups[row].id);
    if (places == nullptr) continue;
    OpenGroup* const group = Open(groups[row], *places);
    for (size_t i = 0; i < files_.size(); ++i) {
      // No descriptor, or ENODEV: the group does not have this file, or not any more.
      const int fd = group->descriptors[i].get();
      if (fd < 0) continue;
      const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
      if (size <= 0) continue;
      Parse({text.data(), static_cast<size_t>(size)}, files_[i], row, columns);
    }
  }
  absl::erase_if(open_, [this](const auto& entry) { return entry.second.last_read != reads_; });
}

void CgroupSource::Parse(absl::string_view text, const File& file, size_t row,
                         std::vector<Column>* columns) {
  while (!text.empty()) {
    absl::string_view line = TakeLine(&text);
    const absl::string_view key = TakeWord(&line);
    const std::optional<std::uint64_t> number = ToNumber(key);
    const std::optional<std::uint64_t> second = ToNumber(TakeWord(&line));
    for (const Use& use : file.uses) {
      if (!use.key.empty() && use.key != key) continue;
      const std::optional<std::uint64_t>& value = use.key.empty() ? number : second;
      if (!value.has_value()) continue;
      (*columns)[use.metric].values[row] =
          static_cast<std::int64_t>(*value * static_cast<std::uint64_t>(use.multiplier));
    }
  }
}

}  // namespace faultline
