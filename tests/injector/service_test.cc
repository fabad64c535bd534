// SPDX-License-Identifier: Apache-2.0
//
// The service while the host is slow: what must go through does, whatever else waits.
#include "injector/service.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

// More than gRPC has threads, on any host.
constexpr int kMany = 40;
// What a call that waits for nothing may take on a machine that is busy otherwise.
constexpr std::chrono::seconds kPatience{10};

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() {
    world_.guard.max_faults = 100;
    world_.run_thread = true;
    world_.Crash();
    world_.Boot();
    service_ = MakeFaultsService(world_.controller.get(), true);
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::Faults::NewStub(server_->InProcessChannel(grpc::ChannelArguments()));
  }
  ~ServiceTest() override {
    world_.controller->EndAll("the test is over");
    server_->Shutdown();
    server_->Wait();
  }

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::Faults::Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    return (stub_.get()->*method)(&context, request, response);
  }
  std::future<std::pair<grpc::Status, v1::FaultState>> Start(v1::FaultSpec spec) {
    return std::async(std::launch::async, [this, spec = std::move(spec)] {
      v1::StartRequest request;
      *request.mutable_spec() = spec;
      std::pair<grpc::Status, v1::FaultState> result;
      result.first = Call(&v1::Faults::Stub::Start, request, &result.second);
      return result;
    });
  }
  std::future<std::pair<grpc::Status, v1::FaultState>> Stop(const std::string& id) {
    return std::async(std::launch::async, [this, id] {
      v1::StopRequest request;
      request.set_fault_id(id);
      std::pair<grpc::Status, v1::FaultState> result;
      result.first = Call(&v1::Faults::Stub::Stop, request, &result.second);
      return result;
    });
  }
  // Each step takes until go_; entered_: the first has begun.
  void SlowHost() {
    world_.host.on_step = [this](const std::string& /*step*/) {
      if (!stepped_.exchange(true)) entered_.Notify();
      go_.WaitForNotification();
      return absl::OkStatus();
    };
  }
  void ExpectLeaseIsRenewed() {
    v1::LeaseRequest lease;
    lease.set_ttl_ns(9 * kNsPerSecond);
    v1::LeaseResponse until;
    const grpc::Status renewed = Call(&v1::Faults::Stub::RenewLease, lease, &until);
    EXPECT_TRUE(renewed.ok()) << renewed.error_message();
  }

  std::atomic<bool> stepped_ = false;
  absl::Notification entered_;
  absl::Notification go_;
  ControllerWorld world_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Faults::Stub> stub_;
};

TEST_F(ServiceTest, WhileStartsAreSlow_TheLeaseIsRenewed_AndAHaltWaitsForOneOfThem) {
  SlowHost();
  std::vector<std::future<std::pair<grpc::Status, v1::FaultState>>> starts;
  starts.push_back(Start(ControllerWorld::Spec("cpu.limit", "first")));
  entered_.WaitForNotification();
  for (int i = 0; i < kMany; ++i) {
    starts.push_back(Start(ControllerWorld::Spec("mem.limit", absl::StrCat("n", i), "/db")));
  }
  ExpectLeaseIsRenewed();
  std::future<grpc::Status> halt = std::async(std::launch::async, [this] {
    v1::HaltRequest request;
    request.set_reason("enough");
    v1::HaltResponse ended;
    return Call(&v1::Faults::Stub::Halt, request, &ended);
  });
  // It is heard, so that what waits for its turn is refused.
  EXPECT_EQ(halt.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  ExpectLeaseIsRenewed();
  go_.Notify();
  EXPECT_TRUE(halt.get().ok());
  const auto first = starts.front().get();
  EXPECT_TRUE(first.first.ok()) << first.first.error_message();
  for (size_t i = 1; i < starts.size(); ++i) {
    const auto [status, state] = starts[i].get();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << i;
    EXPECT_THAT(status.error_message(), HasSubstr("halted"));
  }
  EXPECT_EQ(world_.Find("first").phase(), v1::PHASE_UNDONE);
}

TEST_F(ServiceTest, AHostThatCannotTellYet_IsAskedAgain) {
  std::atomic<int> calls = 0;
  world_.host.on_step = [&](const std::string& /*step*/) {
    return calls++ == 0 ? absl::UnavailableError("busy") : absl::OkStatus();
  };
  auto start = Start(ControllerWorld::Spec("cpu.limit", "a"));
  EXPECT_EQ(start.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  EXPECT_EQ(calls, 1);
  ExpectLeaseIsRenewed();
  EXPECT_EQ(world_.controller->List(false).faults_size(), 0);
  world_.clock.Advance(200 * kNsPerMs);
  const auto [status, state] = start.get();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(state.phase(), v1::PHASE_VERIFIED);
  EXPECT_EQ(Stop("a").get().second.phase(), v1::PHASE_UNDONE);
}

TEST_F(ServiceTest, AHostThatNeverTells_IsToldOf) {
  world_.host.on_step = [](const std::string& /*step*/) { return absl::UnavailableError("busy"); };
  auto start = Start(ControllerWorld::Spec("cpu.limit", "a"));
  EXPECT_EQ(start.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  world_.clock.Advance(6 * kNsPerSecond);
  EXPECT_EQ(start.get().first.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_REFUSED);
}

// A watcher that has gone before it is its turn.
TEST_F(ServiceTest, WhileAStartIsSlow_WatchersComeAndGo) {
  SlowHost();
  auto start = Start(ControllerWorld::Spec("cpu.limit", "slow"));
  entered_.WaitForNotification();
  for (int i = 0; i < kMany; ++i) {
    grpc::ClientContext context;
    const auto reader = stub_->Watch(&context, v1::ListRequest());
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  go_.Notify();
  EXPECT_TRUE(start.get().first.ok());
  // One that stays is told.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const auto reader = stub_->Watch(&context, v1::ListRequest());
  v1::FaultState state;
  ASSERT_TRUE(reader->Read(&state));
  EXPECT_EQ(state.spec().id(), "slow");
  context.TryCancel();
  (void)reader->Finish();
  // Nothing is left that could call what ends here.
  EXPECT_EQ(Stop("slow").get().second.phase(), v1::PHASE_UNDONE);
}

TEST_F(ServiceTest, WhileStopsTakeTime_NoThreadIsHeld) {
  ASSERT_TRUE(world_.controller->Start(ControllerWorld::Spec("net.delay", "slow")).ok());
  // Something has just come.
  const std::int64_t until_ns = world_.clock.Now().boottime_ns + 50 * kNsPerMs;
  for (const auto& [handle, netem] : world_.host.netems) {
    world_.host.waits_until_ns[handle] = until_ns;
  }
  std::vector<std::future<std::pair<grpc::Status, v1::FaultState>>> stops;
  for (int i = 0; i < kMany; ++i) stops.push_back(Stop("slow"));
  EXPECT_EQ(stops.front().wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  ExpectLeaseIsRenewed();
  v1::ListResponse list;
  EXPECT_TRUE(Call(&v1::Faults::Stub::List, v1::ListRequest(), &list).ok());
  ASSERT_EQ(list.faults_size(), 1);
  EXPECT_EQ(list.faults(0).phase(), v1::PHASE_UNDOING);
  // A start and another's stop are done meanwhile.
  EXPECT_TRUE(Start(ControllerWorld::Spec("cpu.limit", "other")).get().first.ok());
  EXPECT_EQ(Stop("other").get().second.phase(), v1::PHASE_UNDONE);
  world_.clock.Advance(60 * kNsPerMs);
  for (auto& stop : stops) {
    const auto [status, state] = stop.get();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
  }
}

}  // namespace
}  // namespace faultline
