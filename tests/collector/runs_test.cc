// SPDX-License-Identifier: Apache-2.0
//
// Runs with targets: what is held for them stands on every node before the run begins, and is let
// go of after it has ended, or when it cannot be opened.
#include "collector/runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collector/collector.h"
#include "collector/store/database.h"
#include "tests/collector/answering_node.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// What the injectors of all nodes hold, "NODE ID", in the order in which they were told.
class Holders {
 public:
  // As a node's injector answers; `refusal`: why it does not start anything.
  AnsweringNode::Answer Of(const std::string& node, Clock* clock, const std::string& refusal = "") {
    return [this, node, clock, refusal](const v1::Command& command, v1::CommandResult* result) {
      const std::lock_guard lock(mutex_);
      if (command.has_start()) {
        const v1::FaultSpec& spec = command.start().spec();
        told_.push_back(absl::StrCat("start on ", node));
        if (!refusal.empty()) {
          result->set_code(9);
          result->set_error(refusal);
          return true;
        }
        v1::FaultState state;
        *state.mutable_spec() = spec;
        state.set_phase(v1::PHASE_VERIFIED);
        state.set_hold(true);
        state.mutable_edges()->mutable_commanded()->set_realtime_ns(clock->Now().realtime_ns);
        states_[spec.id()] = state;
        *result->mutable_start() = state;
      } else if (command.has_stop()) {
        told_.push_back(absl::StrCat("stop on ", node));
        const auto known = states_.find(command.stop().fault_id());
        if (known == states_.end()) {
          result->set_code(5);
          result->set_error("there is no such fault on this host");
          return true;
        }
        if (known->second.phase() == v1::PHASE_VERIFIED) End(&known->second, clock, "stopped");
        *result->mutable_stop() = known->second;
      } else if (command.has_list()) {
        for (const auto& [id, state] : states_) *result->mutable_list()->add_faults() = state;
      }
      return true;
    };
  }

  // Something ends all of them before their time.
  void EndAll(Clock* clock, const std::string& why) {
    const std::lock_guard lock(mutex_);
    for (auto& [id, state] : states_) End(&state, clock, why);
  }
  int Standing() {
    const std::lock_guard lock(mutex_);
    int count = 0;
    for (const auto& [id, state] : states_) count += state.phase() == v1::PHASE_VERIFIED ? 1 : 0;
    return count;
  }
  std::vector<std::string> told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  std::vector<v1::FaultState> states() {
    const std::lock_guard lock(mutex_);
    std::vector<v1::FaultState> states;
    for (const auto& [id, state] : states_) states.push_back(state);
    return states;
  }

 private:
  static void End(v1::FaultState* state, Clock* clock, const std::string& why) {
    state->set_phase(v1::PHASE_UNDONE);
    state->set_reason(why);
    state->mutable_edges()->mutable_undone()->set_realtime_ns(clock->Now().realtime_ns);
  }

  std::mutex mutex_;
  std::map<std::string, v1::FaultState> states_;
  std::vector<std::string> told_;
};

class RunsTest : public testing::Test {
 protected:
  RunsTest() {
    CollectorOptions options;
    options.listen = "";
    options.state_dir = dir_.path();
    auto collector = Collector::Start(options, &clock_);
    EXPECT_TRUE(collector.ok()) << collector.status();
    collector_ = std::move(*collector);
    channel_ = collector_->InProcessChannel();
    runs_ = v1::Runs::NewStub(channel_);
  }

  std::unique_ptr<AnsweringNode> Node(const std::string& name, AnsweringNode::Answer answer) {
    auto node = std::make_unique<AnsweringNode>(channel_, name, std::move(answer));
    WaitUntil([&] { return collector_->fleet().Find(name) != nullptr; });
    return node;
  }
  std::unique_ptr<AnsweringNode> Node(const std::string& name, const std::string& refusal = "") {
    return Node(name, holders_.Of(name, &clock_, refusal));
  }

  static void WaitUntil(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    ASSERT_TRUE(condition());
  }

  grpc::Status Start(const std::string& name, const std::vector<std::string>& nodes, v1::Run* run,
                     std::int64_t hold_ns = 0) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout_);
    v1::StartRunRequest request;
    request.set_name(name);
    request.set_hold_ns(hold_ns);
    for (const std::string& node : nodes) {
      v1::RunTarget* target = request.add_targets();
      target->set_node(node);
      target->mutable_target()->set_unit("nginx.service");
    }
    return runs_->StartRun(&context, request, run);
  }
  grpc::Status Stop(const std::string& name, v1::Run* run) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::StopRunRequest request;
    request.set_name(name);
    return runs_->StopRun(&context, request, run);
  }
  std::vector<v1::Run> List() {
    grpc::ClientContext context;
    v1::ListRunsResponse response;
    EXPECT_TRUE(runs_->ListRuns(&context, v1::ListRunsRequest(), &response).ok());
    return {response.runs().begin(), response.runs().end()};
  }

  TempDir dir_;
  FakeClock clock_;
  Holders holders_;
  std::chrono::milliseconds timeout_{20'000};
  std::unique_ptr<Collector> collector_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Runs::Stub> runs_;
};

TEST_F(RunsTest, TargetsAreHeldBeforeTheRunBegins_AndUntilItHasEnded) {
  const auto one = Node("n1");
  const auto two = Node("n2");
  v1::Run run;
  const grpc::Status status = Start("r.1_a", {"n1", "n2"}, &run);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(run.targets_size(), 2);
  EXPECT_EQ(run.targets(1).node(), "n2");
  EXPECT_THAT(run.targets(0).hold_id(), StartsWith("hold-r-1-a-1-"));
  EXPECT_EQ(holders_.Standing(), 2);
  for (const v1::FaultState& state : holders_.states()) {
    EXPECT_EQ(state.spec().type(), "hold.controllers");
    EXPECT_EQ(state.spec().target().unit(), "nginx.service");
    EXPECT_EQ(state.spec().duration_ns(), std::int64_t{24} * 3600 * kNsPerSecond);
    EXPECT_LE(state.edges().commanded().realtime_ns(), run.begin_realtime_ns());
  }
  EXPECT_EQ(List().at(0).targets_size(), 2);
  EXPECT_EQ(List().at(0).targets(0).held(), v1::HELD_UNSPECIFIED);

  clock_.Advance(60 * kNsPerSecond);
  v1::Run closed;
  ASSERT_TRUE(Stop("r.1_a", &closed).ok());
  EXPECT_EQ(holders_.Standing(), 0);
  for (const v1::RunTarget& target : closed.targets()) {
    EXPECT_EQ(target.held(), v1::HELD_ALL);
    EXPECT_EQ(target.remark(), "");
  }
  EXPECT_EQ(List().at(0).ShortDebugString(), closed.ShortDebugString());
}

TEST_F(RunsTest, WithoutANodeItIsTheOnlyOne_AndTheTimeIsTheCallers) {
  const auto node = Node("n1");
  v1::Run run;
  ASSERT_TRUE(Start("r", {""}, &run, 5 * kNsPerSecond).ok());
  EXPECT_EQ(run.targets(0).node(), "n1");
  EXPECT_EQ(holders_.states().at(0).spec().duration_ns(), 5 * kNsPerSecond);
}

TEST_F(RunsTest, OneThatCannotBeHeld_KeepsTheRunShutAndTheOthersLetGo) {
  const auto one = Node("n1");
  const auto two = Node("n2", "cpu.weight of /system.slice/nginx.service is 200");
  v1::Run run;
  const grpc::Status status = Start("r", {"n1", "n2"}, &run);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("run r is not opened"));
  EXPECT_THAT(status.error_message(), HasSubstr("unit:nginx.service on n2"));
  EXPECT_THAT(status.error_message(), HasSubstr("cpu.weight of"));
  EXPECT_EQ(holders_.Standing(), 0);
  EXPECT_TRUE(List().empty());
  EXPECT_THAT(holders_.told(),
              testing::UnorderedElementsAre("start on n1", "start on n2", "stop on n1"));
}

TEST_F(RunsTest, OneThatDoesNotAnswer_IsToldToLetGo) {
  const auto one = Node("n1");
  std::mutex mutex;
  std::vector<std::string> stopped;
  const auto two = Node("n2", [&](const v1::Command& command, v1::CommandResult* result) {
    if (!command.has_stop()) return false;
    const std::lock_guard lock(mutex);
    stopped.push_back(command.stop().fault_id());
    result->mutable_stop()->set_phase(v1::PHASE_UNDONE);
    return true;
  });
  timeout_ = std::chrono::milliseconds(300);
  v1::Run run;
  EXPECT_FALSE(Start("r", {"n1", "n2"}, &run).ok());
  WaitUntil([&] {
    const std::lock_guard lock(mutex);
    return stopped.size() == 1 && holders_.Standing() == 0;
  });
  EXPECT_TRUE(List().empty());
}

TEST_F(RunsTest, NodeThatIsNotThere_OrANameThatIsTaken_ChangesNothingOnAny) {
  const auto one = Node("n1");
  v1::Run run;
  grpc::Status status = Start("r", {"n1", "n9"}, &run);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("no node is named n9; known are n1"));
  EXPECT_TRUE(holders_.told().empty());
  ASSERT_TRUE(Start("r", {}, &run).ok());
  EXPECT_EQ(Start("r", {"n1"}, &run).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_TRUE(holders_.told().empty());
  EXPECT_EQ(Start("s", {"n1"}, &run, -1).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Start("s", {"n1"}, &run, std::int64_t{169} * 3600 * kNsPerSecond).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Start("s", std::vector<std::string>(65, "n1"), &run).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(holders_.told().empty());
}

TEST_F(RunsTest, NodeThatIsAwayAtTheEnd_DoesNotKeepTheRunOpen) {
  auto one = Node("n1");
  v1::Run run;
  ASSERT_TRUE(Start("r", {"n1"}, &run).ok());
  one.reset();
  WaitUntil([&] { return collector_->fleet().Find("n1") == nullptr; });
  v1::Run closed;
  const grpc::Status status = Stop("r", &closed);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_NE(closed.end_realtime_ns(), 0);
  EXPECT_EQ(closed.targets(0).held(), v1::HELD_UNKNOWN);
  EXPECT_THAT(closed.targets(0).remark(), HasSubstr("n1: not connected"));
  EXPECT_THAT(closed.targets(0).remark(),
              HasSubstr(absl::StrCat("faultline stop ", run.targets(0).hold_id(), " --node n1")));
  EXPECT_EQ(List().at(0).targets(0).held(), v1::HELD_UNKNOWN);
}

TEST_F(RunsTest, OneThatEndedBefore_IsSaid) {
  const auto one = Node("n1");
  v1::Run run;
  ASSERT_TRUE(Start("r", {"n1"}, &run).ok());
  clock_.Advance(10 * kNsPerSecond);
  holders_.EndAll(&clock_, "the injector died");
  clock_.Advance(10 * kNsPerSecond);
  v1::Run closed;
  ASSERT_TRUE(Stop("r", &closed).ok());
  EXPECT_EQ(closed.targets(0).held(), v1::HELD_PART);
  EXPECT_THAT(closed.targets(0).remark(), HasSubstr("only: the injector died"));
}

TEST_F(RunsTest, SecondTryOfARunHasHoldsOfItsOwn) {
  v1::Run run;
  std::string first;
  {
    const auto one = Node("n1");
    const auto two = Node("n2", "no");
    EXPECT_FALSE(Start("r", {"n1", "n2"}, &run).ok());
  }
  WaitUntil([&] { return collector_->fleet().Connected().empty(); });
  const auto one = Node("n1");
  ASSERT_TRUE(Start("r", {"n1"}, &run).ok());
  EXPECT_EQ(holders_.Standing(), 1);
}

// What is held stands in the list of a node that is there, and nowhere in the store.
TEST_F(RunsTest, HoldIsListedByItsNodeAndNeverStored) {
  auto one = Node("n1");
  v1::Run run;
  ASSERT_TRUE(Start("r", {"n1"}, &run).ok());
  v1::FaultState told = holders_.states().at(0);
  v1::NodeMessage message;
  *message.mutable_fault() = told;
  ASSERT_TRUE(one->node().Write(message));
  const auto faults = v1::Faults::NewStub(channel_);
  const auto list = [&] {
    grpc::ClientContext context;
    v1::ListResponse response;
    EXPECT_TRUE(faults->List(&context, v1::ListRequest(), &response).ok());
    return response;
  };
  ASSERT_EQ(list().faults_size(), 1);
  EXPECT_TRUE(list().faults(0).hold());
  one.reset();
  WaitUntil([&] { return collector_->fleet().Find("n1") == nullptr; });
  EXPECT_EQ(list().faults_size(), 0);
}

// A store of before runs had targets.
TEST(RunStore, LayoutOfBefore_IsBroughtUpToDate) {
  TempDir dir;
  FakeClock clock;
  {
    auto store = Store::Open(dir.path(), &clock);
    ASSERT_TRUE(store.ok()) << store.status();
  }
  {
    auto database = Database::Open(dir.path() + "/collector.db", Database::Mode::kReadWrite);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE((*database)
                    ->Run("ALTER TABLE runs DROP COLUMN targets; PRAGMA user_version = 1;"
                          "INSERT INTO runs(name, begin_ns, end_ns, note) VALUES('old', 1, 2, 'n')")
                    .ok());
  }
  auto store = Store::Open(dir.path(), &clock);
  ASSERT_TRUE(store.ok()) << store.status();
  auto catalogue = (*store)->OpenCatalogue();
  ASSERT_TRUE(catalogue.ok());
  const auto old = (*catalogue)->FindRun("old");
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(old->note(), "n");
  EXPECT_EQ(old->targets_size(), 0);
}

}  // namespace
}  // namespace faultline
