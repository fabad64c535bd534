// SPDX-License-Identifier: Apache-2.0
//
// A collector that listens with TLS on loopback, and callers with right, wrong, expired and no
// certificates. Every key is made here and goes with the test.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "agent/uplink/uplink.h"
#include "base/certificate_watch.h"
#include "base/credentials.h"
#include "base/log.h"
#include "cli/authority.h"
#include "cli/credential_folder.h"
#include "collector/collector.h"
#include "faultline/v1/datasets.grpc.pb.h"
#include "tests/collector/batch_builder.h"
#include "tests/collector/fake_node.h"

namespace faultline {
namespace {

using cli::Authority;
using cli::Credential;
using cli::Validity;
using grpc::StatusCode;

const std::string kTransportEpoch = "epoch-0123456789";

Validity Valid() { return {absl::Now() - absl::Hours(1), absl::Now() + absl::Hours(1)}; }
Validity Expired() { return {absl::Now() - absl::Hours(2), absl::Now() - absl::Hours(1)}; }

Authority NewAuthority() {
  auto authority = Authority::Make({absl::Now() - absl::Hours(3), absl::Now() + absl::Hours(9)});
  EXPECT_TRUE(authority.ok()) << authority.status();
  return *std::move(authority);
}

class TransportTest : public testing::Test {
 protected:
  void SetUp() override {
    KeepGrpcQuiet();
    Write("collector", {Role::kCollector, "c"}, authority_);
    CollectorOptions options;
    options.listen = "127.0.0.1:0";
    options.state_dir = dir_.path() + "/state";
    options.tls = Tls("collector");
    auto collector = Collector::Start(options, &Clock::System());
    ASSERT_TRUE(collector.ok()) << collector.status();
    collector_ = std::move(*collector);
  }

  TlsOptions Tls(const std::string& name) const {
    TlsOptions tls;
    tls.folder = dir_.path() + "/" + name;
    tls.refresh_s = 1;
    return tls;
  }

  Credential Issue(const Authority& authority, const Peer& peer, const Validity& validity) const {
    auto made = authority.Issue(peer, validity);
    EXPECT_TRUE(made.ok()) << made.status();
    return *made;
  }

  void Write(const std::string& name, const Peer& peer, const Authority& authority,
             const Validity& validity = Valid()) const {
    const Credential own = Issue(authority, peer, validity);
    const auto written = cli::WriteCredentialFolder(dir_.path() + "/" + name,
                                                    {{"ca.pem", authority.Pem()->certificate},
                                                     {"cert.pem", own.certificate},
                                                     {"key.pem", own.key}},
                                                    /*replace=*/true);
    ASSERT_TRUE(written.ok()) << written;
  }

  // As the programs dial.
  std::shared_ptr<grpc::Channel> Dial(const std::string& name, Role role) {
    auto credentials = DialCredentials(collector_->address(), Tls(name), role);
    EXPECT_TRUE(credentials.ok()) << credentials.status();
    return Channel(*credentials);
  }

  // As somebody dials who trusts the collector and looks at nothing of his own: whether he is let
  // in is the collector's decision alone. `own` null: he has no certificate.
  std::shared_ptr<grpc::Channel> DialUnchecked(const Credential* own) {
    std::vector<grpc::experimental::IdentityKeyCertPair> pairs;
    if (own != nullptr) pairs.push_back({own->key, own->certificate});
    grpc::experimental::TlsChannelCredentialsOptions options;
    options.set_certificate_provider(
        std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
            authority_.Pem()->certificate, pairs));
    options.watch_root_certs();
    if (own != nullptr) options.watch_identity_key_cert_pairs();
    options.set_certificate_verifier(
        std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
    options.set_check_call_host(false);
    return Channel(grpc::experimental::TlsCredentials(options));
  }

  std::shared_ptr<grpc::Channel> Channel(const std::shared_ptr<grpc::ChannelCredentials>& with) {
    grpc::ChannelArguments own;
    // Channels of equal arguments share connections, and each of ours is to make its own.
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(collector_->address(), with, own);
  }

  static grpc::Status ListRuns(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ListRunsResponse runs;
    return v1::Runs::NewStub(channel)->ListRuns(&context, {}, &runs);
  }

  static grpc::Status Halt(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::HaltResponse response;
    return v1::Faults::NewStub(channel)->Halt(&context, {}, &response);
  }

  TempDir dir_;
  const Authority authority_ = NewAuthority();
  std::unique_ptr<Collector> collector_;
};

TEST_F(TransportTest, LetsAnOperatorIn) {
  Write("operator", {Role::kOperator, "o"}, authority_);
  const auto channel = Dial("operator", Role::kOperator);
  EXPECT_TRUE(ListRuns(channel).ok()) << ListRuns(channel).error_message();
  EXPECT_TRUE(Halt(channel).ok()) << Halt(channel).error_message();
  // An operator delivers nothing.
  FakeNode node(channel);
  EXPECT_EQ(node.Finish().error_code(), StatusCode::PERMISSION_DENIED);
}

TEST_F(TransportTest, TakesSamplesOfTheNodeThatTheCertificateNames) {
  Write("node", {Role::kNode, "n1"}, authority_);
  const auto channel = Dial("node", Role::kNode);
  {
    FakeNode node(channel);
    EXPECT_EQ(node.Hello(TestHello("n1", kTransportEpoch)), 0u);
  }
  FakeNode other(channel);
  v1::NodeMessage hello;
  *hello.mutable_hello() = TestHello("n2", kTransportEpoch);
  other.Write(hello);
  const grpc::Status refused = other.Finish();
  EXPECT_EQ(refused.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(refused.error_message(), testing::HasSubstr("node n2 came with"));
}

TEST_F(TransportTest, RefusesANodesCertificateForWhatOperatorsDo) {
  Write("node", {Role::kNode, "n1"}, authority_);
  const auto channel = Dial("node", Role::kNode);
  for (const grpc::Status& status : {Halt(channel), ListRuns(channel)}) {
    EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
    EXPECT_THAT(status.error_message(), testing::HasSubstr("needs an operator's certificate"));
  }
}

TEST_F(TransportTest, CommandsAndDenialsAreLoggedWithTheirCaller) {
  Write("node", {Role::kNode, "n1"}, authority_);
  Write("operator", {Role::kOperator, "o"}, authority_);
  testing::internal::CaptureStderr();
  EXPECT_TRUE(Halt(Dial("operator", Role::kOperator)).ok());
  EXPECT_TRUE(ListRuns(Dial("operator", Role::kOperator)).ok());
  const auto thief = Dial("node", Role::kNode);
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(Halt(thief).ok());
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::HasSubstr("operator o calls /faultline.v1.Faults/Halt\n"));
  EXPECT_THAT(log, testing::Not(testing::HasSubstr("ListRuns")));
  EXPECT_THAT(log, testing::HasSubstr("denied: /faultline.v1.Faults/Halt needs an operator's "
                                      "certificate; this one is of node n1"));
  // Who calls again and again fills no log.
  const std::vector<std::string> lines = absl::StrSplit(log, '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), 11u);
}

TEST_F(TransportTest, RefusesWrongExpiredAndMissingCertificates) {
  const Peer peer{Role::kOperator, "o"};
  const Credential good = Issue(authority_, peer, Valid());
  ASSERT_TRUE(ListRuns(DialUnchecked(&good)).ok());
  const Credential wrong = Issue(NewAuthority(), peer, Valid());
  const Credential expired = Issue(authority_, peer, Expired());
  EXPECT_EQ(ListRuns(DialUnchecked(&wrong)).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(ListRuns(DialUnchecked(&expired)).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(ListRuns(DialUnchecked(nullptr)).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(ListRuns(Channel(grpc::InsecureChannelCredentials())).error_code(),
            StatusCode::UNAVAILABLE);
}

TEST_F(TransportTest, TrustsNoCollectorOfAnotherAuthority) {
  Write("operator", {Role::kOperator, "o"}, NewAuthority());
  const grpc::Status status = ListRuns(Dial("operator", Role::kOperator));
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("certificate verify failed"));
}

TEST_F(TransportTest, UplinkDeliversOverTls) {
  Write("node", {Role::kNode, "n1"}, authority_);
  auto credentials = DialCredentials(collector_->address(), Tls("node"), Role::kNode);
  ASSERT_TRUE(credentials.ok());
  Outbox outbox(kTransportEpoch, 1 << 20);
  const Uplink uplink(
      collector_->address(), TestHello("n1", kTransportEpoch), &outbox,
      [](const v1::Command&) { return v1::CommandResult(); }, *credentials);
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (collector_->fleet().Find("n1") == nullptr && absl::Now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_NE(collector_->fleet().Find("n1"), nullptr);
}

// The collector's authority is replaced; it runs on, and callers of the new one are let in.
TEST_F(TransportTest, TakesANewCertificateWithoutRestart) {
  const Authority next = NewAuthority();
  Write("next", {Role::kOperator, "o"}, next);
  Write("old", {Role::kOperator, "o"}, authority_);
  EXPECT_FALSE(ListRuns(Dial("next", Role::kOperator)).ok());
  Write("collector", {Role::kCollector, "c"}, next);
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  grpc::Status status;
  do {
    status = ListRuns(Dial("next", Role::kOperator));
  } while (!status.ok() && absl::Now() < deadline);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(ListRuns(Dial("old", Role::kOperator)).ok());
  // The caller's side: a channel that was of the old authority.
  const auto channel = Dial("old", Role::kOperator);
  Write("old", {Role::kOperator, "o"}, next);
  do {
    status = ListRuns(channel);
  } while (!status.ok() && absl::Now() < deadline + absl::Seconds(20));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(TransportTest, OwnFolderIsReadBeforeItIsUsed) {
  const Peer peer{Role::kOperator, "o"};
  Write("operator", peer, authority_);
  const auto own = ReadOwnCertificate(Tls("operator"), Role::kOperator);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->peer, peer);
  EXPECT_TRUE(CheckTime(*own, absl::Now()).ok());
  EXPECT_FALSE(CheckTime(*own, absl::Now() + absl::Hours(2)).ok());
  EXPECT_FALSE(CheckTime(*own, absl::Now() - absl::Hours(2)).ok());
  // Of another role.
  EXPECT_FALSE(ReadOwnCertificate(Tls("operator"), Role::kNode).ok());
  // An expired one is read, and its time told.
  Write("expired", peer, authority_, Expired());
  const auto expired = ReadOwnCertificate(Tls("expired"), Role::kOperator);
  ASSERT_TRUE(expired.ok()) << expired.status();
  EXPECT_FALSE(CheckTime(*expired, absl::Now()).ok());
  // A key that everybody can read.
  const std::string key = dir_.path() + "/operator/key.pem";
  ASSERT_EQ(::chmod(key.c_str(), 0644), 0);
  EXPECT_THAT(std::string(ReadOwnCertificate(Tls("operator"), Role::kOperator).status().message()),
              testing::HasSubstr("open to everybody"));
  // Pieces that do not belong together.
  const Credential one = Issue(authority_, peer, Valid());
  const Credential two = Issue(authority_, peer, Valid());
  const std::string ca = authority_.Pem()->certificate;
  const std::string foreign = NewAuthority().Pem()->certificate;
  ASSERT_TRUE(cli::WriteCredentialFolder(
                  dir_.path() + "/mixed",
                  {{"ca.pem", ca}, {"cert.pem", one.certificate}, {"key.pem", two.key}}, false)
                  .ok());
  EXPECT_THAT(std::string(ReadOwnCertificate(Tls("mixed"), Role::kOperator).status().message()),
              testing::HasSubstr("is not the key of"));
  ASSERT_TRUE(cli::WriteCredentialFolder(
                  dir_.path() + "/foreign",
                  {{"ca.pem", foreign}, {"cert.pem", one.certificate}, {"key.pem", one.key}}, false)
                  .ok());
  EXPECT_THAT(std::string(ReadOwnCertificate(Tls("foreign"), Role::kOperator).status().message()),
              testing::HasSubstr("is not of the authority"));
}

// Once per state, whatever the number of looks.
TEST_F(TransportTest, CertificateWatchTellsTheEndBeforeAndAfterIt) {
  const auto lasting =
      Authority::Make({absl::Now() - absl::Hours(3), absl::Now() + absl::Hours(24 * 90)});
  ASSERT_TRUE(lasting.ok()) << lasting.status();
  Write("node", {Role::kNode, "n1"}, *lasting,
        {absl::Now() - absl::Hours(1), absl::Now() + absl::Hours(24 * 20)});
  testing::internal::CaptureStderr();
  {
    CertificateWatch watch(Tls("node"), Role::kNode, "nobody answers");
    watch.Look(absl::Now() + absl::Hours(24 * 5));
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  {
    CertificateWatch watch(Tls("node"), Role::kNode, "nobody answers");
    for (const int day : {7, 8, 19, 21, 22}) watch.Look(absl::Now() + absl::Hours(24 * day));
    Write("node", {Role::kNode, "n1"}, *lasting,
          {absl::Now() - absl::Hours(1), absl::Now() + absl::Hours(24 * 40)});
    watch.Look(absl::Now() + absl::Hours(24 * 22));
    watch.Look(absl::Now() + absl::Hours(24 * 30));
  }
  const std::vector<std::string> lines =
      absl::StrSplit(testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], testing::HasSubstr("`faultline tls node n1 --ca DIR --renew`"));
  EXPECT_THAT(lines[1], testing::HasSubstr("expired on"));
  EXPECT_THAT(lines[2], testing::HasSubstr("ends on"));
}

TEST(Transport, CollectorRefusesToListenOffLoopbackWithoutCertificates) {
  const TempDir dir;
  CollectorOptions options;
  options.listen = "0.0.0.0:0";
  options.state_dir = dir.path() + "/state";
  options.tls.folder = dir.path() + "/nothing";
  const auto collector = Collector::Start(options, &Clock::System());
  EXPECT_EQ(collector.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(collector.status().message()), testing::HasSubstr("faultline tls init"));
}

}  // namespace
}  // namespace faultline
