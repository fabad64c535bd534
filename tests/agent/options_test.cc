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

}  // namespace
}  // namespace faultline
