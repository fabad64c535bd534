// SPDX-License-Identifier: Apache-2.0
#include "collector/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace faultline {
namespace {

TEST(ParseCollectorOptions, ReadsFlagsAndRefusesOthers) {
  const std::vector<const char*> good = {"x", "--listen", "127.0.0.1:0", "--state-dir", "/tmp/s"};
  const auto options = ParseCollectorOptions(static_cast<int>(good.size()), good.data());
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->listen, "127.0.0.1:0");
  EXPECT_EQ(options->state_dir, "/tmp/s");
  for (const std::vector<const char*>& wrong :
       {std::vector<const char*>{"x", "--colour"}, {"x", "--listen", "127.0.0.1:99999"}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        ParseCollectorOptions(static_cast<int>(wrong.size()), wrong.data()).status()));
  }
  const std::vector<const char*> help = {"x", "--help"};
  const auto text = ParseCollectorOptions(static_cast<int>(help.size()), help.data());
  EXPECT_TRUE(absl::IsCancelled(text.status()));
  EXPECT_THAT(std::string(text.status().message()), testing::HasSubstr("--state-dir"));
}

// main makes an event of what is wrong with a start.
TEST(ParseCollectorOptions, WrongFileIsReturned_PrintedForATask) {
  std::vector<const char*> words = {"x", "--config", "/none.yaml"};
  const auto start = ParseCollectorOptions(static_cast<int>(words.size()), words.data());
  EXPECT_TRUE(absl::IsInvalidArgument(start.status())) << start.status();
  EXPECT_THAT(std::string(start.status().message()), testing::StartsWith("--config /none.yaml: "));
  words.push_back("--check-config");
  testing::internal::CaptureStderr();
  const auto task = ParseCollectorOptions(static_cast<int>(words.size()), words.data());
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::StartsWith("error: --config /none.yaml: "));
  EXPECT_TRUE(absl::IsInvalidArgument(task.status())) << task.status();
  EXPECT_EQ(task.status().message(), "");
}

}  // namespace
}  // namespace faultline
