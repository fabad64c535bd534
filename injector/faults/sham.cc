// SPDX-License-Identifier: Apache-2.0
//
// sham: a real fault's calls, journal and attachments at zero dose. A model that "finds" it has
// learnt the injector's footprint.
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "injector/faults/fault.h"
#include "injector/faults/steered.h"
#include "injector/host/traffic.h"

namespace faultline {
namespace {

using Levers = std::vector<std::unique_ptr<Lever>>;

absl::Status Add(LeverOr lever, Levers* levers) {
  if (!lever.ok()) return lever.status();
  levers->push_back(*std::move(lever));
  return absl::OkStatus();
}

absl::Status AddAll(absl::StatusOr<Levers> made, Levers* levers) {
  if (!made.ok()) return made.status();
  for (std::unique_ptr<Lever>& lever : *made) levers->push_back(std::move(lever));
  return absl::OkStatus();
}

// As cpu.limit, whose programs look where they can: the quota that is there already is written
// again.
absl::Status PlanCgroup(Host& host, const Request& request, Levers* levers) {
  absl::StatusOr<std::string> version = host.ControllerVersion("cpu");
  if (!version.ok()) return version.status();
  const char* file = *version == "v1" ? "cpu.cfs_quota_us" : "cpu.max";
  absl::StatusOr<std::string> now = host.ReadCgroup(request.cgroup, "cpu", file);
  if (!now.ok()) return now.status();
  LeverOr lever = host.CgroupValue(request.cgroup, "cpu", file,
                                   std::string(absl::StripAsciiWhitespace(*now)), {});
  if (!lever.ok()) return lever.status();
  // systemd needs no controller for a unit without a quota (unit_get_own_mask of its cgroup.c).
  if ((*lever)->change().has_unit() && (*lever)->change().before().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("sham: the cpu controller is off for ", (*lever)->change().unit().unit(),
                     ", and the quota that it has does not turn it on; have it held on by "
                     "`faultline run start --target`, or take another mechanism"));
  }
  LeverOr watch = host.WatchThrottling(request.cgroup);
  if (watch.ok()) levers->push_back(*std::move(watch));
  return Add(std::move(lever), levers);
}

// The same, and systemd is who writes it.
absl::Status PlanUnit(Host& host, const Request& request, Levers* levers) {
  absl::Status planned = PlanCgroup(host, request, levers);
  if (!planned.ok() || levers->back()->change().has_unit()) return planned;
  return absl::FailedPreconditionError(
      absl::StrCat("sham: mechanism unit sets a property of a unit, and systemd keeps no quota of ",
                   request.cgroup,
                   ": name a unit, on a host with systemd and with the cpu controller on cgroup "
                   "v2, or take mechanism cgroup"));
}

// As process.pause, whose tasks go on.
absl::Status PlanFreezer(Host& host, const Request& request, Levers* levers) {
  return Add(host.Freezer(request.cgroup, false), levers);
}

// As process.kill: every process is opened, looked at and kept, and gets no signal.
absl::Status PlanProcess(Host& host, const Request& request, Levers* levers) {
  SignalSpec spec;
  spec.cgroup = request.cgroup;
  if (request.spec.target().has_pid()) spec.pid = request.spec.target().pid();
  spec.signal = std::string(kNoSignal);
  return Add(host.Signal(spec), levers);
}

// As mem.leak, of 0 bytes.
absl::Status PlanHelper(Host& host, const Request& request, Levers* levers) {
  LeakSpec spec;
  spec.fault_id = request.spec.id();
  spec.cgroup = request.cgroup;
  return Add(host.Leak(spec), levers);
}

// As net.loss in both directions, with a probability of 0.
absl::Status PlanLink(Host& host, const Request& request, Levers* levers) {
  LossSpec spec;
  spec.fault_id = request.spec.id();
  spec.cgroup = request.cgroup;
  spec.inbound = true;
  spec.outbound = true;
  spec.exempt = request.exempt;
  spec.seed = request.spec.seed();
  spec.deadline_ns = request.deadline_ns;
  return AddAll(host.Loss(spec), levers);
}

// As net.rate, at more than any device sends.
absl::Status PlanPlane(Host& host, const Request& request, Levers* levers) {
  RateSpec spec;
  ReadSteering(request, &spec);
  spec.bits_per_second = std::int64_t{kUnlimitedRate} * 8;
  return AddAll(host.Rate(spec), levers);
}

struct Mechanism {
  const char* name;
  absl::Status (*plan)(Host& host, const Request& request, Levers* levers);
};
constexpr char kPlane[] = "plane";
constexpr std::array<Mechanism, 7> kMechanisms{{{"cgroup", PlanCgroup},
                                                {"unit", PlanUnit},
                                                {"freezer", PlanFreezer},
                                                {"process", PlanProcess},
                                                {"helper", PlanHelper},
                                                {"link", PlanLink},
                                                {kPlane, PlanPlane}}};

absl::Status CheckDevice(const Parameters& parameters) {
  const bool given = !parameters.Text("device").empty();
  const std::string& mechanism = parameters.Text("mechanism");
  if (given == (mechanism == kPlane)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      given ? absl::StrCat("sham: mechanism ", mechanism,
                           " has no device of its own; leave device out, or take mechanism plane")
            : "sham: mechanism plane needs a network device with the standing plane; give device");
}

class Sham final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, Levers* levers,
                    std::vector<std::string>* notes) override {
    if (absl::Status status = CheckDevice(request.parameters); !status.ok()) return status;
    const std::string& name = request.parameters.Text("mechanism");
    for (const Mechanism& mechanism : kMechanisms) {
      if (name != mechanism.name) continue;
      if (name == kPlane) {
        NoteSteering(host, request.parameters.Text("device"),
                     " pass the class; they wait in it only where the device itself is full",
                     notes);
      }
      return mechanism.plan(host, request, levers);
    }
    return absl::InternalError(absl::StrCat("sham: nobody plans mechanism ", name));
  }

  // Nothing is ever touched, whatever the levers count.
  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> /*levers*/,
                   std::int64_t /*now_ns*/) override {
    return {};
  }
};

}  // namespace

std::unique_ptr<Fault> MakeSham() { return std::make_unique<Sham>(); }

absl::Status ProbeSham(Host& host) { return host.ControllerVersion("cpu").status(); }

}  // namespace faultline
