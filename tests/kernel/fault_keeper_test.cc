// SPDX-License-Identifier: Apache-2.0
//
// The keeper beside the real injector: it undoes what a dead one left, ends one that let a deadline
// or the end of its lease pass, and goes when nothing is open.
#include "tests/kernel/fault_fixture.h"

namespace faultline {
namespace {

class KeeperTest : public FaultTest {
 protected:
  v1::FaultSpec Limit(const std::string& name, double seconds) const {
    v1::FaultSpec spec = Spec("cpu.limit", name, seconds);
    (*spec.mutable_parameters())["cpus"] = "0.5";
    return spec;
  }
  // How long after `since_ns` the keeper ended, with everything as before.
  double SecondsUntilUndone(std::int64_t since_ns) {
    EXPECT_EQ(injector_.WaitForKeeper(15), 0);
    const double seconds = static_cast<double>(Clock::System().Now().boottime_ns - since_ns) / 1e9;
    EXPECT_EQ(Digest(), before_);
    return seconds;
  }
};

TEST_F(KeeperTest, GoesWhenNothingIsOpenAnyMore) {
  ASSERT_TRUE(injector_.Inject(Limit("a", 1.5)).ok());
  injector_.StartKeeper();
  EXPECT_EQ(injector_.WaitForEnd(Id("a"), 5).phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(injector_.WaitForKeeper(5), 0);
  EXPECT_FALSE(std::filesystem::exists(injector_.folder() / "run/open"));
  // Where nothing is open it does not wait at all.
  injector_.StartKeeper();
  EXPECT_EQ(injector_.WaitForKeeper(5), 0);
}

TEST_F(KeeperTest, UndoesAtOnceWhatADeadInjectorLeft) {
  ASSERT_TRUE(injector_.Inject(Limit("a", 60)).ok());
  injector_.StartKeeper();
  SleepMs(300);
  const std::int64_t killed_ns = Clock::System().Now().boottime_ns;
  injector_.End(SIGKILL);
  const double seconds = SecondsUntilUndone(killed_ns);
  std::printf("undone %.2f s after the kill\n", seconds);
  EXPECT_LT(seconds, 3);
  ASSERT_TRUE(injector_.Start().ok());
  const v1::FaultState state = injector_.Find(Id("a"));
  EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(state.reason(), "the injector died");
}

TEST_F(KeeperTest, EndsAnInjectorThatLetADeadlinePass) {
  const absl::StatusOr<v1::FaultState> fault = injector_.Inject(Limit("a", 2));
  ASSERT_TRUE(fault.ok()) << fault.status();
  injector_.StartKeeper();
  ASSERT_EQ(kill(injector_.pid(), SIGSTOP), 0);
  const double seconds = SecondsUntilUndone(fault->deadline_boottime_ns());
  std::printf("undone %.2f s after the deadline\n", seconds);
  EXPECT_GE(seconds, 3);
  EXPECT_LT(seconds, 8);
  EXPECT_EQ(injector_.End(0), 128 + SIGKILL);
  ASSERT_TRUE(injector_.Start().ok());
  EXPECT_EQ(injector_.Find(Id("a")).phase(), v1::PHASE_UNDONE);
}

// The collector is lost, and the injector stands still: within 15 s of the last word all the same.
TEST_F(KeeperTest, EndsAnInjectorThatLetItsLeaseRunOut) {
  const std::int64_t renewed_ns = Clock::System().Now().boottime_ns;
  {
    grpc::ClientContext context;
    v1::LeaseRequest request;
    request.set_ttl_ns(9 * kNsPerSecond);
    v1::LeaseResponse response;
    const grpc::Status status = injector_.agent().RenewLease(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  {
    grpc::ClientContext context;
    v1::StartRequest request;
    *request.mutable_spec() = Limit("a", 60);
    v1::FaultState state;
    const grpc::Status status = injector_.agent().Start(&context, request, &state);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_TRUE(state.leased());
  }
  injector_.StartKeeper();
  ASSERT_EQ(kill(injector_.pid(), SIGSTOP), 0);
  const double seconds = SecondsUntilUndone(renewed_ns);
  std::printf("undone %.2f s after the end of the lease\n", seconds - 9);
  EXPECT_GE(seconds, 12);
  EXPECT_LT(seconds, 15);
  EXPECT_EQ(injector_.End(0), 128 + SIGKILL);
  ASSERT_TRUE(injector_.Start().ok());
  EXPECT_EQ(injector_.Find(Id("a")).phase(), v1::PHASE_UNDONE);
}

// An injector that starts while another process undoes waits for it; one that runs is in the way.
TEST_F(KeeperTest, OneInjectorAtATime_AndItWaitsForAnUndo) {
  ASSERT_TRUE(injector_.Inject(Limit("a", 60)).ok());
  EXPECT_EQ(injector_.Undo(), 1);
  EXPECT_EQ(injector_.Find(Id("a")).phase(), v1::PHASE_VERIFIED);
  for (int i = 0; i < 5; ++i) {
    injector_.StartKeeper();
    SleepMs(50 * i);
    injector_.End(SIGKILL);
    ASSERT_TRUE(injector_.Start().ok());
    EXPECT_EQ(injector_.WaitForKeeper(5), 0);
    EXPECT_EQ(Digest(), before_);
    ASSERT_TRUE(injector_.Inject(Limit(absl::StrCat("b", i), 60)).ok());
  }
  EXPECT_TRUE(injector_.Stop(Id("b4")).ok());
}

}  // namespace
}  // namespace faultline
