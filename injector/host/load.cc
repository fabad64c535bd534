// SPDX-License-Identifier: Apache-2.0
#include "injector/host/load.h"

#include <utility>

#include "injector/host/helper_lever.h"
#include "injector/host/hold.h"

namespace faultline {

// On cgroup v1 three controllers have a part in it: cpu shares it out, cpuacct counts it, and
// cpuset, where the group is in one that has CPUs, says on which of them.
LeverOr MakeLoad(Cgroups* cgroups, Helpers* helpers, Clock* clock, const LoadSpec& spec) {
  const absl::StatusOr<bool> v2 = cgroups->IsV2("cpu");
  if (!v2.ok()) return v2.status();
  const char* counter = *v2 ? "cpu" : "cpuacct";
  HelperSpec helper;
  helper.fault_id = spec.fault_id;
  helper.cgroup = spec.cgroup;
  helper.controllers = {"cpu"};
  if (!*v2) {
    helper.controllers.emplace_back(counter);
    const absl::StatusOr<std::string> cpus = cgroups->Read(spec.cgroup, "cpuset", "cpuset.cpus");
    const absl::StatusOr<std::string> mems = cgroups->Read(spec.cgroup, "cpuset", "cpuset.mems");
    // One that is not filled takes no process.
    if (cpus.ok() && mems.ok() && !cpus->empty() && !mems->empty()) {
      helper.controllers.emplace_back("cpuset");
    }
  }
  absl::StatusOr<std::string> usage =
      cgroups->FileOf(spec.cgroup, counter, *v2 ? "cpu.stat" : "cpuacct.usage");
  if (!usage.ok()) return usage.status();
  helper.feed = *std::move(usage);
  helper.program = kLoadProgram;
  helper.numbers = {{"mcpus", spec.mcpus}};
  for (auto& number : ShapeNumbers(spec.shape, spec.start_ns)) {
    helper.numbers.push_back(std::move(number));
  }
  helper.dose = "burnt_ns";
  return MakeHelper(cgroups, helpers, clock, helper);
}

}  // namespace faultline
