// SPDX-License-Identifier: Apache-2.0
#include "injector/host/kernel_throttling.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/cgroup_tree.h"
#include "base/status.h"
#include "bpf/fault_throttle.skel.h"

namespace faultline {
namespace {

constexpr const char* kPrograms[] = {"throttle_switch", "throttle_wakeup"};

absl::StatusOr<std::unique_ptr<BpfObject>> LoadObject() {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open("fault_throttle", SkeletonBytes<fault_throttle_bpf>());
  if (!object.ok()) return object;
  const absl::StatusOr<bpf_map*> held = (*object)->Map("throttle_held");
  if (!held.ok()) return held.status();
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return BpfStatus(cpus, "count the possible CPUs");
  bpf_map__set_max_entries(*held, static_cast<std::uint32_t>(cpus));
  if (absl::Status status = (*object)->Load(); !status.ok()) return status;
  return object;
}

// Sets element `key` of a map; on maps per CPU `value` has one for each.
absl::Status SetElement(const BpfObject& object, const char* name, std::uint32_t key,
                        const void* value) {
  const absl::StatusOr<bpf_map*> map = object.Map(name);
  if (!map.ok()) return map.status();
  return BpfStatus(bpf_map_update_elem(bpf_map__fd(*map), &key, value, BPF_ANY),
                   absl::StrCat("set ", name));
}

// As after Load, for group `id`.
absl::Status Begin(const BpfObject& object, std::uint64_t id) {
  const auto cpus = static_cast<std::uint32_t>(libbpf_num_possible_cpus());
  const std::vector<fault_throttle> none(cpus);
  absl::Status status = SetElement(object, "throttle_seen", 0, none.data());
  const std::uint64_t nothing = 0;
  for (std::uint32_t cpu = 0; status.ok() && cpu < cpus; ++cpu) {
    status = SetElement(object, "throttle_held", cpu, &nothing);
  }
  if (!status.ok()) return status;
  const fault_throttle_target target{.group_id = id, .holding = 0};
  return SetElement(object, "throttle_target", 0, &target);
}

absl::StatusOr<std::uint64_t> GroupIdOf(const std::string& cgroup) {
  if (absl::Status status = CgroupTree::ValidatePath(cgroup); !status.ok()) return status;
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return tree.status();
  const CgroupTree::Hierarchy* const cpu = tree->For("cpu");
  if (cpu == nullptr) return absl::UnimplementedError("no hierarchy has the cpu controller");
  return CgroupTree::IdOf(CgroupTree::Directory(*cpu, cgroup));
}

}  // namespace

class KernelThrottling::LoadedWatch final : public ThrottleWatch {
 public:
  LoadedWatch(KernelThrottling* home, std::unique_ptr<BpfObject> object)
      : home_(home), object_(std::move(object)) {}
  ~LoadedWatch() override {
    Detach();
    home_->idle_.push_back(std::move(object_));
  }
  LoadedWatch(const LoadedWatch&) = delete;
  LoadedWatch& operator=(const LoadedWatch&) = delete;

  absl::Status Attach() override {
    for (const char* name : kPrograms) {
      const absl::StatusOr<bpf_program*> program = object_->Program(name);
      absl::Status status = program.ok() ? object_->Attach(*program) : program.status();
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void Detach() override { object_->Detach(); }

  absl::StatusOr<fault_throttle> Read() const override {
    const absl::StatusOr<bpf_map*> map = object_->Map("throttle_seen");
    if (!map.ok()) return map.status();
    std::vector<fault_throttle> all(static_cast<size_t>(libbpf_num_possible_cpus()));
    const std::uint32_t key = 0;
    const int result = bpf_map_lookup_elem(bpf_map__fd(*map), &key, all.data());
    if (result != 0) return BpfStatus(result, "read throttle_seen");
    fault_throttle total{};
    for (const fault_throttle& one : all) {
      total.holds += one.holds;
      total.releases += one.releases;
      total.last_ns = std::max(total.last_ns, one.last_ns);
      const bool earlier = total.first_ns == 0 || one.first_ns < total.first_ns;
      if (one.first_ns != 0 && earlier) total.first_ns = one.first_ns;
    }
    return total;
  }

 private:
  KernelThrottling* const home_;
  std::unique_ptr<BpfObject> object_;
};

absl::Status KernelThrottling::Check() {
  if (checked_.has_value()) return *checked_;
  checked_ = absl::OkStatus();
  for (int i = 0; i < kWatches && checked_->ok(); ++i) {
    absl::StatusOr<std::unique_ptr<BpfObject>> object = LoadObject();
    checked_ = object.status();
    if (object.ok()) idle_.push_back(*std::move(object));
  }
  return *checked_;
}

absl::StatusOr<std::unique_ptr<ThrottleWatch>> KernelThrottling::Watch(const std::string& cgroup) {
  const absl::StatusOr<std::uint64_t> id = GroupIdOf(cgroup);
  if (!id.ok()) return id.status();
  if (absl::Status status = Check(); !status.ok()) return status;
  if (idle_.empty()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kWatches, " faults that last use what sees it"));
  }
  if (absl::Status status = Begin(*idle_.back(), *id); !status.ok()) return status;
  std::unique_ptr<BpfObject> object = std::move(idle_.back());
  idle_.pop_back();
  return std::make_unique<LoadedWatch>(this, std::move(object));
}

}  // namespace faultline
