// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/cgroup_tree.h"
#include "base/clock.h"
#include "faultline/v1/faults.grpc.pb.h"
#include "tests/bench/figure.h"
#include "tests/child.h"

namespace faultline {
namespace {

constexpr int kFaults = 200;
constexpr std::int64_t kDurationNs = 30 * kNsPerMs;

// An empty control group in every hierarchy, removed by the destructor.
class EmptyCgroup {
 public:
  EmptyCgroup(const CgroupTree& tree, std::string path) : path_(std::move(path)) {
    for (const CgroupTree::Hierarchy& hierarchy : tree.hierarchies()) {
      const std::string folder = CgroupTree::Directory(hierarchy, path_);
      if (::mkdir(folder.c_str(), 0755) == 0) folders_.push_back(folder);
    }
  }
  ~EmptyCgroup() {
    for (const std::string& folder : folders_) ::rmdir(folder.c_str());
  }
  EmptyCgroup(const EmptyCgroup&) = delete;
  EmptyCgroup& operator=(const EmptyCgroup&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::vector<std::string> folders_;
};

double Ms(std::int64_t ns) { return static_cast<double>(ns) / static_cast<double>(kNsPerMs); }

struct Times {
  std::vector<double> call;
  std::vector<double> acked;
  std::vector<double> undone;
};

// Starts a fault, waits for its end, and notes the three times.
absl::Status RunOne(v1::Faults::Stub* stub, const v1::StartRequest& request, Times* times) {
  Clock& clock = Clock::System();
  const std::int64_t called = clock.Now().boottime_ns;
  v1::FaultState started;
  grpc::ClientContext start_context;
  grpc::Status status = stub->Start(&start_context, request, &started);
  if (!status.ok()) return absl::InternalError("Start: " + status.error_message());
  times->call.push_back(Ms(clock.Now().boottime_ns - called));
  times->acked.push_back(
      Ms(started.edges().acked().boottime_ns() - started.edges().commanded().boottime_ns()));
  for (int i = 0; i < 200; ++i) {
    clock.WaitUntil(clock.Now().boottime_ns + 5 * kNsPerMs, {});
    v1::ListResponse list;
    grpc::ClientContext list_context;
    status = stub->List(&list_context, v1::ListRequest(), &list);
    if (!status.ok()) return absl::InternalError("List: " + status.error_message());
    for (const v1::FaultState& state : list.faults()) {
      if (state.spec().id() != started.spec().id() || state.edges().undone().boottime_ns() == 0) {
        continue;
      }
      times->undone.push_back(
          Ms(state.edges().undone().boottime_ns() - state.deadline_boottime_ns()));
      return absl::OkStatus();
    }
  }
  return absl::InternalError("a fault did not end within a second of its deadline");
}

}  // namespace

absl::StatusOr<Figures> BenchInjector(const BenchPlace& place) {
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return tree.status();
  const EmptyCgroup target(*tree, absl::StrCat("/faultline-bench-", ::getpid()));
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
  Times times;
  v1::StartRequest request;
  v1::FaultSpec& spec = *request.mutable_spec();
  spec.set_type("cpu.limit");
  spec.mutable_target()->set_cgroup(target.path());
  (*spec.mutable_parameters())["cpus"] = "0.5";
  spec.set_duration_ns(kDurationNs);
  for (int i = 0; i < kFaults; ++i) {
    if (absl::Status status = RunOne(stub.get(), request, &times); !status.ok()) return status;
  }
  const auto figure = [](const std::string& name, const std::vector<double>& values, double share) {
    return Figure{name, Quantile(values, share), "ms", "", {}, {}, {}};
  };
  return Figures{
      figure("Start call, cpu.limit, p50", times.call, 0.5),
      figure("Start call, cpu.limit, p99", times.call, 0.99),
      figure("commanded to acked, cpu.limit, p50", times.acked, 0.5),
      figure("commanded to acked, cpu.limit, p99", times.acked, 0.99),
      figure("deadline to undone, cpu.limit, p50", times.undone, 0.5),
      figure("deadline to undone, cpu.limit, p99", times.undone, 0.99),
  };
}

}  // namespace faultline
