// SPDX-License-Identifier: Apache-2.0
#include "injector/host/real_kernel.h"

#include <unistd.h>

#include <utility>

#include "base/cgroup_tree.h"
#include "injector/host/systemd_units.h"
#include "injector/host/text_file.h"

namespace faultline {

absl::StatusOr<std::unique_ptr<RealKernel>> RealKernel::Create(const Options& options,
                                                               Clock* clock) {
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read(options.proc);
  if (!tree.ok()) return tree.status();
  absl::StatusOr<std::unique_ptr<MountedCgroups>> cgroups =
      MountedCgroups::Create(*std::move(tree));
  if (!cgroups.ok()) return cgroups.status();
  std::unique_ptr<RealKernel> kernel(new RealKernel(options, clock));
  kernel->cgroups_ = *std::move(cgroups);
  kernel->subtrees_ = std::make_unique<CgroupSubtrees>(kernel->cgroups_.get());
  if (SystemdRuns()) kernel->units_ = std::make_unique<SystemdUnits>(kernel->cgroups_.get());
  return kernel;
}

Kernel RealKernel::Get() {
  return {.cgroups = cgroups_.get(),
          .subtrees = subtrees_.get(),
          .units = units_.get(),
          .helpers = &helpers_,
          .processes = &processes_,
          .throttling = &throttling_,
          .net = net_.Get(),
          .clock = clock_,
          .cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)),
          .blocks = &blocks_};
}

absl::StatusOr<std::string> ReadBootId(const std::string& proc) {
  return ReadText(proc + "/sys/kernel/random/boot_id");
}

}  // namespace faultline
