// SPDX-License-Identifier: Apache-2.0
#include "agent/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace faultline {
namespace {

absl::Status ParseWords(std::vector<std::string> words) {
  words.insert(words.begin(), "faultline-agent");
  std::vector<char*> argv;
  argv.reserve(words.size());
  for (std::string& word : words) argv.push_back(word.data());
  return ParseAgentOptions(static_cast<int>(argv.size()), argv.data()).status();
}

// What the service is restarted after is not what it stays down for.
TEST(AgentOptions, MissingCertificatesAreNoWrongOption) {
  const absl::Status missing =
      ParseWords({"--collector", "192.0.2.1:4640", "--tls", testing::TempDir() + "no-tls"});
  EXPECT_EQ(missing.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(missing.message()), testing::HasSubstr("faultline tls"));
  EXPECT_EQ(ParseWords({"--node", "a/b"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(ParseWords({"--tls", testing::TempDir() + "no-tls", "--check"}).ok());
}

// main makes an event of what is wrong with a start.
TEST(AgentOptions, WrongOptionIsReturned_PrintedForATask) {
  const absl::Status start = ParseWords({"--max-cgroups", "0"});
  EXPECT_TRUE(absl::IsInvalidArgument(start)) << start;
  EXPECT_THAT(std::string(start.message()), testing::StartsWith("--max-cgroups: "));
  EXPECT_THAT(std::string(start.message()), testing::Not(testing::EndsWith("\n")));
  testing::internal::CaptureStderr();
  const absl::Status task = ParseWords({"--max-cgroups", "0", "--check"});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::StartsWith("--max-cgroups: "));
  EXPECT_TRUE(absl::IsInvalidArgument(task)) << task;
  EXPECT_EQ(task.message(), "");
}

}  // namespace
}  // namespace faultline
