// SPDX-License-Identifier: Apache-2.0
//
// sham: a real fault's calls, journal and attachments at zero dose. A model that "finds" it has
// learnt the injector's footprint.
#include "absl/strings/ascii.h"
#include "injector/faults/fault.h"

namespace faultline {
namespace {

class Sham final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* /*notes*/) override {
    const std::string& mechanism = request.parameters.Text("mechanism");
    if (mechanism == "helper") return PlanHelper(host, request, levers);
    if (mechanism == "link") return PlanLink(host, request, levers);
    return PlanCgroup(host, request, levers);
  }

  // Nothing is ever touched, whatever the levers count.
  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> /*levers*/,
                   std::int64_t /*now_ns*/) override {
    return {};
  }

 private:
  // The quota that is there already is written again.
  static absl::Status PlanCgroup(Host& host, const Request& request,
                                 std::vector<std::unique_ptr<Lever>>* levers) {
    absl::StatusOr<std::string> version = host.ControllerVersion("cpu");
    if (!version.ok()) return version.status();
    const char* file = *version == "v1" ? "cpu.cfs_quota_us" : "cpu.max";
    absl::StatusOr<std::string> now = host.ReadCgroup(request.cgroup, "cpu", file);
    if (!now.ok()) return now.status();
    LeverOr lever = host.CgroupValue(request.cgroup, "cpu", file,
                                     std::string(absl::StripAsciiWhitespace(*now)));
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  static absl::Status PlanHelper(Host& host, const Request& request,
                                 std::vector<std::unique_ptr<Lever>>* levers) {
    LeakSpec spec;
    spec.fault_id = request.spec.id();
    spec.cgroup = request.cgroup;
    LeverOr lever = host.Leak(spec);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  // Attached like net.loss in both directions, with a probability of 0.
  static absl::Status PlanLink(Host& host, const Request& request,
                               std::vector<std::unique_ptr<Lever>>* levers) {
    LossSpec spec;
    spec.fault_id = request.spec.id();
    spec.cgroup = request.cgroup;
    spec.inbound = true;
    spec.outbound = true;
    spec.seed = request.spec.seed();
    spec.deadline_ns = request.deadline_ns;
    absl::StatusOr<std::vector<std::unique_ptr<Lever>>> links = host.Loss(spec);
    if (!links.ok()) return links.status();
    for (std::unique_ptr<Lever>& link : *links) levers->push_back(std::move(link));
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Fault> MakeSham() { return std::make_unique<Sham>(); }

absl::Status ProbeSham(Host& host) { return host.ControllerVersion("cpu").status(); }

}  // namespace faultline
