// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"

#include <gtest/gtest.h>

namespace faultline::cli {
namespace {

TEST(ExitCode_OfEveryStatus, IsTheDocumentedOne) {
  const std::pair<absl::StatusCode, int> cases[] = {
      {absl::StatusCode::kOk, 0},
      {absl::StatusCode::kCancelled, 130},
      {absl::StatusCode::kUnknown, 1},
      {absl::StatusCode::kInvalidArgument, 2},
      {absl::StatusCode::kDeadlineExceeded, 124},
      {absl::StatusCode::kNotFound, 2},
      {absl::StatusCode::kAlreadyExists, 2},
      {absl::StatusCode::kPermissionDenied, 4},
      {absl::StatusCode::kResourceExhausted, 1},
      {absl::StatusCode::kFailedPrecondition, 5},
      {absl::StatusCode::kAborted, 1},
      {absl::StatusCode::kOutOfRange, 2},
      {absl::StatusCode::kUnimplemented, 5},
      {absl::StatusCode::kInternal, 1},
      {absl::StatusCode::kUnavailable, 3},
      {absl::StatusCode::kDataLoss, 1},
      {absl::StatusCode::kUnauthenticated, 4},
  };
  for (const auto& [code, exit] : cases) {
    EXPECT_EQ(ExitCodeOf(absl::Status(code, code == absl::StatusCode::kOk ? "" : "x")), exit);
  }
}

TEST(NextStep_ForThePeer, NamesTheAddress) {
  EXPECT_NE(NextStep(absl::UnavailableError("x"), "10.0.0.1:4640").find("10.0.0.1:4640"),
            std::string::npos);
  EXPECT_NE(NextStep(absl::UnavailableError("x"), "unix:/run/f.sock").find("/run/f.sock"),
            std::string::npos);
  EXPECT_EQ(NextStep(absl::InternalError("x"), "10.0.0.1:4640"), "");
}

TEST(Plain_OfGrpcConnectErrors, IsOneSentence) {
  const absl::string_view prefix = "failed to connect to all addresses; last error: UNKNOWN: ";
  const auto say = [&](absl::string_view why) {
    return Plain(absl::UnavailableError(std::string(prefix) + std::string(why)), "unix:/x");
  };
  EXPECT_EQ(say("unix:/x: Connection refused").message(),
            "cannot connect to unix:/x: connection refused");
  EXPECT_TRUE(absl::IsPermissionDenied(say("unix:/x: Permission denied")));
  const absl::Status other = absl::UnavailableError("node web-1 is not connected");
  EXPECT_EQ(Plain(other, "unix:/x"), other);
}

}  // namespace
}  // namespace faultline::cli
