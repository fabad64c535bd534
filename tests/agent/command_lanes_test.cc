// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/command_lanes.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace faultline {
namespace {

constexpr std::chrono::seconds kPatience{20};

// Commands that end when they are told to, and the answers that came.
class CommandLanesTest : public testing::Test {
 protected:
  ~CommandLanesTest() override { ReleaseAll(); }

  static v1::Command Start(std::uint64_t id, const std::string& fault) {
    v1::Command command;
    command.set_id(id);
    command.mutable_start()->mutable_spec()->set_id(fault);
    return command;
  }
  static v1::Command Stop(std::uint64_t id, const std::string& fault) {
    v1::Command command;
    command.set_id(id);
    command.mutable_stop()->set_fault_id(fault);
    return command;
  }
  static v1::Command Halt(std::uint64_t id) {
    v1::Command command;
    command.set_id(id);
    command.mutable_halt();
    return command;
  }
  static v1::Command List(std::uint64_t id) {
    v1::Command command;
    command.set_id(id);
    command.mutable_list();
    return command;
  }

  // Runs until it is released.
  v1::CommandResult OnCommand(const v1::Command& command) {
    std::unique_lock lock(mutex_);
    begun_.push_back(command.id());
    changed_.notify_all();
    changed_.wait(lock, [&] { return all_ || released_.contains(command.id()); });
    v1::CommandResult result;
    result.set_id(command.id());
    return result;
  }
  void Release(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    released_.insert(id);
    changed_.notify_all();
  }
  void ReleaseAll() {
    const std::lock_guard lock(mutex_);
    all_ = true;
    changed_.notify_all();
  }
  void OnResult(std::uint64_t stream, const v1::CommandResult& result) {
    const std::lock_guard lock(mutex_);
    answers_[{stream, result.id()}] = result;
    changed_.notify_all();
  }
  bool HasBegun(std::uint64_t id) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] {
      return std::find(begun_.begin(), begun_.end(), id) != begun_.end();
    });
  }
  // Its code; -1: no answer came.
  int Code(std::uint64_t id, std::uint64_t stream = 1) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, kPatience, [&] {
      return answers_.contains({stream, id});
    });
    return came ? answers_[{stream, id}].code() : -1;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::uint64_t> begun_;
  std::set<std::uint64_t> released_;
  bool all_ = false;
  std::map<std::pair<std::uint64_t, std::uint64_t>, v1::CommandResult> answers_;
  CommandLanes lanes_{
      [this](const v1::Command& command) { return OnCommand(command); },
      [this](std::uint64_t stream, const v1::CommandResult& result) { OnResult(stream, result); }};
};

TEST_F(CommandLanesTest, Take_BehindASlowStart_EndsAndQuestionsAreAnswered) {
  lanes_.Take(1, Start(1, "a"));
  ASSERT_TRUE(HasBegun(1));
  lanes_.Take(1, Start(2, "b"));
  lanes_.Take(1, Stop(3, "a"));
  lanes_.Take(1, List(4));
  for (const std::uint64_t id : {3U, 4U}) {
    Release(id);
    EXPECT_EQ(Code(id), 0);
  }
  // A slow Stop does not hold up a Halt.
  lanes_.Take(1, Stop(5, "b"));
  ASSERT_TRUE(HasBegun(5));
  lanes_.Take(1, Halt(6));
  Release(6);
  EXPECT_EQ(Code(6), 0);
  EXPECT_FALSE(answers_.contains({1, 1}));
}

TEST_F(CommandLanesTest, Take_WithinALane_InOrder) {
  for (std::uint64_t id = 1; id <= 5; ++id) lanes_.Take(1, Start(id, "x"));
  ReleaseAll();
  EXPECT_EQ(Code(5), 0);
  EXPECT_EQ(begun_, (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
}

TEST_F(CommandLanesTest, Take_StopOfAFaultThatWaits_CancelsItsStart) {
  lanes_.Take(1, Start(1, "a"));
  ASSERT_TRUE(HasBegun(1));
  lanes_.Take(1, Start(2, "b"));
  lanes_.Take(1, Start(3, "c"));
  lanes_.Take(1, Stop(4, "b"));
  EXPECT_EQ(Code(2), grpc::StatusCode::CANCELLED);
  ReleaseAll();
  EXPECT_EQ(Code(3), 0);
  EXPECT_EQ(Code(4), 0);
  EXPECT_EQ(begun_.size(), 3U);
}

// Neither has a name before the injector gives it one: that makes them no match.
TEST_F(CommandLanesTest, Take_StopWithoutAnId_CancelsNobodysStart) {
  lanes_.Take(1, Start(1, "a"));
  ASSERT_TRUE(HasBegun(1));
  lanes_.Take(1, Start(2, ""));
  lanes_.Take(1, Stop(3, ""));
  ReleaseAll();
  EXPECT_EQ(Code(2), 0);
  EXPECT_EQ(Code(3), 0);
}

TEST_F(CommandLanesTest, Take_Halt_RefusesTheStartsThatWait) {
  lanes_.Take(1, Start(1, "a"));
  ASSERT_TRUE(HasBegun(1));
  lanes_.Take(1, Start(2, "b"));
  lanes_.Take(1, Start(3, "c"));
  lanes_.Take(1, Halt(4));
  EXPECT_EQ(Code(2), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Code(3), grpc::StatusCode::FAILED_PRECONDITION);
  ReleaseAll();
  EXPECT_EQ(Code(4), 0);
  EXPECT_EQ(Code(1), 0);
}

TEST_F(CommandLanesTest, Take_LaneIsFull_SaysSoAtOnceAndTheOtherLanesGoOn) {
  lanes_.Take(1, List(1));
  ASSERT_TRUE(HasBegun(1));
  std::uint64_t id = 2;
  for (size_t i = 0; i < CommandLanes::kMaxWaiting; ++i) lanes_.Take(1, List(id++));
  lanes_.Take(1, List(id));
  EXPECT_EQ(Code(id), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(answers_[std::make_pair(1U, id)].error().find("try again"), std::string::npos);
  lanes_.Take(1, Halt(1000));
  Release(1000);
  EXPECT_EQ(Code(1000), 0);
}

TEST_F(CommandLanesTest, Forget_StartsAreDroppedEndsAreRun) {
  lanes_.Take(1, Start(1, "a"));
  lanes_.Take(1, Stop(2, "b"));
  ASSERT_TRUE(HasBegun(1));
  ASSERT_TRUE(HasBegun(2));
  lanes_.Take(1, Start(3, "c"));
  lanes_.Take(1, Stop(4, "d"));
  lanes_.Forget();
  lanes_.Take(2, Start(5, "e"));
  ReleaseAll();
  EXPECT_EQ(Code(4), 0);
  EXPECT_EQ(Code(5, 2), 0);
  EXPECT_FALSE(answers_.contains({1, 3}));
}

}  // namespace
}  // namespace faultline
