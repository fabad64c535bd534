// SPDX-License-Identifier: Apache-2.0
#include "cli/parse.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "proto/peer_text.h"
#include "proto/words.h"

namespace faultline::cli {
namespace {

TEST(ParseTarget_RightText, ComesBackTheSame) {
  for (const char* text : {"cgroup:/web", "cgroup:/a/b.slice", "unit:nginx.service",
                           "unit:user.slice", "pid:4711", "dev:eth0", "host"}) {
    const absl::StatusOr<v1::Target> target = ParseTarget(text);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(TargetText(*target), text);
  }
}

TEST(ParseTarget_UnitWithoutSuffix, IsAService) {
  EXPECT_EQ(ParseTarget("unit:nginx")->unit(), "nginx.service");
}

TEST(ParseTarget_WrongText, IsRefusedWithTheText) {
  for (const char* text :
       {"", "web", "cgroup:", "cgroup:web", "cgroup:/a/../b", "cgroup:/a//b",
        "unit:", "pid:", "pid:0", "pid:-3", "pid:12x", "dev:", "hosts", "interface:eth0"}) {
    const absl::StatusOr<v1::Target> target = ParseTarget(text);
    EXPECT_TRUE(absl::IsInvalidArgument(target.status())) << text;
  }
}

TEST(ParseRunTarget_Table, HasItsNodeInFrontOrFromTheOption) {
  struct Case {
    const char* text;
    const char* node;
    const char* is_on;
    const char* target;
  };
  for (const Case& at : {Case{"unit:nginx", "", "", "unit:nginx.service"},
                         Case{"unit:nginx", "n1", "n1", "unit:nginx.service"},
                         Case{"n1/unit:nginx", "", "n1", "unit:nginx.service"},
                         Case{"n1/unit:nginx", "n1", "n1", "unit:nginx.service"},
                         Case{"cgroup:/a/b", "", "", "cgroup:/a/b"},
                         Case{"edge-1.x_y/cgroup:/a/b", "", "edge-1.x_y", "cgroup:/a/b"},
                         Case{"pid:7", "", "", "pid:7"}}) {
    const absl::StatusOr<v1::RunTarget> target = ParseRunTarget(at.text, at.node);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(target->node(), at.is_on) << at.text;
    EXPECT_EQ(TargetText(target->target()), at.target) << at.text;
  }
  for (const char* text : {"", "/unit:nginx", "n2/unit:nginx", "n1/", "n1/nginx", "nginx"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseRunTarget(text, "n1").status())) << text;
  }
}

TEST(ParseDuration_Table, YieldsNanoseconds) {
  EXPECT_EQ(*ParseDuration("30s"), 30 * kNsPerSecond);
  EXPECT_EQ(*ParseDuration("1m30s"), 90 * kNsPerSecond);
  EXPECT_EQ(*ParseDuration("250ms"), 250 * kNsPerMs);
  EXPECT_EQ(*ParseDuration("1.5h"), 5400 * kNsPerSecond);
  for (const char* text : {"", "30", "0s", "-3s", "s", "30 s", "inf", "1d"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseDuration(text).status())) << text;
  }
}

struct PeerCase {
  const char* text;
  const char* cidr;
  std::uint32_t first;
  std::uint32_t last;
  const char* protocol;
};

TEST(ParsePeer_Table, YieldsEveryField) {
  const PeerCase cases[] = {
      {"10.1.0.0/16", "10.1.0.0/16", 0, 0, ""},
      {"10.1.2.3", "10.1.2.3/32", 0, 0, ""},
      {"10.1.0.0/16:80", "10.1.0.0/16", 80, 80, ""},
      {"10.1.0.0/16:80-90/tcp", "10.1.0.0/16", 80, 90, "tcp"},
      {"10.1.2.3/udp", "10.1.2.3/32", 0, 0, "udp"},
      {":443", "", 443, 443, ""},
      {":443-65535/tcp", "", 443, 65535, "tcp"},
      {"2001:db8::/32", "2001:db8::/32", 0, 0, ""},
      {"::1", "::1/128", 0, 0, ""},
      {"[2001:db8::/32]:80-81/tcp", "2001:db8::/32", 80, 81, "tcp"},
      {"10.0.0.0/8/icmp", "10.0.0.0/8", 0, 0, "icmp"},
      {"/icmp", "", 0, 0, "icmp"},
  };
  for (const PeerCase& c : cases) {
    const absl::StatusOr<v1::PeerFilter> peer = ParsePeer(c.text);
    ASSERT_TRUE(peer.ok()) << peer.status();
    EXPECT_EQ(peer->cidr(), c.cidr) << c.text;
    EXPECT_EQ(peer->port_first(), c.first) << c.text;
    EXPECT_EQ(peer->port_last(), c.last) << c.text;
    EXPECT_EQ(peer->protocol(), c.protocol) << c.text;
    EXPECT_EQ(ParsePeer(PeerText(*peer))->SerializeAsString(), peer->SerializeAsString());
  }
}

TEST(ParsePeer_WrongText, IsRefused) {
  for (const char* text :
       {"", ":", "10.1.0.0/33", "10.1.0/16", "10.1.0.0/16:", "10.1.0.0/16:0", "10.1.0.0/16:90-80",
        "10.1.0.0/16:65536", "10.1.0.0/16:80/sctp", "web:80", "[2001:db8::/129]:80",
        "10.0.0.0/8:7/icmp", "[::1", "10.1.0.0/x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParsePeer(text).status())) << text;
  }
}

TEST(ParseParameter_Table, SplitsAtTheFirstSign) {
  EXPECT_EQ(*ParseParameter("loss=5%"), std::make_pair(std::string("loss"), std::string("5%")));
  EXPECT_EQ(ParseParameter("a=b=c")->second, "b=c");
  for (const char* text : {"", "loss", "=5", "loss="}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseParameter(text).status())) << text;
  }
}

}  // namespace
}  // namespace faultline::cli
