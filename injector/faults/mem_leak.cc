// SPDX-License-Identifier: Apache-2.0
//
// mem.leak: a helper inside the group touches memory at a steady rate, then holds it. The host's
// own head-room is the lever's to check; the group's limits are checked here.
#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "injector/faults/fault.h"
#include "injector/host/leak.h"

namespace faultline {
namespace {

// v1 writes "no limit" as the greatest page-aligned number, v2 as "max".
constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;

absl::StatusOr<std::int64_t> ReadBytes(Host& host, const std::string& cgroup, const char* file) {
  absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "memory", file);
  if (!text.ok()) return text.status();
  const absl::string_view trimmed = absl::StripAsciiWhitespace(*text);
  if (trimmed == "max") return kNoLimit;
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(trimmed, &value)) {
    return absl::InternalError(absl::StrCat("read ", file, ": unexpected text \"", *text, "\""));
  }
  return value;
}

class MemLeak final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    const std::int64_t bytes = request.parameters.Integer("bytes");
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
    if (const std::string slow = TooSlow(request); !slow.empty()) notes->push_back(slow);
    LeakSpec spec;
    spec.fault_id = request.spec.id();
    spec.cgroup = request.cgroup;
    spec.bytes = bytes;
    spec.bytes_per_second = request.parameters.Integer("rate");
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
  // A sentence if the fault ends before all of it is held; "" if not.
  static std::string TooSlow(const Request& request) {
    const std::int64_t bytes = request.parameters.Integer("bytes");
    const double rate = request.parameters.Number("rate");
    const absl::Duration duration = absl::Nanoseconds(request.spec.duration_ns());
    const double held = rate * absl::ToDoubleSeconds(duration);
    if (held >= static_cast<double>(bytes)) return "";
    const absl::Duration needs = absl::Seconds(static_cast<double>(bytes) / rate);
    return absl::StrCat("at ", SpellBytes(request.parameters.Integer("rate")),
                        " a second it holds ", SpellBytes(std::llround(held)),
                        " at most when it ends after ", absl::FormatDuration(duration), ", not ",
                        SpellBytes(bytes),
                        ": for all of it give a higher rate, or a duration above ",
                        absl::FormatDuration(absl::Ceil(needs, absl::Seconds(1))));
  }

  // Every group from the target up to the root may have a limit.
  static absl::Status CheckLimits(Host& host, const std::string& cgroup, bool v1,
                                  std::int64_t bytes) {
    std::string group = cgroup;
    while (!group.empty()) {
      absl::StatusOr<std::int64_t> limit =
          ReadBytes(host, group, v1 ? "memory.limit_in_bytes" : "memory.max");
      if (!limit.ok()) return limit.status();
      absl::StatusOr<std::int64_t> used =
          ReadBytes(host, group, v1 ? "memory.usage_in_bytes" : "memory.current");
      if (!used.ok()) return used.status();
      if (*limit<kNoLimit&& * used + bytes> * limit) {
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
