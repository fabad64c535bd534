// SPDX-License-Identifier: Apache-2.0
#include "base/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace faultline {
namespace {

TEST(StaysOnHost, OnlyWhatIsWrittenAsLoopback) {
  for (const char* here :
       {"127.0.0.1:4640", "127.9.8.7:0", "localhost:1", "[::1]:4640", "unix:/run/x.sock"}) {
    EXPECT_TRUE(StaysOnHost(here)) << here;
    EXPECT_FALSE(NeedsTls(here, TlsOptions())) << here;
  }
  for (const char* away :
       {"0.0.0.0:4640", "[::]:4640", "10.0.0.1:1", "example.org:4640", "127.0.0.1.example.org:1",
        ":4640", "127.evil:1", "dns:///localhost:1", "ipv4:127.0.0.1:1", "", "[::ffff:127.0.0.1]:1",
        "localhost.example.org:1"}) {
    EXPECT_FALSE(StaysOnHost(away)) << away;
    EXPECT_TRUE(NeedsTls(away, TlsOptions())) << away;
  }
}

TEST(NeedsTls, EverywhereButOnUnixSocketsWhenAFolderIsNamed) {
  TlsOptions named;
  named.folder = "/somewhere";
  EXPECT_TRUE(NeedsTls("127.0.0.1:4640", named));
  EXPECT_TRUE(NeedsTls("example.org:4640", named));
  EXPECT_FALSE(NeedsTls("unix:/run/x.sock", named));
}

TEST(Credentials, AreRefusedWithWhatToDoIfThereAreNone) {
  TlsOptions tls;
  tls.folder = "/nonexistent/tls";
  const auto dial = DialCredentials("192.0.2.1:4640", tls, Role::kOperator);
  const auto listen = ListenCredentials("0.0.0.0:4640", tls);
  for (const absl::Status& status : {dial.status(), listen.status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("/nonexistent/tls/cert.pem"));
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("faultline tls init"));
  }
  EXPECT_TRUE(DialCredentials("127.0.0.1:4640", TlsOptions(), Role::kOperator).ok());
}

TEST(CheckTime, SaysHowToRenewWhatExpired) {
  const OwnCertificate own{
      {Role::kNode, "n1"}, absl::FromUnixSeconds(1000), absl::FromUnixSeconds(2000)};
  EXPECT_TRUE(CheckTime(own, absl::FromUnixSeconds(1500)).ok());
  const absl::Status expired = CheckTime(own, absl::FromUnixSeconds(2001));
  EXPECT_EQ(expired.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(expired.message()),
              testing::HasSubstr("; `faultline tls node n1 --ca DIR --renew` makes a new one"));
  const absl::Status early = CheckTime(own, absl::FromUnixSeconds(999));
  EXPECT_THAT(std::string(early.message()), testing::Not(testing::HasSubstr("--renew")));
}

}  // namespace
}  // namespace faultline
