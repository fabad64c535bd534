// SPDX-License-Identifier: Apache-2.0
//
// mem.limit: a bound for the group's memory, memory.limit_in_bytes on cgroup v1, memory.max or
// memory.high on v2. The kernel frees what is above it while the file is written, so that a ramp
// asks for less at a time. memory.memsw.limit_in_bytes of v1 stays: it may not be below the other,
// which only goes down here, and back to where it was.
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "injector/faults/counters.h"
#include "injector/faults/fault.h"
#include "injector/faults/memory_files.h"

namespace faultline {
namespace {

constexpr char kV1LimitFile[] = "memory.limit_in_bytes";

class MemLimit final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    cgroup_ = request.cgroup;
    high_ = request.parameters.Text("by") == "high";
    const absl::StatusOr<std::string> version = host.ControllerVersion("memory");
    if (!version.ok()) return version.status();
    v1_ = *version == "v1";
    if (v1_ && high_) {
      return absl::UnimplementedError(
          "mem.limit: by=high is memory.high of cgroup v2, and the memory controller of this host "
          "is v1's, which has no limit that only slows down; leave by out");
    }
    const absl::StatusOr<std::int64_t> bytes = WholePages(request, notes);
    if (!bytes.ok()) return bytes.status();
    const absl::StatusOr<MemoryLimit> limit = MemoryLimitInForce(host, cgroup_, v1_);
    if (!limit.ok()) return limit.status();
    if (absl::Status status = CheckLower(*limit, *bytes, notes); !status.ok()) return status;
    if (absl::Status status = CheckRoom(host, request, *bytes, notes); !status.ok()) return status;
    const absl::StatusOr<std::int64_t> used = Used(host);
    if (!used.ok()) return used.status();
    const absl::StatusOr<Growth::Readings> before = ReadCounts(host, true);
    if (!before.ok()) return before.status();
    start_ns_ = request.start_ns;
    growth_.Begin(*before, start_ns_);
    const std::int64_t from = std::min(*used + PageSize(), limit->bytes);
    LeverOr lever = host.CgroupValue(cgroup_, "memory", File(), absl::StrCat(*bytes),
                                     StepsOf(request.shape, from, *bytes));
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  std::vector<v1::Dose> Baseline() const override { return growth_.Baseline(); }

  // A limit of before may have been hit since the plan.
  void Refresh(Host& host) override {
    const absl::StatusOr<Growth::Readings> now = ReadCounts(host, true);
    if (now.ok()) growth_.Begin(*now, start_ns_);
  }

  void Resume(const v1::FaultState& state, const Parameters& parameters) override {
    cgroup_ = state.cgroup();
    high_ = parameters.Text("by") == "high";
    v1_ = state.changes_size() > 0 && absl::StrContains(state.changes(0).attribute(), kV1LimitFile);
    growth_.Resume(state);
  }

  // The counters have no times, so the touches are the reads at which one had moved.
  Evidence Measure(Host& host, absl::Span<const std::unique_ptr<Lever>> /*levers*/,
                   std::int64_t now_ns) override {
    if (growth_.Take(ReadCounts(host, false), now_ns)) growth_.Touch(now_ns, growth_.gap_ns());
    return growth_.evidence();
  }

 private:
  static std::int64_t PageSize() { return ::sysconf(_SC_PAGESIZE); }
  const char* File() const { return v1_ ? kV1LimitFile : high_ ? "memory.high" : "memory.max"; }

  // As the kernel rounds, so that the read-back is what was asked for.
  static absl::StatusOr<std::int64_t> WholePages(const Request& request,
                                                 std::vector<std::string>* notes) {
    const std::int64_t asked = request.parameters.Integer("bytes");
    const std::int64_t bytes = asked / PageSize() * PageSize();
    if (bytes == 0) {
      return absl::InvalidArgumentError(absl::StrCat("mem.limit: bytes is ", asked,
                                                     ", less than a page; ask for at least ",
                                                     SpellBytes(PageSize())));
    }
    if (bytes != asked) {
      notes->push_back(absl::StrCat("the kernel keeps limits in whole pages, so it is ", bytes,
                                    " bytes instead of ", asked));
    }
    return bytes;
  }

  static absl::Status CheckLower(const MemoryLimit& limit, std::int64_t bytes,
                                 std::vector<std::string>* notes) {
    if (limit.bytes >= kNoMemoryLimit) return absl::OkStatus();
    const std::string has = absl::StrCat("control group ", limit.cgroup, " is limited to ",
                                         SpellBytes(limit.bytes), " already (", limit.file, ")");
    if (bytes < limit.bytes) {
      notes->push_back(absl::StrCat(has, "; that limit stays in force or comes back"));
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat("mem.limit: ", has, ", so this would give more or the same; ask for less"));
  }

  // A limit below what cannot be reclaimed: v1 refuses it, memory.max kills for it, memory.high
  // holds up whoever asks for memory.
  absl::Status CheckRoom(Host& host, const Request& request, std::int64_t bytes,
                         std::vector<std::string>* notes) const {
    const absl::StatusOr<std::int64_t> kept = UnreclaimableMemory(host, cgroup_, v1_);
    if (!kept.ok()) return kept.status();
    if (*kept <= bytes) return absl::OkStatus();
    const std::string holds =
        absl::StrCat(cgroup_, " holds ", SpellBytes(*kept), " that the kernel cannot reclaim");
    if (high_) {
      notes->push_back(absl::StrCat(holds, ", more than bytes: its tasks crawl, none is killed"));
      return absl::OkStatus();
    }
    if (v1_) {
      return absl::FailedPreconditionError(absl::StrCat(
          "mem.limit: ", holds, ", and cgroup v1 takes no limit below that; ask for more"));
    }
    if (request.parameters.Text("allow_oom") != "yes") {
      return absl::FailedPreconditionError(
          absl::StrCat("mem.limit: ", holds,
                       ", so the kernel would kill for a lower limit; ask for more, or give "
                       "by=high, which only slows down, or allow_oom=yes"));
    }
    const absl::StatusOr<std::int64_t> together = ReadMemory(host, cgroup_, "memory.oom.group");
    const bool all = together.ok() && *together == 1;
    notes->push_back(absl::StrCat(holds, ", more than bytes: the kernel kills ",
                                  all ? "every task" : "tasks", " of it"));
    return absl::OkStatus();
  }

  // Of a group whose controller is off nothing is counted.
  absl::StatusOr<std::int64_t> Used(Host& host) const {
    absl::StatusOr<std::int64_t> used =
        ReadMemory(host, cgroup_, v1_ ? "memory.usage_in_bytes" : "memory.current");
    if (absl::IsNotFound(used.status())) return std::int64_t{0};
    return used;
  }

  // Of this very limit, to which v2's memory.events adds those of the groups below.
  absl::StatusOr<std::int64_t> ReadHits(Host& host) const {
    if (v1_) return ReadMemory(host, cgroup_, "memory.failcnt");
    const absl::StatusOr<std::string> events =
        host.ReadCgroup(cgroup_, "memory", "memory.events.local");
    if (!events.ok()) return events.status();
    return CountOf(*events, high_ ? "high" : "max");
  }

  // Hits, and processes that were killed, in the groups below as well where the kernel adds them up
  // (v2). `before`: a group whose controller is off will count from 0.
  absl::StatusOr<Growth::Readings> ReadCounts(Host& host, bool before) const {
    const absl::StatusOr<std::int64_t> hits = ReadHits(host);
    if (before && absl::IsNotFound(hits.status())) return Growth::Readings{0, 0};
    if (!hits.ok()) return hits.status();
    const absl::StatusOr<std::string> kills =
        host.ReadCgroup(cgroup_, "memory", v1_ ? "memory.oom_control" : "memory.events");
    if (!kills.ok()) return kills.status();
    return Growth::Readings{*hits, CountOf(*kills, "oom_kill")};
  }

  // From what is used down to `to`, in whole pages.
  static std::vector<std::string> StepsOf(const Shape& shape, std::int64_t from, std::int64_t to) {
    std::vector<std::string> steps;
    const auto way = static_cast<double>(std::max<std::int64_t>(0, from - to));
    for (int i = 0; i < shape.steps(); ++i) {
      const auto left = static_cast<std::int64_t>(std::floor(way * (1 - shape.LevelOfStep(i))));
      steps.push_back(absl::StrCat(to + left / PageSize() * PageSize()));
    }
    return steps;
  }

  std::string cgroup_;
  bool v1_ = false;
  bool high_ = false;
  std::int64_t start_ns_ = 0;
  Growth growth_{{{"limit_hits", "{hit}"}, {"oom_kills", "{kill}"}},
                 "the memory controller's count of hits"};
};

}  // namespace

std::unique_ptr<Fault> MakeMemLimit() { return std::make_unique<MemLimit>(); }

absl::Status ProbeMemLimit(Host& host) { return host.ControllerVersion("memory").status(); }

}  // namespace faultline
