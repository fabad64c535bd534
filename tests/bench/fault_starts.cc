// SPDX-License-Identifier: Apache-2.0
//
// How long a Start takes until the kernel confirmed the fault, over the Unix socket, and how far
// beyond its deadline a fault is undone by an injector that lives.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/journal.h"
#include "tests/bench/faults_parts.h"
#include "tests/kernel/test_disk.h"
#include "tests/trials/families.h"
#include "tests/trials/site.h"
#include "tests/witness/now.h"

namespace faultline {
namespace {

constexpr int kFaults = 200;
constexpr int kWarmUpFaults = 5;
constexpr std::int64_t kPatienceNs = 5 * kNsPerSecond;

constexpr double kStartMs = 5;
constexpr double kNetemMs = 20;
// Between the end of one and the start of the next.
constexpr int kBetweenMs = 50;
// What is promised of an injector that lives: at p99 and at most.
constexpr double kUndoneMs = 10;
constexpr double kOvershootMs = 250;

constexpr witness::Packets::Options kTraffic{.interval_ns = kNsPerMs};

struct Kind {
  const char* name;
  // Of the fault table.
  const char* type;
  std::vector<std::pair<std::string, std::string>> parameters;
  const char* note;
  // Start to acked, at p99; none: a helper has to be made first, or nothing is promised.
  std::optional<double> most_ms = kStartMs;
  // The target sends meanwhile: what the program meets confirms the fault as well.
  bool sends = false;
  // Of another one of the kind.
  int after_ms = kBetweenMs;
  double seconds = 0.1;
  // Of each fault other ones, so that it has to load its program like the first of a series.
  bool own_peers = false;
};

const std::vector<Kind>& Kinds() {
  static const std::vector<Kind> kinds{
      {"sham", "sham", {}, ""},
      {"cpu.limit", "cpu.limit", {{"cpus", "0.5"}}, ""},
      {"cpu.limit, at the end of another",
       "cpu.limit",
       {{"cpus", "0.5"}},
       "its programs are put on tracepoints that others have just left, which waits for a grace "
       "period of the kernel.",
       kStartMs,
       false,
       0},
      {"mem.limit", "mem.limit", {{"bytes", "64MiB"}}, ""},
      {"io.limit",
       "io.limit",
       {{"read", "4MiB"}, {"device", TestFile::DiskOf("/var/tmp")}},
       "of the disk that holds /var/tmp."},
      {"net.loss inbound",
       "net.loss",
       {{"loss", "50%"}, {"direction", "in"}},
       "one of a series: its program was loaded ahead."},
      {"net.loss outbound, target silent",
       "net.loss",
       {{"loss", "50%"}, {"direction", "out"}, {"device", TestNetwork::kHereDevice}},
       "on a device with a plane; one of a series."},
      {"net.loss outbound, target sends",
       "net.loss",
       {{"loss", "50%"}, {"direction", "out"}, {"device", TestNetwork::kHereDevice}},
       "1,000 datagrams a second.",
       kStartMs,
       true},
      {"net.loss outbound, first of a series",
       "net.loss",
       {{"loss", "50%"}, {"direction", "out"}, {"device", TestNetwork::kHereDevice}},
       "with other peers than the one before, so that its program could not be loaded ahead; the "
       "target is silent.",
       kStartMs,
       false,
       kBetweenMs,
       0.1,
       true},
      {"net.rate",
       "net.rate",
       {{"rate", "10mbit"}, {"device", TestNetwork::kHereDevice}},
       "over a veth pair; one of a series."},
      {"net.rate, target sends",
       "net.rate",
       {{"rate", "10mbit"}, {"device", TestNetwork::kHereDevice}},
       "1,000 datagrams a second, none of which waits.",
       kStartMs,
       true},
      {"net.delay",
       "net.delay",
       {{"delay", "20ms"}, {"device", TestNetwork::kHereDevice}},
       "by netem, over a veth pair; the target is silent. With traffic it is undone when what "
       "waits "
       "has left: up to the delay and 20 ms later.",
       kNetemMs,
       false,
       kBetweenMs,
       // An emulated machine, which has netem, takes its time for a start.
       1.5},
      {"process.pause", "process.pause", {}, "of a group with one task that sleeps."},
      {"mem.leak",
       "mem.leak",
       {{"bytes", "1MiB"}, {"rate", "1GiB"}},
       "of 1 MiB, with its helper process.",
       std::nullopt},
  };
  return kinds;
}

double Ms(std::int64_t ns) { return static_cast<double>(ns) / static_cast<double>(kNsPerMs); }

struct Times {
  std::vector<double> acked;
  std::vector<double> undone;
  // Of a journal of our own on the same disk, before each Start: the commit of a row like the one
  // that it writes before it changes anything.
  std::vector<double> commit;
};

// Every change of a fault, as the injector tells it.
class Changes {
 public:
  explicit Changes(v1::Faults::Stub* stub) : reader_(stub->Watch(&context_, v1::ListRequest())) {
    reader_->WaitForInitialMetadata();
  }
  ~Changes() {
    context_.TryCancel();
    (void)reader_->Finish();
  }
  Changes(const Changes&) = delete;
  Changes& operator=(const Changes&) = delete;

  // Reads until fault `id` has come to its end.
  absl::StatusOr<v1::FaultState> End(const std::string& id) {
    v1::FaultState state;
    while (reader_->Read(&state)) {
      if (state.spec().id() != id || state.phase() < v1::PHASE_UNDONE) continue;
      if (state.phase() == v1::PHASE_UNDONE) return state;
      return absl::InternalError(state.reason());
    }
    return absl::InternalError("the injector ended the watch");
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::FaultState>> reader_;
};

class Starts {
 public:
  Starts(TrialSite* site, Journal* journal)
      : site_(site), journal_(journal), changes_(&site->injector().root()) {}

  // Starts a fault, waits for its end, and notes the times.
  absl::Status Run(const Kind& kind, Times* times) {
    v1::StartRequest request;
    v1::FaultSpec& spec = *request.mutable_spec();
    spec = site_->Spec(kind.type, kind.seconds);
    for (const auto& [name, value] : kind.parameters) (*spec.mutable_parameters())[name] = value;
    if (kind.own_peers) spec.add_peers()->set_port_first(++port_);
    witness::SleepForMs(kind.after_ms);
    if (absl::Status status = Commit(times); !status.ok()) return status;
    const std::int64_t called = Clock::System().Now().boottime_ns;
    v1::FaultState started;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::nanoseconds(kPatienceNs));
    const grpc::Status status = site_->injector().root().Start(&context, request, &started);
    if (!status.ok()) return FromGrpc(status);
    times->acked.push_back(Ms(started.edges().acked().boottime_ns() - called));
    absl::StatusOr<v1::FaultState> ended = changes_.End(started.spec().id());
    if (!ended.ok()) return ended.status();
    times->undone.push_back(
        Ms(ended->edges().undone().boottime_ns() - ended->deadline_boottime_ns()));
    last_ = *std::move(ended);
    return absl::OkStatus();
  }

 private:
  absl::Status Commit(Times* times) {
    if (last_.spec().id().empty()) return absl::OkStatus();
    v1::FaultState journaled = last_;
    journaled.set_phase(v1::PHASE_JOURNALED);
    journaled.clear_dose();
    journaled.clear_edges();
    *journaled.mutable_edges()->mutable_commanded() = last_.edges().commanded();
    const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
    absl::Status saved = journal_->Save(journaled);
    times->commit.push_back(Ms(Clock::System().Now().boottime_ns - begin_ns));
    // It has ended by now, as the rows before the one that a Start writes.
    return saved.ok() ? journal_->Save(last_) : saved;
  }

  TrialSite* const site_;
  Journal* const journal_;
  Changes changes_;
  v1::FaultState last_;
  std::uint32_t port_ = 1024;
};

void AddTimes(const Kind& kind, const Times& times, Figures* figures) {
  AddQuantiles(absl::StrCat("Start to acked, ", kind.name), times.acked, "ms",
               {{0.5, 0.99}, kind.most_ms, kind.note}, figures);
  figures->push_back(
      {.name = absl::StrCat("share of a journal commit in Start to acked, ", kind.name),
       .value = 100 * Quantile(times.commit, 0.5) / Quantile(times.acked, 0.5),
       .unit = "%",
       .note =
           absl::StrFormat("p50 of both; a commit took %.3f ms, %.3f at p99, timed on a journal "
                           "of the bench's own on the same disk, one before each Start, of which "
                           "one comes before the acknowledgement.",
                           Quantile(times.commit, 0.5), Quantile(times.commit, 0.99))});
  const std::string undone = absl::StrCat("deadline to undone, ", kind.name);
  AddQuantiles(undone, times.undone, "ms", {{0.5, 0.99}, kUndoneMs, kind.note}, figures);
  AddQuantiles(undone, times.undone, "ms", {{1}, kOvershootMs}, figures);
}

absl::Status RunKind(Starts* starts, const Kind& kind, Figures* figures) {
  const int count = TrialCount(kFaults);
  LogInfo(count, " faults ", kind.name);
  Times warm_up;
  Times times;
  for (int i = 0; i < kWarmUpFaults + count; ++i) {
    const absl::Status status = starts->Run(kind, i < kWarmUpFaults ? &warm_up : &times);
    if (!status.ok()) return WithContext(status, absl::StrCat(kind.name, ", fault ", i + 1));
  }
  AddTimes(kind, times, figures);
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchStarts(const BenchPlace& place, Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (!site.ok()) return site.status();
  if (absl::Status status = (*site)->AddSleeper(); !status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<Journal>> journal =
      Journal::Open(place.temp + "/journal.db");
  if (!journal.ok()) return journal.status();
  (*journal)->Reserve();
  const absl::StatusOr<witness::Packets::Path> path = (*site)->MakePath(&(*site)->group(), true);
  if (!path.ok()) return path.status();
  Starts starts(site->get(), journal->get());
  for (const Kind& kind : Kinds()) {
    if (!IsWanted(kind.type)) continue;
    absl::Status status = (*site)->Check(kind.type);
    std::optional<witness::Packets> traffic;
    if (kind.sends) traffic.emplace(std::vector{*path}, kTraffic);
    if (status.ok()) status = RunKind(&starts, kind, figures);
    if (absl::IsUnimplemented(status)) {
      figures->push_back(
          NotMeasured(absl::StrCat("Start to acked, ", kind.name), status.message()));
    } else if (!status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace faultline
