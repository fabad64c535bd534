// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "cli/client.h"

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
      {absl::StatusCode::kResourceExhausted, 5},
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
  const Callee collector{"10.0.0.1:4640", false};
  const Callee local{"unix:/run/c.sock", false};
  const Callee injector{"unix:/run/f/agent.sock", true};
  const absl::Status away =
      Plain(absl::UnavailableError("failed to connect to all addresses; x"), "peer");
  const auto hint = [](const absl::Status& status, const Callee& callee) {
    return NextStep(status, callee);
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(hint(away, collector), HasSubstr("faultline-collector running on 10.0.0.1:4640"));
  EXPECT_THAT(hint(away, local), HasSubstr("faultline-collector listen on /run/c.sock"));
  EXPECT_THAT(hint(away, injector), HasSubstr("faultline-injector running"));
  EXPECT_THAT(hint(away, injector), HasSubstr("/run/f/agent.sock"));
  const absl::Status denied = absl::PermissionDeniedError("only root, on the host's root.sock");
  EXPECT_THAT(hint(denied, injector), HasSubstr("--injector unix:/run/f/root.sock"));
  const absl::Status node = absl::PermissionDeniedError(
      "/faultline.v1.Faults/Start needs an operator's certificate; this one is of node n");
  EXPECT_THAT(hint(node, collector), HasSubstr("`faultline tls operator NAME --ca DIR`"));
  // Says so itself.
  EXPECT_EQ(hint(absl::PermissionDeniedError("a halt is released by root"), collector), "");
  EXPECT_EQ(hint(absl::InternalError("x"), collector), "");
  // The collector answered: it need not be looked for.
  EXPECT_EQ(hint(absl::UnavailableError("no node is connected"), collector), "");
}

TEST(NextStep_WhereTlsIsTheCause, SaysSo) {
  using ::testing::HasSubstr;
  using ::testing::Not;
  const struct {
    const char* last;
    bool tls;
    const char* says;
    const char* next;
  } cases[] = {
      // gRPC's words, of a collector with TLS and one without.
      {"UNAVAILABLE: ipv4:127.0.0.2:1: Socket closed", false, "ends the connection", "want TLS"},
      {"UNAVAILABLE: ipv4:127.0.0.2:1: Socket closed", true, "ends the connection",
       "refuse your certificate"},
      {"UNKNOWN: Tls handshake failed: SSL_ERROR_SSL: error:0A000086:SSL routines::certificate "
       "verify failed",
       true, "not of the authority", "ca.pem"},
      {"UNKNOWN: Tls handshake failed: SSL_ERROR_SSL: error:0A00010B:SSL routines::wrong version "
       "number",
       true, "does not speak TLS", "without certificates"},
      {"UNKNOWN: Tls handshake failed: SSL_ERROR_SYSCALL", true, "no TLS comes about", "ca.pem"},
      {"who answers is no collector but node a", true, "no collector's certificate", "ca.pem"},
  };
  for (const auto& test : cases) {
    const absl::Status status =
        Plain(absl::UnavailableError(
                  absl::StrCat("failed to connect to all addresses; last error: ", test.last)),
              "127.0.0.2:1");
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.says)) << test.last;
    const std::string next = NextStep(status, {"127.0.0.2:1", false, test.tls});
    EXPECT_THAT(next, HasSubstr(test.next)) << test.last;
    EXPECT_THAT(next, Not(HasSubstr("running"))) << test.last;
    EXPECT_TRUE(IsUnreached(status));
  }
}

// Of these alone may be said that nothing was done.
TEST(IsUnreached, OnlyWhoWasNeverConnectedTo) {
  EXPECT_TRUE(IsUnreached(
      Plain(absl::UnavailableError("failed to connect to all addresses; last error: x"), "p")));
  EXPECT_FALSE(IsUnreached(Plain(absl::UnavailableError("Socket closed"), "p")));
  EXPECT_FALSE(IsUnreached(Plain(absl::UnavailableError("no node is connected"), "p")));
  EXPECT_FALSE(IsUnreached(absl::OkStatus()));
}

TEST(Plain_OfADeadInjectorBehindACollector, KeepsTheNode) {
  const absl::Status plain = Plain(
      absl::UnavailableError("web-1: the injector does not answer at unix:/run/a.sock: failed to "
                             "connect to all addresses; last error: UNKNOWN: unix:/run/a.sock: "
                             "Connection refused"),
      "127.0.0.1:4640");
  EXPECT_EQ(plain.message(),
            "web-1: the injector does not answer at unix:/run/a.sock: connection refused");
  EXPECT_THAT(NextStep(plain, {"127.0.0.1:4640", false}),
              ::testing::HasSubstr("faultline-injector running on that node"));
}

TEST(FromServer_Cancelled, IsNeverTheUsersCtrlC) {
  const auto code = [](const char* why) {
    return ExitCodeOf(FromServer(grpc::Status(grpc::StatusCode::CANCELLED, why)));
  };
  EXPECT_EQ(code("CANCELLED"), 3);
  EXPECT_EQ(code(""), 3);
  EXPECT_EQ(code("Cancelling all calls"), 3);
  EXPECT_EQ(Plain(absl::UnavailableError("Cancelling all calls"), "unix:/x").message(),
            "the connection to unix:/x broke off");
  EXPECT_EQ(code("web-1: the fault was stopped before it was begun"), 1);
  EXPECT_TRUE(FromServer(grpc::Status::OK).ok());
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

TEST(Outcome_OfAFaultThatEnded, DependsOnWhenAndHow) {
  v1::FaultState fault;
  fault.set_phase(v1::PHASE_UNDONE);
  fault.set_deadline_boottime_ns(30'000'000'000);
  fault.mutable_edges()->mutable_undone()->set_boottime_ns(30'000'100'000);
  // Also with a reason: the dose may be a lower bound.
  fault.set_reason("its dose is a lower bound");
  EXPECT_EQ(ExitCodeOf(Outcome(fault, false)), 0);
  fault.mutable_edges()->mutable_undone()->set_boottime_ns(10'000'000'000);
  fault.set_reason("halted: enough");
  const absl::Status early = Outcome(fault, false);
  EXPECT_EQ(ExitCodeOf(early), 1);
  EXPECT_EQ(early.message(), "the fault ended 20 s before its deadline: halted: enough");
  EXPECT_EQ(ExitCodeOf(Outcome(fault, true)), 130);
  fault.add_residue("x");
  EXPECT_EQ(ExitCodeOf(Outcome(fault, true)), 1);
  v1::FaultState running;
  running.set_phase(v1::PHASE_VERIFIED);
  running.set_deadline_boottime_ns(30'000'000'000);
  EXPECT_TRUE(Outcome(running, false).ok());
  running.set_phase(v1::PHASE_REFUSED);
  EXPECT_EQ(ExitCodeOf(Outcome(running, false)), 5);
}

}  // namespace
}  // namespace faultline::cli
