// SPDX-License-Identifier: Apache-2.0
#include "collector/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <string>
#include <thread>

#include "collector/collector.h"
#include "faultline/v1/datasets.grpc.pb.h"
#include "tests/collector/answering_node.h"
#include "tests/collector/fake_node.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

using testing::HasSubstr;

v1::FaultState Fault(const std::string& id, v1::Phase phase, std::int64_t commanded) {
  v1::FaultState fault;
  fault.mutable_spec()->set_id(id);
  fault.set_phase(phase);
  fault.mutable_edges()->mutable_commanded()->set_boottime_ns(commanded);
  fault.mutable_edges()->mutable_commanded()->set_realtime_ns(commanded);
  return fault;
}

bool StartFault(const v1::Command& command, v1::CommandResult* result) {
  if (command.has_list()) {
    *result->mutable_list()->add_faults() = Fault("told", v1::PHASE_VERIFIED, 7);
    result->mutable_list()->set_halted("maintenance");
    return true;
  }
  if (command.has_halt()) {
    *result->mutable_halt()->add_ended() = Fault("ended", v1::PHASE_UNDONE, 3);
    return true;
  }
  if (command.has_stop()) {
    *result->mutable_stop() = Fault(command.stop().fault_id(), v1::PHASE_UNDONE, 5);
    return true;
  }
  if (command.start().spec().type() == "bad") {
    result->set_code(3);
    result->set_error("loss must be at most 100 %");
    return true;
  }
  *result->mutable_start() = Fault("f1", v1::PHASE_VERIFIED, 5);
  *result->mutable_start()->mutable_spec() = command.start().spec();
  return true;
}

bool Silent(const v1::Command& /*command*/, v1::CommandResult* /*result*/) { return false; }

class ControlTest : public testing::Test {
 protected:
  ControlTest() {
    CollectorOptions options;
    options.listen = "";
    options.state_dir = dir_.path();
    auto collector = Collector::Start(options, &clock_);
    EXPECT_TRUE(collector.ok()) << collector.status();
    collector_ = std::move(*collector);
    channel_ = collector_->InProcessChannel();
    faults_ = v1::Faults::NewStub(channel_);
  }

  std::unique_ptr<AnsweringNode> Node(const std::string& name,
                                      AnsweringNode::Answer answer = StartFault) {
    auto node = std::make_unique<AnsweringNode>(channel_, name, std::move(answer));
    WaitUntil([&] { return collector_->fleet().Find(name) != nullptr; });
    return node;
  }

  static void WaitUntil(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    ASSERT_TRUE(condition());
  }

  grpc::Status Start(const std::string& node, const std::string& type, v1::FaultState* state,
                     int timeout_ms = 20'000) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms));
    v1::StartRequest request;
    request.set_node(node);
    request.mutable_spec()->set_id("f1");
    request.mutable_spec()->set_type(type);
    return faults_->Start(&context, request, state);
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<Collector> collector_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Faults::Stub> faults_;
};

TEST_F(ControlTest, StartIsRoutedToTheNamedNodeAndItsStateIsFilledIn) {
  const auto one = Node("n1");
  const auto two = Node("n2", Silent);
  v1::FaultState state;
  const grpc::Status status = Start("n1", "sham", &state);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(state.node(), "n1");
  EXPECT_EQ(state.spec().type(), "sham");
}

TEST_F(ControlTest, NodesErrorReachesTheCallerWithItsCode) {
  const auto node = Node("n1");
  v1::FaultState state;
  const grpc::Status status = Start("", "bad", &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("at most 100 %"));
}

TEST_F(ControlTest, NodeThatIsUnknownAbsentOrAmbiguousIsNamed) {
  v1::FaultState state;
  grpc::Status status = Start("", "sham", &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  status = Start("nx", "sham", &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  auto one = Node("n1");
  const auto two = Node("n2");
  status = Start("nx", "sham", &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("n1, n2"));
  status = Start("", "sham", &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("n1, n2"));
  one.reset();
  WaitUntil([&] { return collector_->fleet().Find("n1") == nullptr; });
  status = Start("n1", "sham", &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("not connected"));
}

TEST_F(ControlTest, SilentNodeEndsInDeadlineAndStreamEndInUnavailable) {
  auto node = Node("n1", Silent);
  v1::FaultState state;
  EXPECT_EQ(Start("n1", "sham", &state, 100).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  std::promise<grpc::Status> ended;
  std::jthread caller([&] {
    v1::FaultState late;
    ended.set_value(Start("n1", "sham", &late));
  });
  // The command is on its way once the node has it; ending the stream is right either way.
  node.reset();
  EXPECT_EQ(ended.get_future().get().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ControlTest, HaltReachesAllConnectedAndListsTheRest) {
  const auto one = Node("n1");
  auto two = Node("n2");
  two.reset();
  WaitUntil([&] { return collector_->fleet().Find("n2") == nullptr; });
  grpc::ClientContext context;
  v1::HaltRequest request;
  request.set_reason("fire");
  v1::HaltResponse response;
  ASSERT_TRUE(faults_->Halt(&context, request, &response).ok());
  ASSERT_EQ(response.ended_size(), 1);
  EXPECT_EQ(response.ended(0).node(), "n1");
  ASSERT_EQ(response.unreachable_size(), 1);
  EXPECT_THAT(response.unreachable(0), HasSubstr("n2"));
}

TEST_F(ControlTest, ReleaseIsRefusedWithThePlaceToDoIt) {
  grpc::ClientContext context;
  v1::ReleaseResponse response;
  const grpc::Status status = faults_->Release(&context, v1::ReleaseRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("root.sock release"));
}

TEST_F(ControlTest, ListMergesCatalogueAndNodes) {
  const auto node = Node("n1");
  v1::FaultState state;
  ASSERT_TRUE(Start("n1", "sham", &state).ok());
  grpc::ClientContext context;
  v1::ListResponse response;
  ASSERT_TRUE(faults_->List(&context, v1::ListRequest(), &response).ok());
  EXPECT_EQ(response.halted(), "maintenance");
  ASSERT_EQ(response.faults_size(), 2);
  EXPECT_EQ(response.faults(0).spec().id(), "told");
  EXPECT_EQ(response.faults(0).unknown_since_realtime_ns(), 0);
  EXPECT_EQ(response.faults(1).spec().id(), "f1");
  // Its injector lists it no more, and nobody told its end.
  EXPECT_NE(response.faults(1).unknown_since_realtime_ns(), 0);
  grpc::ClientContext other;
  v1::ListRequest unknown;
  unknown.set_node("nx");
  EXPECT_EQ(faults_->List(&other, unknown, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ControlTest, FaultOfAnInjectorThatIsAwayIsUnknownSince) {
  // As an agent answers without its injector.
  auto node = Node("n1", [](const v1::Command& command, v1::CommandResult* result) {
    if (command.has_start()) return StartFault(command, result);
    result->set_code(14);
    result->set_error("the injector does not answer");
    return true;
  });
  v1::FaultState state;
  ASSERT_TRUE(Start("n1", "sham", &state).ok());
  const auto tell = [&](std::uint64_t sequence, const std::string& kind) {
    BatchBuilder builder;
    const auto host = builder.Entity("host", "host");
    const auto at = static_cast<std::int64_t>(sequence) * 100 * kNsPerSecond;
    builder.Frame(static_cast<std::int64_t>(sequence), at, at + kNsPerSecond, kNsPerSecond);
    builder.Row("host", host, {Cell(1), Cell(2)});
    auto* event = builder.batch().add_events();
    event->set_boottime_ns(at + kNsPerSecond);
    event->set_kind(kind);
    node->node().Send(builder.Encode(kControlEpoch, sequence));
  };
  const auto lost_since = [&] {
    const auto nodes = v1::Nodes::NewStub(channel_);
    grpc::ClientContext context;
    v1::ListNodesResponse response;
    EXPECT_TRUE(nodes->ListNodes(&context, v1::ListNodesRequest(), &response).ok());
    return response.nodes(0).injector_lost_realtime_ns();
  };
  const auto listed = [&] {
    grpc::ClientContext context;
    v1::ListResponse response;
    EXPECT_TRUE(faults_->List(&context, v1::ListRequest(), &response).ok());
    return response.faults(0);
  };
  EXPECT_EQ(lost_since(), 0);
  tell(1, "injector_lost");
  WaitUntil([&] { return lost_since() == 102 * kNsPerSecond; });
  EXPECT_EQ(listed().phase(), v1::PHASE_VERIFIED);
  EXPECT_EQ(listed().unknown_since_realtime_ns(), 102 * kNsPerSecond);
  tell(2, "injector_found");
  WaitUntil([&] { return lost_since() == 0; });
  tell(3, "injector_lost");
  WaitUntil([&] { return lost_since() != 0; });
  tell(4, "injector_absent");
  WaitUntil([&] { return lost_since() == 0; });
  // With the node gone, since its last frame.
  node.reset();
  WaitUntil([&] { return collector_->fleet().Find("n1") == nullptr; });
  EXPECT_EQ(listed().unknown_since_realtime_ns(), 402 * kNsPerSecond);
}

TEST_F(ControlTest, StopWithoutNodeGoesWhereTheFaultIs) {
  const auto one = Node("n1");
  const auto two = Node("n2", Silent);
  v1::FaultState state;
  ASSERT_TRUE(Start("n1", "sham", &state).ok());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::StopRequest request;
  request.set_fault_id("f1");
  ASSERT_TRUE(faults_->Stop(&context, request, &state).ok());
  EXPECT_EQ(state.node(), "n1");
}

TEST_F(ControlTest, StopNamesAFault) {
  const auto node = Node("n1");
  grpc::ClientContext context;
  v1::FaultState state;
  v1::StopRequest request;
  request.set_node("n1");
  const grpc::Status status = faults_->Stop(&context, request, &state);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("which fault"));
}

TEST_F(ControlTest, WatchTellsWhatIsKnownThenEachChange) {
  const auto node = Node("n1");
  v1::FaultState state;
  ASSERT_TRUE(Start("n1", "sham", &state).ok());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const auto watch = faults_->Watch(&context, v1::ListRequest());
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.phase(), v1::PHASE_VERIFIED);
  v1::NodeMessage message;
  *message.mutable_fault() = Fault("f1", v1::PHASE_UNDOING, 5);
  node->node().Write(message);
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.phase(), v1::PHASE_UNDOING);
  EXPECT_EQ(state.node(), "n1");
  BatchBuilder builder;
  *builder.batch().add_faults() = Fault("f1", v1::PHASE_UNDONE, 5);
  node->node().Send(builder.Encode(kControlEpoch, 1));
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
  context.TryCancel();
}

TEST_F(ControlTest, RunsOpenCloseAndList) {
  const auto runs = v1::Runs::NewStub(channel_);
  const auto start = [&](const std::string& name) {
    grpc::ClientContext context;
    v1::StartRunRequest request;
    request.set_name(name);
    v1::Run run;
    return runs->StartRun(&context, request, &run).error_code();
  };
  const auto stop = [&](const std::string& name) {
    grpc::ClientContext context;
    v1::StopRunRequest request;
    request.set_name(name);
    v1::Run run;
    return runs->StopRun(&context, request, &run).error_code();
  };
  EXPECT_EQ(start("r1"), grpc::StatusCode::OK);
  EXPECT_EQ(start("r1"), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(start("a b"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(start(".."), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(stop("r2"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(stop("r1"), grpc::StatusCode::OK);
  EXPECT_EQ(stop("r1"), grpc::StatusCode::FAILED_PRECONDITION);
  grpc::ClientContext context;
  v1::ListRunsResponse response;
  ASSERT_TRUE(runs->ListRuns(&context, v1::ListRunsRequest(), &response).ok());
  ASSERT_EQ(response.runs_size(), 1);
  EXPECT_EQ(response.runs(0).end_realtime_ns(), clock_.Now().realtime_ns);
}

TEST_F(ControlTest, NodesAreListedWithWhetherTheyAreConnected) {
  auto one = Node("n1");
  const auto two = Node("n2");
  one.reset();
  WaitUntil([&] { return collector_->fleet().Find("n1") == nullptr; });
  const auto nodes = v1::Nodes::NewStub(channel_);
  grpc::ClientContext context;
  v1::ListNodesResponse response;
  ASSERT_TRUE(nodes->ListNodes(&context, v1::ListNodesRequest(), &response).ok());
  ASSERT_EQ(response.nodes_size(), 2);
  EXPECT_FALSE(response.nodes(0).connected());
  EXPECT_TRUE(response.nodes(1).connected());
  EXPECT_EQ(response.nodes(1).schema().tables_size(), 3);
}

}  // namespace
}  // namespace faultline
