// SPDX-License-Identifier: Apache-2.0
#include "injector/host/net_rule.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace faultline {
namespace {

v1::PeerFilter Peer(const std::string& cidr, std::uint32_t first = 0, std::uint32_t last = 0,
                    const std::string& protocol = "") {
  v1::PeerFilter peer;
  peer.set_cidr(cidr);
  peer.set_port_first(first);
  peer.set_port_last(last);
  peer.set_protocol(protocol);
  return peer;
}

TEST(MakeFilters, Accepts_WhatPeopleWrite) {
  struct Case {
    v1::PeerFilter peer;
    int family;
    std::uint32_t address;
    std::vector<std::uint32_t> mask;
    int port_first;
    int port_last;
    int protocol;
  };
  const Case cases[] = {
      {Peer(""), 0, 0, {0, 0, 0, 0}, 0, 0, 0},
      {Peer("10.1.2.3"), 4, 0x0a010203, {0xffffffff, 0, 0, 0}, 0, 0, 0},
      {Peer("10.1.0.0/16"), 4, 0x0a010000, {0xffff0000, 0, 0, 0}, 0, 0, 0},
      {Peer("10.1.2.3/31"), 4, 0x0a010203, {0xfffffffe, 0, 0, 0}, 0, 0, 0},
      {Peer("0.0.0.0/0"), 4, 0, {0, 0, 0, 0}, 0, 0, 0},
      {Peer("fd00::1"), 6, 0xfd000000, {~0U, ~0U, ~0U, ~0U}, 0, 0, 0},
      {Peer("fd00::/8"), 6, 0xfd000000, {0xff000000, 0, 0, 0}, 0, 0, 0},
      {Peer("fd00::/36"), 6, 0xfd000000, {~0U, 0xf0000000, 0, 0}, 0, 0, 0},
      {Peer("::/0"), 6, 0, {0, 0, 0, 0}, 0, 0, 0},
      {Peer("", 80), 0, 0, {0, 0, 0, 0}, 80, 80, 0},
      {Peer("", 80, 90, "tcp"), 0, 0, {0, 0, 0, 0}, 80, 90, 6},
      {Peer("", 0, 0, "udp"), 0, 0, {0, 0, 0, 0}, 0, 0, 17},
      {Peer("", 0, 0, "icmp"), 0, 0, {0, 0, 0, 0}, 0, 0, 1},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.peer.ShortDebugString());
    const absl::StatusOr<fault_filters> made = MakeFilters({each.peer});
    ASSERT_EQ(made.status(), absl::OkStatus());
    EXPECT_EQ(made->filter_count, 1U);
    const fault_filter& filter = made->filters[0];
    EXPECT_EQ(filter.family, each.family);
    EXPECT_EQ(ntohl(filter.address[0]), each.address);
    for (size_t word = 0; word < 4; ++word) {
      EXPECT_EQ(ntohl(filter.mask[word]), each.mask[word]) << "word " << word;
    }
    EXPECT_EQ(filter.port_first, each.port_first);
    EXPECT_EQ(filter.port_last, each.port_last);
    EXPECT_EQ(filter.protocol, each.protocol);
  }
}

TEST(MakeFilters, Refuses_WhatMeansNothing) {
  const v1::PeerFilter cases[] = {
      Peer("10.1"),           Peer("10.1.2.3/33"), Peer("10.1.2.3/-1"),   Peer("10.1.2.3/"),
      Peer("fd00::/129"),     Peer("example.org"), Peer("", 0, 90),       Peer("", 90, 80),
      Peer("", 80, 65536),    Peer("", 70000),     Peer("", 0, 0, "TCP"), Peer("", 0, 0, "sctp"),
      Peer("", 8, 8, "icmp"),
  };
  for (const v1::PeerFilter& peer : cases) {
    SCOPED_TRACE(peer.ShortDebugString());
    const absl::StatusOr<fault_filters> made = MakeFilters({peer});
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(MakeFilters, Refuses_MoreFiltersThanTheProgramHolds) {
  std::vector<v1::PeerFilter> peers(FAULT_FILTERS);
  EXPECT_EQ(MakeFilters(peers).status(), absl::OkStatus());
  peers.emplace_back();
  EXPECT_EQ(MakeFilters(peers).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeFilters({})->filter_count, 0U);
}

TEST(FaultDraw, Bounds_AreNeverAndAlways) {
  for (std::uint64_t n = 0; n < 100'000; ++n) EXPECT_LT(fault_draw(7, n), 1'000'000U);
}

// Every probability and many seeds within four sigma, and one seed's streams unlike each other.
TEST(FaultDraw, IsFairAndItsStreamsAreIndependent) {
  constexpr int kDraws = 100'000;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    for (const std::uint32_t ppm : {1'000U, 50'000U, 500'000U, 999'000U}) {
      int first = 0;
      int both = 0;
      for (std::uint64_t n = 0; n < kDraws; ++n) {
        const bool lost = fault_draw(StreamSeed(seed, 0), n) < ppm;
        first += lost ? 1 : 0;
        both += lost && fault_draw(StreamSeed(seed, 1), n) < ppm ? 1 : 0;
      }
      const double p = ppm / 1e6;
      EXPECT_NEAR(first, kDraws * p, 4 * std::sqrt(kDraws * p * (1 - p)));
      EXPECT_NEAR(both, kDraws * p * p, 4 * std::sqrt(kDraws * p * p * (1 - p * p)) + 1);
    }
  }
}

TEST(MakeFilters, HoldsWhatIsExempt_BesideTheFilters) {
  v1::PeerFilter ssh;
  ssh.set_port_first(22);
  ssh.set_port_last(22);
  ssh.set_protocol("tcp");
  const std::vector<v1::PeerFilter> exempt(FAULT_EXEMPT, ssh);
  const absl::StatusOr<fault_filters> made = MakeFilters({}, exempt);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->filter_count, 0U);
  EXPECT_EQ(made->exempt_count, FAULT_EXEMPT + 0U);
  EXPECT_EQ(made->exempt[0].port_first, 22);
  EXPECT_EQ(made->exempt[FAULT_EXEMPT - 1].protocol, 6);
  const std::vector<v1::PeerFilter> more(FAULT_EXEMPT + 1, ssh);
  EXPECT_TRUE(absl::IsFailedPrecondition(MakeFilters({}, more).status()));
}

}  // namespace
}  // namespace faultline
