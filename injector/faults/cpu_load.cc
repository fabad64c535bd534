// SPDX-License-Identifier: Apache-2.0
//
// cpu.load: a helper inside the group burns CPU time until the group, its own work included, uses
// so much. The helper closes the loop (host/load_main.cc); what the group may use is checked here.
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/faults/cpu_bandwidth.h"
#include "injector/faults/fault.h"
#include "injector/host/load.h"

namespace faultline {
namespace {

// CPUs of a list like "0-3,8"; 0: it is none.
int CountCpus(absl::string_view list) {
  int count = 0;
  for (absl::string_view part : absl::StrSplit(list, ',', absl::SkipWhitespace())) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, '-');
    int first = 0;
    int last = 0;
    if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) ||
        !absl::SimpleAtoi(ends.back(), &last) || last < first) {
      return 0;
    }
    count += last - first + 1;
  }
  return count;
}

class CpuLoad final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    const double cpus = request.parameters.Number("cpus");
    const absl::StatusOr<std::string> version = host.ControllerVersion("cpu");
    if (!version.ok()) return version.status();
    if (absl::Status may = CheckBounds(host, request.cgroup, *version == "v1", cpus); !may.ok()) {
      return may;
    }
    if (cpus >= host.Cpus()) {
      notes->push_back(absl::StrCat("cpus=", cpus,
                                    " is every CPU of the host: what is outside the group gets "
                                    "less, and the group may get less than that, too"));
    }
    LoadSpec spec;
    spec.fault_id = request.spec.id();
    spec.cgroup = request.cgroup;
    spec.mcpus = std::llround(cpus * 1000);
    spec.shape = request.shape;
    spec.start_ns = request.start_ns;
    LeverOr lever = host.Load(spec);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    return levers.front()->Measure();
  }

 private:
  // The group's quota, those above it, the CPUs that it may run on, and the host.
  static absl::Status CheckBounds(Host& host, const std::string& cgroup, bool v1, double cpus) {
    const CpuBound bound = BoundOf(host, cgroup, v1);
    if (cpus > bound.cpus) {
      const std::string who =
          bound.cgroup.empty()
              ? absl::StrCat("the host has ", bound.cpus, " CPUs")
              : absl::StrCat("control group ", bound.cgroup, " is limited to ", bound.cpus, " CPU");
      return absl::FailedPreconditionError(absl::StrCat("cpu.load: ", who, ", so ", cgroup,
                                                        " cannot use ", cpus, "; ask for at most ",
                                                        bound.cpus));
    }
    // Without the controller every CPU is allowed.
    const absl::StatusOr<std::string> allowed =
        host.ReadCgroup(cgroup, "cpuset", v1 ? "cpuset.effective_cpus" : "cpuset.cpus.effective");
    const int count = allowed.ok() ? CountCpus(*allowed) : 0;
    if (count == 0 || cpus <= count) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("cpu.load: control group ", cgroup, " may run on CPU ", *allowed,
                     " alone, so it cannot ", "use ", cpus, "; ask for at most ", count));
  }
};

}  // namespace

std::unique_ptr<Fault> MakeCpuLoad() { return std::make_unique<CpuLoad>(); }

absl::Status ProbeCpuLoad(Host& host) {
  const absl::StatusOr<std::string> version = host.ControllerVersion("cpu");
  if (!version.ok()) return version.status();
  if (*version == "v1") {
    const absl::StatusOr<std::string> counts = host.ControllerVersion("cpuacct");
    if (!counts.ok()) return counts.status();
  }
  return host.Probe("load");
}

}  // namespace faultline
