// SPDX-License-Identifier: Apache-2.0
#include "agent/labels/injector_link.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace faultline {
namespace {

constexpr std::chrono::seconds kLong{20};

v1::FaultState State(const std::string& id, v1::Phase phase, std::int64_t dose) {
  v1::FaultState state;
  state.mutable_spec()->set_id(id);
  state.set_phase(phase);
  state.add_dose()->set_value(dose);
  state.mutable_edges()->mutable_commanded()->set_boottime_ns(Clock::System().Now().boottime_ns);
  return state;
}

// An injector of a few lines: one fault is active, and a Start never ends by itself. It can freeze,
// which is to answer no List, and end faults without its watch saying so.
class TinyInjector final : public v1::Faults::Service {
 public:
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest* request,
                    v1::ListResponse* response) override {
    std::unique_lock lock(mutex_);
    thawed_.wait(lock, [&] { return !frozen_ || context->IsCancelled(); });
    for (const v1::FaultState& state : faults_) {
      if (!request->active_only() || state.phase() == v1::PHASE_VERIFIED) {
        *response->add_faults() = state;
      }
    }
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

  grpc::Status RenewLease(grpc::ServerContext* /*context*/, const v1::LeaseRequest* request,
                          v1::LeaseResponse* /*response*/) override {
    const std::lock_guard lock(mutex_);
    leases_.push_back(*request);
    thawed_.notify_all();
    return grpc::Status::OK;
  }
  // The leases that came, once there are `count`.
  std::vector<v1::LeaseRequest> Leases(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(thawed_.wait_for(lock, kLong, [&] { return leases_.size() >= count; }));
    return leases_;
  }

  void Freeze(bool frozen) {
    const std::lock_guard lock(mutex_);
    frozen_ = frozen;
    thawed_.notify_all();
  }
  void Set(std::vector<v1::FaultState> faults) {
    const std::lock_guard lock(mutex_);
    faults_ = std::move(faults);
  }

  std::promise<void> started_;

 private:
  std::mutex mutex_;
  std::condition_variable thawed_;
  bool frozen_ = false;
  std::vector<v1::LeaseRequest> leases_;
  std::vector<v1::FaultState> faults_ = {State("f1", v1::PHASE_VERIFIED, 1)};
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
    injector_.Freeze(false);
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(folder_);
  }
  // A look right after a change may still find it to be news.
  static Sight SecondLook(InjectorLink* link) {
    Sight sight = Sight::kSeen;
    for (int i = 0; i < 2; ++i) link->States(/*behind=*/false, &sight);
    return sight;
  }
  static void AwaitFirstTry(InjectorLink* link) {
    link->AwaitFirstTry(std::chrono::nanoseconds(kLong).count());
  }

  // A busy machine may be late with an answer.
  static std::vector<v1::FaultState> AwaitSeen(InjectorLink* link, bool behind = false) {
    const auto until = std::chrono::steady_clock::now() + kLong;
    Sight sight = Sight::kLost;
    std::vector<v1::FaultState> states;
    while (sight != Sight::kSeen && std::chrono::steady_clock::now() < until) {
      states = link->States(behind, &sight);
    }
    EXPECT_EQ(sight, Sight::kSeen);
    return states;
  }

  // As the service's: nothing else is in it.
  const std::string folder_ = [] {
    std::string folder = testing::TempDir() + "injector_" + std::to_string(::getpid());
    std::filesystem::create_directories(folder);
    return folder;
  }();
  const std::string address_ = "unix:" + folder_ + "/agent.sock";
  TinyInjector injector_;
  std::unique_ptr<grpc::Server> server_;
};

// What is held for a run is no fault: no frame, no batch and no watcher may hear of it.
TEST_F(InjectorLinkTest, KnowsNothingOfAHold) {
  v1::FaultState hold = State("hold-1", v1::PHASE_VERIFIED, 0);
  hold.set_hold(true);
  v1::FaultState ended = hold;
  ended.mutable_spec()->set_id("hold-2");
  ended.set_phase(v1::PHASE_UNDONE);
  injector_.Set({State("f1", v1::PHASE_VERIFIED, 1), hold, ended});
  Serve();
  InjectorLink link(address_);
  std::mutex mutex;
  std::vector<std::string> told;
  link.Start([&](const v1::FaultState& state) {
    const std::lock_guard lock(mutex);
    told.push_back(state.spec().id());
  });
  AwaitFirstTry(&link);
  for (const bool behind : {false, true}) {
    const std::vector<v1::FaultState> states = AwaitSeen(&link, behind);
    ASSERT_EQ(states.size(), 1u);
    EXPECT_EQ(states[0].spec().id(), "f1");
  }
  link.Stop();
  EXPECT_EQ(told, std::vector<std::string>{"f1"});
}

TEST_F(InjectorLinkTest, AwaitFirstTry_InjectorIsThere_ItsFaultsAreKnown) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  const std::vector<v1::FaultState> states = AwaitSeen(&link);
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
  Sight sight = Sight::kSeen;
  EXPECT_TRUE(link.States(/*behind=*/false, &sight).empty());
  EXPECT_EQ(sight, Sight::kAbsent);
  link.Stop();
}

// The socket's file of one that was killed, an open fault's mark, and a folder that changed each
// say that something may be in force.
TEST_F(InjectorLinkTest, States_NobodyListens_AbsentOnlyIfNothingWasLeft) {
  InjectorLink link(address_);
  for (const char* left : {"agent.sock", "open"}) {
    const std::string path = folder_ + "/" + left;
    std::ofstream(path) << "";
    EXPECT_EQ(SecondLook(&link), Sight::kLost) << left;
    std::filesystem::remove(path);
    Sight sight = Sight::kSeen;
    link.States(/*behind=*/false, &sight);
    EXPECT_EQ(sight, Sight::kLost) << left;
    EXPECT_EQ(SecondLook(&link), Sight::kAbsent) << left;
  }
  InjectorLink nowhere("unix:" + folder_ + "/none/agent.sock");
  EXPECT_EQ(SecondLook(&nowhere), Sight::kAbsent);
  InjectorLink remote("127.0.0.1:1");
  EXPECT_EQ(SecondLook(&remote), Sight::kLost);
}

TEST_F(InjectorLinkTest, States_InjectorWentWithoutAWordOfItsFault_ItIsLost) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  EXPECT_EQ(AwaitSeen(&link).size(), 1U);
  server_->Shutdown(std::chrono::system_clock::now());
  server_ = nullptr;
  std::filesystem::remove(folder_ + "/agent.sock");
  EXPECT_EQ(SecondLook(&link), Sight::kLost);
  link.Stop();
}

// Without the mark of an open fault, one that had not begun cannot stand.
TEST_F(InjectorLinkTest, States_InjectorWentBeforeAFaultBegan_ItIsAbsent) {
  injector_.Set({State("f1", v1::PHASE_ACCEPTED, 0)});
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  EXPECT_EQ(AwaitSeen(&link, /*behind=*/true).size(), 1U);
  server_->Shutdown(std::chrono::system_clock::now());
  server_ = nullptr;
  std::filesystem::remove(folder_ + "/agent.sock");
  EXPECT_EQ(SecondLook(&link), Sight::kAbsent);
  link.Stop();
}

TEST_F(InjectorLinkTest, States_InjectorStandsStill_ItIsNotSeenAndWaitedForOnlyOnce) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  AwaitSeen(&link);
  injector_.Freeze(true);
  Sight sight = Sight::kSeen;
  EXPECT_EQ(link.States(/*behind=*/false, &sight).size(), 1U);
  EXPECT_EQ(sight, Sight::kLate);
  // A wait of a fifth of a second each would be 20 s.
  const auto begin = std::chrono::steady_clock::now();
  for (int tick = 0; tick < 100; ++tick) {
    link.States(/*behind=*/false, &sight);
    EXPECT_EQ(sight, Sight::kLost);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  injector_.Set({State("f1", v1::PHASE_VERIFIED, 7)});
  injector_.Freeze(false);
  std::vector<v1::FaultState> states;
  while (sight != Sight::kSeen && std::chrono::steady_clock::now() - begin < kLong) {
    states = link.States(/*behind=*/false, &sight);
  }
  ASSERT_EQ(sight, Sight::kSeen);
  EXPECT_EQ(states[0].dose(0).value(), 7);
  link.Stop();
}

TEST_F(InjectorLinkTest, Stop_InjectorStandsStill_EndsTheQuestionThatIsUnderWay) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  injector_.Freeze(true);
  Sight sight = Sight::kSeen;
  link.States(/*behind=*/false, &sight);
  EXPECT_EQ(sight, Sight::kLate);
  const auto begin = std::chrono::steady_clock::now();
  link.Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kLong / 2);
}

TEST_F(InjectorLinkTest, States_ActiveFaultEndedAndTheWatchDoesNotTell_ItsLastDoseIsThere) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  injector_.Set({State("f1", v1::PHASE_UNDONE, 9)});
  const std::vector<v1::FaultState> states = AwaitSeen(&link);
  ASSERT_EQ(states.size(), 1U);
  EXPECT_EQ(states[0].phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(states[0].dose(0).value(), 9);
  link.Stop();
}

TEST_F(InjectorLinkTest, States_Behind_FaultsThatCameAndWentUnheardAreThere) {
  Serve();
  InjectorLink link(address_);
  link.Start(nullptr);
  AwaitFirstTry(&link);
  injector_.Set({State("f1", v1::PHASE_VERIFIED, 1), State("f2", v1::PHASE_UNDONE, 725)});
  EXPECT_EQ(AwaitSeen(&link).size(), 1U);
  const std::vector<v1::FaultState> states = AwaitSeen(&link, /*behind=*/true);
  ASSERT_EQ(states.size(), 2U);
  EXPECT_EQ(states[1].dose(0).value(), 725);
  link.Stop();
}

TEST_F(InjectorLinkTest, NoInjectorIsNamed_NothingIsWaitedForAndCommandsAreAnswered) {
  InjectorLink link("");
  link.Start(nullptr);
  AwaitFirstTry(&link);
  Sight sight = Sight::kSeen;
  link.States(/*behind=*/false, &sight);
  EXPECT_EQ(sight, Sight::kLost);
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

TEST_F(InjectorLinkTest, PassesALeaseOnAtOnce_AndAgainBeforeAStart) {
  Serve();
  InjectorLink link(address_);
  link.Start([](const v1::FaultState& /*state*/) {});
  AwaitFirstTry(&link);
  link.Renew(9 * kNsPerSecond, "10.0.0.7:7443");
  const v1::LeaseRequest first = injector_.Leases(1)[0];
  EXPECT_GT(first.ttl_ns(), 8 * kNsPerSecond);
  EXPECT_LE(first.ttl_ns(), 9 * kNsPerSecond);
  ASSERT_EQ(first.collector_size(), 1);
  EXPECT_EQ(first.collector(0), "10.0.0.7:7443");
  v1::Command command;
  command.mutable_validate();
  link.Call(command);
  // What is left of it, for an injector that may be another one by now.
  const v1::LeaseRequest again = injector_.Leases(2)[1];
  EXPECT_LE(again.ttl_ns(), first.ttl_ns());
  // The end of both is the same instant.
  EXPECT_GT(first.from_boottime_ns(), 0);
  EXPECT_EQ(again.from_boottime_ns() + again.ttl_ns(), first.from_boottime_ns() + first.ttl_ns());
  EXPECT_EQ(again.collector(0), "10.0.0.7:7443");
  link.Stop();
}

TEST_F(InjectorLinkTest, ALeaseThatIsOver_IsNotPassedOn) {
  Serve();
  InjectorLink link(address_);
  link.Start([](const v1::FaultState& /*state*/) {});
  AwaitFirstTry(&link);
  link.Renew(1, "");
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  v1::Command command;
  command.mutable_validate();
  link.Call(command);
  EXPECT_TRUE(injector_.Leases(0).empty());
  link.Stop();
}

}  // namespace
}  // namespace faultline
