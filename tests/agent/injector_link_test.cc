// SPDX-License-Identifier: Apache-2.0
#include "agent/labels/injector_link.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace faultline {
namespace {

constexpr std::chrono::seconds kLong{20};

// An injector of a few lines: one fault is active, and a Start never ends by itself.
class TinyInjector final : public v1::Faults::Service {
 public:
  grpc::Status List(grpc::ServerContext* /*context*/, const v1::ListRequest* /*request*/,
                    v1::ListResponse* response) override {
    response->add_faults()->mutable_spec()->set_id("f1");
    response->mutable_faults(0)->set_phase(v1::PHASE_VERIFIED);
    return grpc::Status::OK;
  }
  grpc::Status Watch(grpc::ServerContext* context, const v1::ListRequest* /*request*/,
                     grpc::ServerWriter<v1::FaultState>* writer) override {
    writer->SendInitialMetadata();
    WaitForCancel(context);
    return grpc::Status::OK;
  }
  grpc::Status Start(grpc::ServerContext* context, const v1::StartRequest* /*request*/,
                     v1::FaultState* /*response*/) override {
    started_.set_value();
    WaitForCancel(context);
    return grpc::Status::CANCELLED;
  }

  std::promise<void> started_;

 private:
  static void WaitForCancel(grpc::ServerContext* context) {
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
};

class InjectorLinkTest : public testing::Test {
 protected:
  void Serve() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&injector_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    ::unlink(address_.substr(5).c_str());
  }
  static void AwaitFirstTry(InjectorLink* link) {
    link->AwaitFirstTry(std::chrono::nanoseconds(kLong).count());
  }

  const std::string address_ =
      "unix:" + testing::TempDir() + "injector_" + std::to_string(::getpid()) + ".sock";
  TinyInjector injector_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(InjectorLinkTest, AwaitFirstTry_InjectorIsThere_ItsFaultsAreKnown) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  bool connected = false;
  const std::vector<v1::FaultState> states = link.States(&connected);
  EXPECT_TRUE(connected);
  ASSERT_EQ(states.size(), 1U);
  EXPECT_EQ(states[0].spec().id(), "f1");
  link.Stop();
}

TEST_F(InjectorLinkTest, AwaitFirstTry_NobodyListens_EndsWithTheFailure) {
  InjectorLink link(address_);
  link.Start(nullptr);
  const auto begin = std::chrono::steady_clock::now();
  AwaitFirstTry(&link);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kLong / 2);
  bool connected = true;
  EXPECT_TRUE(link.States(&connected).empty());
  EXPECT_FALSE(connected);
  link.Stop();
}

TEST_F(InjectorLinkTest, NoInjectorIsNamed_NothingIsWaitedForAndCommandsAreAnswered) {
  InjectorLink link("");
  link.Start(nullptr);
  AwaitFirstTry(&link);
  bool connected = true;
  link.States(&connected);
  EXPECT_FALSE(connected);
  EXPECT_EQ(link.Call(v1::Command()).code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(InjectorLinkTest, Stop_EndsTheCallThatIsUnderWay) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  v1::Command command;
  command.set_id(5);
  command.mutable_start();
  std::future<v1::CommandResult> result =
      std::async(std::launch::async, [&] { return link.Call(command); });
  ASSERT_EQ(injector_.started_.get_future().wait_for(kLong), std::future_status::ready);
  link.Stop();
  EXPECT_EQ(result.get().code(), grpc::StatusCode::CANCELLED);
  // And those that come later at once.
  EXPECT_EQ(link.Call(command).code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(link.Call(command).id(), 5U);
}

}  // namespace
}  // namespace faultline
