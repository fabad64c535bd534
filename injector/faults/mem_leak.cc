// SPDX-License-Identifier: Apache-2.0
//
// mem.leak: a helper inside the group touches memory at a steady rate, then holds it. The host's
// own head-room is the lever's to check; the group's limits are checked here.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "injector/faults/fault.h"
#include "injector/faults/memory_files.h"
#include "injector/host/leak.h"

namespace faultline {
namespace {

class MemLeak final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    const std::int64_t bytes = request.parameters.Integer("bytes");
    if (request.shape.ramp() && !request.parameters.IsDefault("rate")) {
      return absl::InvalidArgumentError(
          "mem.leak: the time of the ramp and bytes say how fast it grows; leave out rate, or make "
          "the shape constant");
    }
    const std::int64_t rate = Rate(request);
    absl::StatusOr<std::string> version = host.ControllerVersion("memory");
    if (!version.ok()) return version.status();
    absl::Status room = CheckLimits(host, request.cgroup, *version == "v1", bytes);
    if (!room.ok()) {
      if (!absl::IsFailedPrecondition(room) || request.parameters.Text("allow_oom") != "yes") {
        return room;
      }
      notes->push_back(absl::StrCat(room.message(),
                                    ": the kernel may kill tasks of the group, the "
                                    "helper first"));
    }
    if (const std::string slow = TooSlow(request, rate); !slow.empty()) notes->push_back(slow);
    LeakSpec spec;
    spec.fault_id = request.spec.id();
    spec.cgroup = request.cgroup;
    spec.bytes = bytes;
    spec.bytes_per_second = rate;
    spec.shape = request.shape;
    spec.start_ns = request.start_ns;
    spec.promised_bytes = Promised(request.beside);
    LeverOr lever = host.Leak(spec);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    return levers.front()->Measure();
  }

 private:
  // Between two pulses, and before it begins, a leak holds nothing of what it was granted.
  static std::int64_t Promised(absl::Span<const v1::FaultState* const> beside) {
    std::int64_t promised = 0;
    for (const v1::FaultState* other : beside) {
      if (other->spec().type() != "mem.leak") continue;
      const FaultType* const type = FindFaultType(other->spec().type());
      const auto asked = Parameters::Parse(type->parameters, other->spec());
      if (!asked.ok()) continue;
      const std::int64_t bytes = asked->Integer("bytes");
      const bool pulse = other->spec().shape().kind() == v1::SHAPE_KIND_PULSE;
      // The most that it held: between pulses it is to come again.
      const std::int64_t held = pulse || other->dose().empty() ? 0 : other->dose(0).value();
      const std::int64_t left = std::max<std::int64_t>(0, bytes - held);
      promised = left > INT64_MAX - promised ? INT64_MAX : promised + left;
    }
    return promised;
  }

  // Bytes a second.
  static std::int64_t Rate(const Request& request) {
    if (!request.shape.ramp()) return request.parameters.Integer("rate");
    const double seconds = absl::ToDoubleSeconds(absl::Nanoseconds(request.shape.ramp_ns));
    return static_cast<std::int64_t>(std::ceil(request.parameters.Number("bytes") / seconds));
  }

  // A sentence if the fault, or a pulse of it, ends before all of it is held; "" if not.
  static std::string TooSlow(const Request& request, std::int64_t bytes_per_second) {
    const std::int64_t bytes = request.parameters.Integer("bytes");
    const auto rate = static_cast<double>(bytes_per_second);
    const bool pulse = request.shape.pulse();
    const absl::Duration duration =
        absl::Nanoseconds(pulse ? request.shape.on_ns : request.spec.duration_ns());
    const double held = rate * absl::ToDoubleSeconds(duration);
    if (held >= static_cast<double>(bytes)) return "";
    const absl::Duration needs = absl::Seconds(static_cast<double>(bytes) / rate);
    return absl::StrCat("at ", SpellBytes(bytes_per_second), " a second it holds ",
                        SpellBytes(std::llround(held)), " at most when it ends after ",
                        absl::FormatDuration(duration), ", not ", SpellBytes(bytes),
                        ": for all of it give a higher rate, or a ", pulse ? "pulse" : "duration",
                        " above ", absl::FormatDuration(absl::Ceil(needs, absl::Seconds(1))));
  }

  // Every group from the target up to the root may have a limit.
  static absl::Status CheckLimits(Host& host, const std::string& cgroup, bool v1,
                                  std::int64_t bytes) {
    std::string group = cgroup;
    while (!group.empty()) {
      absl::StatusOr<std::int64_t> limit =
          ReadMemory(host, group, v1 ? "memory.limit_in_bytes" : "memory.max");
      if (!limit.ok()) return limit.status();
      absl::StatusOr<std::int64_t> used =
          ReadMemory(host, group, v1 ? "memory.usage_in_bytes" : "memory.current");
      if (!used.ok()) return used.status();
      if (*limit<kNoMemoryLimit&& * used + bytes> * limit) {
        return absl::FailedPreconditionError(absl::StrCat(
            "mem.leak: control group ", group, " uses ", SpellBytes(*used), " of ",
            SpellBytes(*limit), "; ask for at most ",
            SpellBytes(std::max<std::int64_t>(0, *limit - *used)), " or give allow_oom=yes"));
      }
      group.resize(group.rfind('/'));
    }
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Fault> MakeMemLeak() { return std::make_unique<MemLeak>(); }

absl::Status ProbeMemLeak(Host& host) {
  absl::StatusOr<std::string> version = host.ControllerVersion("memory");
  if (!version.ok()) return version.status();
  return host.Probe("helper");
}

}  // namespace faultline
