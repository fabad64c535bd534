// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "faultline/v1/faults.grpc.pb.h"
#include "tests/bench/figure.h"
#include "tests/child.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

constexpr int kFaults = 200;
constexpr std::int64_t kDurationNs = 100 * kNsPerMs;
constexpr std::int64_t kPatienceNs = 5 * kNsPerSecond;

// What is promised of an injector that lives.
constexpr double kOvershootMs = 250;

struct Kind {
  const char* type;
  std::vector<std::pair<std::string, std::string>> parameters;
  const char* note;
};

const std::vector<Kind>& Kinds() {
  static const std::vector<Kind> kinds{
      {"sham", {}, ""},
      {"cpu.limit", {{"cpus", "0.5"}}, ""},
      // Outbound needs a device, and the host's are not the bench's to touch.
      {"net.loss",
       {{"loss", "50%"}, {"direction", "in"}},
       "inbound alone, as outbound programs would be attached to the host's own devices."},
      {"process.pause", {}, "of a group with one task that sleeps."},
      {"mem.leak", {{"bytes", "1MiB"}, {"rate", "1GiB"}}, "of 1 MiB, with its helper process."},
  };
  return kinds;
}

double Ms(std::int64_t ns) { return static_cast<double>(ns) / static_cast<double>(kNsPerMs); }

struct Times {
  std::vector<double> acked;
  std::vector<double> undone;
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

// Starts a fault, waits for its end, and notes the two times.
absl::Status RunOne(v1::Faults::Stub* stub, Changes* changes, const v1::StartRequest& request,
                    Times* times) {
  const std::int64_t called = Clock::System().Now().boottime_ns;
  v1::FaultState started;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::nanoseconds(kPatienceNs));
  const grpc::Status status = stub->Start(&context, request, &started);
  if (!status.ok()) return absl::InternalError("Start: " + status.error_message());
  times->acked.push_back(Ms(started.edges().acked().boottime_ns() - called));
  const absl::StatusOr<v1::FaultState> ended = changes->End(started.spec().id());
  if (!ended.ok()) return ended.status();
  times->undone.push_back(
      Ms(ended->edges().undone().boottime_ns() - ended->deadline_boottime_ns()));
  return absl::OkStatus();
}

absl::Status RunKind(v1::Faults::Stub* stub, const std::string& cgroup, const Kind& kind,
                     Figures* figures) {
  LogInfo(kFaults, " faults ", kind.type);
  v1::StartRequest request;
  v1::FaultSpec& spec = *request.mutable_spec();
  spec.set_type(kind.type);
  spec.mutable_target()->set_cgroup(cgroup);
  for (const auto& [name, value] : kind.parameters) (*spec.mutable_parameters())[name] = value;
  spec.set_duration_ns(kDurationNs);
  Times times;
  Changes changes(stub);
  for (int i = 0; i < kFaults; ++i) {
    const absl::Status status = RunOne(stub, &changes, request, &times);
    if (!status.ok()) {
      return absl::InternalError(
          absl::StrCat(kind.type, ", fault ", i + 1, ": ", status.message()));
    }
  }
  const auto add = [&](const char* what, const std::vector<double>& values, double share) {
    figures->push_back({absl::StrCat(what, ", ", kind.type, ", p", share * 100),
                        Quantile(values, share),
                        "ms",
                        "",
                        {},
                        {},
                        {},
                        share < 0.9 ? kind.note : ""});
  };
  add("Start to acked", times.acked, 0.5);
  add("Start to acked", times.acked, 0.99);
  add("deadline to undone", times.undone, 0.5);
  figures->back().note.clear();
  add("deadline to undone", times.undone, 0.99);
  figures->back().reach_value = kOvershootMs;
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchInjector(const BenchPlace& place, Figures* figures) {
  absl::StatusOr<std::unique_ptr<TestCgroup>> target = TestCgroup::Create("bench");
  if (!target.ok()) return target.status();
  const absl::StatusOr<pid_t> sleeper = (*target)->Spawn([] { return ::pause(); });
  if (!sleeper.ok()) return sleeper.status();
  const std::string run = place.temp + "/run";
  ::mkdir(run.c_str(), 0755);
  const std::string socket = run + "/root.sock";
  Child injector({place.bin + "/faultline-injector", "--state-dir", place.temp + "/injector",
                  "--run-dir", run},
                 {place.temp + "/injector.log", -1});
  if (!WaitForFile(socket, 10 * kNsPerSecond)) {
    return absl::InternalError("the injector does not start: " +
                               Slurp(place.temp + "/injector.log"));
  }
  const auto stub = v1::Faults::NewStub(
      grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()));
  for (const Kind& kind : Kinds()) {
    absl::Status status = RunKind(stub.get(), (*target)->path(), kind, figures);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace faultline
