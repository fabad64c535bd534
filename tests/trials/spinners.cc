// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/spinners.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/witness/now.h"

namespace faultline {

Spinners::Spinners(TestCgroup* group) : group_(group), stalls_(witness::kSecond) {}

absl::Status Spinners::Start() {
  for (pid_t& pid : pids_) {
    const absl::StatusOr<pid_t> child = group_->Spawn([this] { return stalls_.Spin(); });
    if (!child.ok()) return child.status();
    pid = *child;
  }
  return absl::OkStatus();
}

double Spinners::Cpus(std::int64_t ms) const {
  const std::int64_t begin_ns = witness::NowNs();
  const std::int64_t before_ns = CpuNs();
  witness::SleepForMs(ms);
  const std::int64_t used_ns = CpuNs() - before_ns;
  return static_cast<double>(used_ns) / static_cast<double>(witness::NowNs() - begin_ns);
}

absl::Status Spinners::CheckCanGet(double cpus) const {
  // What else runs here may end in a moment; processors do not come.
  constexpr int kLooks = 10;
  const auto here = static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  const int looks = here < cpus ? 1 : kLooks;
  double most = 0;
  for (int look = 0; look < looks; ++look) {
    if (look > 0) witness::SleepForMs(1000);
    const double now = Cpus(500);
    if (now >= 1.1 * cpus) return absl::OkStatus();
    most = std::max(most, now);
  }
  return absl::FailedPreconditionError(absl::StrCat("without a fault, two spinners get ", most,
                                                    " CPU at most, in ", looks, " looks"));
}

}  // namespace faultline
