// SPDX-License-Identifier: Apache-2.0
#include "cli/authority.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/credentials.h"
#include "cli/credential_folder.h"
#include "cli/options.h"

namespace faultline::cli {
namespace {

class TlsCommandTest : public testing::Test {
 protected:
  TlsCommandTest() {
    std::string name = (std::filesystem::temp_directory_path() / "faultline-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~TlsCommandTest() override {
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }

  static int Run(std::vector<const char*> words) {
    words.insert(words.begin(), "faultline");
    std::ostringstream out;
    std::ostringstream err;
    return Main(static_cast<int>(words.size()), words.data(), out, err, false, false);
  }
  static unsigned int ModeOf(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777U : 0;
  }
  static absl::StatusOr<OwnCertificate> Read(const std::string& folder, Role role) {
    TlsOptions tls;
    tls.folder = folder;
    return ReadOwnCertificate(tls, role);
  }

  std::string folder_;
};

TEST_F(TlsCommandTest, InitMakesAnAuthorityAndTheThreeKinds) {
  const std::string ca = folder_ + "/ca";
  ASSERT_EQ(Run({"tls", "init", ca.c_str()}), 0);
  EXPECT_EQ(ModeOf(ca), 0700u);
  EXPECT_EQ(ModeOf(ca + "/ca-key.pem"), 0600u);
  EXPECT_EQ(ModeOf(ca + "/collector-collector/key.pem"), 0600u);
  EXPECT_TRUE(Read(ca + "/collector-collector", Role::kCollector).ok());
  EXPECT_TRUE(Read(ca + "/operator-operator", Role::kOperator).ok());
  ASSERT_EQ(Run({"tls", "node", "edge-1", "--ca", ca.c_str()}), 0);
  const auto node = Read(ca + "/node-edge-1", Role::kNode);
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->peer.name, "edge-1");
  EXPECT_GT(node->end, absl::Now() + absl::Hours(24 * 364));
  // The authority's key is nobody else's.
  EXPECT_FALSE(std::filesystem::exists(ca + "/node-edge-1/ca-key.pem"));
}

TEST_F(TlsCommandTest, NoneOutlivesItsAuthority) {
  const std::string ca = folder_ + "/ca";
  ASSERT_EQ(Run({"tls", "init", ca.c_str(), "--days", "3650"}), 0);
  const auto node = Read(ca + "/operator-operator", Role::kOperator);
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_GT(node->end, absl::Now() + absl::Hours(24 * 3649));
}

TEST_F(TlsCommandTest, ReplacesOnlyWhenAsked) {
  const std::string ca = folder_ + "/ca";
  ASSERT_EQ(Run({"tls", "init", ca.c_str()}), 0);
  const auto authority = ReadSmallFile(ca + "/ca-key.pem");
  EXPECT_EQ(Run({"tls", "init", ca.c_str()}), 2);
  EXPECT_EQ(*ReadSmallFile(ca + "/ca-key.pem"), *authority);
  ASSERT_EQ(Run({"tls", "operator", "o", "--ca", ca.c_str()}), 0);
  const auto key = ReadSmallFile(ca + "/operator-o/key.pem");
  EXPECT_EQ(Run({"tls", "operator", "o", "--ca", ca.c_str()}), 2);
  EXPECT_EQ(*ReadSmallFile(ca + "/operator-o/key.pem"), *key);
  EXPECT_EQ(Run({"tls", "operator", "o", "--ca", ca.c_str(), "--renew"}), 0);
  EXPECT_NE(*ReadSmallFile(ca + "/operator-o/key.pem"), *key);
  EXPECT_TRUE(Read(ca + "/operator-o", Role::kOperator).ok());
  // Nothing half made is left.
  for (const auto& entry : std::filesystem::directory_iterator(ca)) {
    EXPECT_EQ(entry.path().extension().string().size() > 5, false) << entry.path();
  }
}

TEST_F(TlsCommandTest, RenewKeepsOwnersModesAndAuthorities) {
  const std::string ca = folder_ + "/ca";
  const std::string old = folder_ + "/old";
  const std::string out = folder_ + "/out";
  ASSERT_EQ(Run({"tls", "init", ca.c_str()}), 0);
  ASSERT_EQ(Run({"tls", "init", old.c_str()}), 0);
  ASSERT_EQ(Run({"tls", "node", "n", "--ca", old.c_str(), "--out", out.c_str()}), 0);
  const bool root = ::geteuid() == 0;
  // The service's user; another than root only where root runs this.
  const uid_t user = root ? 12'345 : ::geteuid();
  for (const std::string& path : {out, out + "/ca.pem", out + "/cert.pem", out + "/key.pem"}) {
    ASSERT_TRUE(!root || ::chown(path.c_str(), user, user) == 0);
  }
  ASSERT_EQ(::chmod(out.c_str(), 0750), 0);
  ASSERT_EQ(::chmod((out + "/key.pem").c_str(), 0640), 0);
  const std::string both =
      absl::StrCat(*ReadSmallFile(old + "/ca.pem"), *ReadSmallFile(ca + "/ca.pem"));
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(Run({"tls", "node", "n", "--ca", ca.c_str(), "--out", out.c_str(), "--renew"}), 0);
    EXPECT_EQ(*ReadSmallFile(out + "/ca.pem"), both);
  }
  EXPECT_TRUE(Read(out, Role::kNode).ok());
  EXPECT_EQ(ModeOf(out), 0750u);
  EXPECT_EQ(ModeOf(out + "/key.pem"), 0640u);
  for (const std::string& path : {out, out + "/ca.pem", out + "/cert.pem", out + "/key.pem"}) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, user) << path;
  }
}

TEST_F(TlsCommandTest, TakesFoldersWithASlashBehind) {
  const std::string ca = folder_ + "/ca/";
  const std::string out = folder_ + "/out//";
  ASSERT_EQ(Run({"tls", "init", ca.c_str()}), 0);
  ASSERT_EQ(Run({"tls", "node", "n", "--ca", ca.c_str(), "--out", out.c_str()}), 0);
  EXPECT_TRUE(Read(folder_ + "/out", Role::kNode).ok());
}

TEST_F(TlsCommandTest, RenewRefusesAFolderWithOtherFiles) {
  const std::string ca = folder_ + "/ca";
  ASSERT_EQ(Run({"tls", "init", ca.c_str()}), 0);
  const std::string key = *ReadSmallFile(ca + "/operator-operator/key.pem");
  std::ofstream(ca + "/operator-operator/notes") << "mine";
  EXPECT_EQ(Run({"tls", "operator", "operator", "--ca", ca.c_str(), "--renew"}), 5);
  EXPECT_EQ(*ReadSmallFile(ca + "/operator-operator/key.pem"), key);
  EXPECT_EQ(*ReadSmallFile(ca + "/operator-operator/notes"), "mine");
}

TEST_F(TlsCommandTest, RefusesNamesThatAreNone) {
  const std::string ca = folder_ + "/ca";
  ASSERT_EQ(Run({"tls", "init", ca.c_str()}), 0);
  for (const char* name : {"", "..", "a/b", "a,DNS:evil", "a b"}) {
    EXPECT_EQ(Run({"tls", "node", name, "--ca", ca.c_str()}), 2) << name;
  }
  const std::string nowhere = folder_ + "/nowhere";
  EXPECT_NE(Run({"tls", "node", "a", "--ca", nowhere.c_str()}), 0);
}

TEST(Authority, IssuesNothingThatOutlivesIt) {
  const absl::Time now = absl::Now();
  const auto authority = Authority::Make({now, now + absl::Hours(1)});
  ASSERT_TRUE(authority.ok());
  EXPECT_FALSE(authority->Issue({Role::kNode, "n"}, {now, now + absl::Hours(2)}).ok());
  EXPECT_FALSE(authority->Issue({Role::kNode, ""}, {now, now + absl::Minutes(2)}).ok());
  const auto own = authority->Pem();
  ASSERT_TRUE(own.ok());
  EXPECT_TRUE(Authority::Read(*own).ok());
  const auto node = authority->Issue({Role::kNode, "n"}, {now, now + absl::Minutes(2)});
  ASSERT_TRUE(node.ok());
  EXPECT_FALSE(Authority::Read({own->certificate, node->key}).ok());
}

}  // namespace
}  // namespace faultline::cli
