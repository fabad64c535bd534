// SPDX-License-Identifier: Apache-2.0
//
// Loads and attaches one BPF object so that as much of it works as this host allows: what fails is
// found program by program, replaced by its twin or left out, and only the maps that need it are
// reported missing, with the kernel's reason. Used by the BPF source while it starts; one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "agent/metrics/bpf_subjects.h"
#include "agent/metrics/kernel_types.h"
#include "base/bpf_object.h"
#include "base/cgroup_tree.h"

namespace faultline {

// What every object is fitted to.
struct BpfHost {
  const KernelTypes* types = nullptr;
  const CgroupTree* cgroups = nullptr;
  // Rows of a map by control group, slot 0 included.
  int cgroup_slots = 0;
  // The maps that all objects share.
  int cgroup_slots_fd = -1;
  int slots_epoch_fd = -1;
};

struct LoadedSubject {
  struct Program {
    // As in the object, with "_raw" if the twin took over.
    std::string name;
    int fd = -1;
    // Of an iterator: what bpf_iter_create() takes; else -1.
    int iterator = -1;
  };

  // Of the subject.
  std::string name;
  // Null: nothing works.
  std::unique_ptr<BpfObject> object;
  std::vector<Program> programs;
  // What fills each wanted map, e.g. "tp_btf/sched_switch".
  absl::btree_map<std::string, std::string> hooks;
  // Wanted maps that do not work.
  absl::btree_map<std::string, absl::Status> missing;

  const Program* Find(absl::string_view program) const;
};

LoadedSubject LoadSubject(const BpfSubject& subject, const std::vector<std::string>& maps,
                          const BpfHost& host);

// Runs an iterator program over everything once.
absl::Status RunIterator(int link_fd);

}  // namespace faultline
