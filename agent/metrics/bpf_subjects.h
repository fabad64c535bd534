// SPDX-License-Identifier: Apache-2.0
//
// The list of the BPF objects that metrics come from, and which programs each of their maps needs.
// A new object adds one line to it (docs/adding-a-metric.md). Constant data, any thread.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace faultline {

// What a map with metrics needs to be filled. A program NAME may be replaced by its twin NAME_raw,
// which counts the same with plainer means, unless the map is `optional`.
struct BpfNeeds {
  const char* map;
  std::vector<const char*> programs;
  // Optional map: the bool setting that turns its code on (null: the map is not optional, its
  // programs cannot run without it), and the map behind it that not every kernel has.
  const char* setting = nullptr;
  const char* storage = nullptr;
};

struct BpfSubject {
  // Name of the file without .bpf.o, as BpfField names it.
  const char* name;
  absl::string_view (*elf)();
  // Controller whose hierarchy its control groups are in; "" = v2.
  const char* controller;
  // Maps that are not here need all programs that have a tracepoint of their own.
  std::vector<BpfNeeds> needs;
  // Programs run by the agent before each reading: "on each CPU" (raw_tp) or iterators.
  std::vector<const char*> before_read;
};

// `wakeup_stamps`: sched_info is not kept on this host, so the run-queue wait needs the wakeup
// programs too.
std::vector<BpfSubject> BpfSubjects(bool wakeup_stamps);

}  // namespace faultline
