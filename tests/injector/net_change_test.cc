// SPDX-License-Identifier: Apache-2.0
//
// What is read back from the journal: a change that is not one of ours is refused, one of an
// earlier boot is over.
#include <gtest/gtest.h>

#include "injector/host/net.h"
#include "injector/host/netlink.h"
#include "injector/host/real_net.h"

namespace faultline {
namespace {

NetKernel Net() {
  static RealNet net;
  return net.Get();
}

v1::Change Change(const char* kind, const char* object, const char* attribute, const char* after) {
  v1::Change change;
  change.set_kind(kind);
  change.set_object(object);
  change.set_attribute(attribute);
  change.set_after(after);
  return change;
}

TEST(RecoverNet, Refuses_WhatItDidNotWrite) {
  const v1::Change cases[] = {
      Change("cgroup_value", "/web", "cpu.max", "1 2"),
      Change("link", "/web", "cgroup_skb/ingress loss", ""),
      Change("link", "/web", "cgroup_skb/ingress loss", "program=x name=loss_in boot=1"),
      Change("link", "/web", "cgroup_skb/ingress loss", "program=1 name=loss_in"),
      Change("link", "/web", "xdp loss", "program=1 name=loss_in boot=1"),
      Change("net_class", "eth0", "", "htb rate 8000 bit/s"),
      Change("net_class", "eth0", "f100:", "htb rate 8000 bit/s"),
      // Of the plane itself, and of somebody else's tree.
      Change("net_class", "eth0", "f100:fe", "htb rate 8000 bit/s"),
      Change("net_class", "eth0", "1:100", "htb rate 8000 bit/s"),
      Change("net_class", "eth0", "1f100:100", "htb rate 8000 bit/s"),
      Change("net_class", "eth0", "f100:100", "htb rate"),
      Change("net_class", "eth0", "f100:100", "htb rate 0 bit/s"),
  };
  for (const v1::Change& change : cases) {
    EXPECT_EQ(RecoverNet(Net(), change).status().code(), absl::StatusCode::kInvalidArgument)
        << change.ShortDebugString();
  }
  v1::Change newer = Change("disk_delay", "/dev/sda", "delay", "10ms");
  newer.set_before("0");
  EXPECT_EQ(RecoverNet(Net(), newer).status().message(),
            "this version does not know the lever \"disk_delay\", which set delay of /dev/sda from "
            "\"0\" to \"10ms\"");
}

TEST(RecoverNet, EarlierBoot_IsOver) {
  const v1::Change change = Change("link", "/faultline-test-none", "cgroup_skb/ingress loss",
                                   "program=1 name=loss_in boot=of-another-time");
  LeverOr lever = RecoverNet(Net(), change);
  ASSERT_EQ(lever.status(), absl::OkStatus());
  EXPECT_EQ((*lever)->Residue(), absl::OkStatus());
  EXPECT_EQ((*lever)->Restore(), absl::OkStatus());
  EXPECT_EQ((*lever)->Restore(), absl::OkStatus());
  EXPECT_EQ((*lever)->Apply().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*lever)->change().object(), change.object());
  // Nothing is known of it, which is not zero.
  EXPECT_TRUE((*lever)->Measure().dose.empty());
  EXPECT_NE((*lever)->Measure().missing, "");
  EXPECT_EQ((*lever)->OverBy(77).latest_ns, 77) << "the program stopped itself";
}

TEST(HtbTicks, AreTheTimeOfTheBurst) {
  // 1 MB at 1 MB/s is 1 s = 15,625,000 ticks of 64 ns.
  EXPECT_EQ(HtbTicks(1'000'000, 1'000'000), 15'625'000U);
  EXPECT_EQ(HtbTicks(3200, 1000), 50'000'000U);
  EXPECT_EQ(HtbTicks(1, 125'000'000'000), 1U);
  EXPECT_EQ(HtbTicks(1'000'000'000'000, 1), 0xffffffffU);
}

TEST(ClassName, IsWrittenAsTcDoes) {
  EXPECT_EQ(ClassName(0xf1000100), "f100:100");
  EXPECT_EQ(ClassName(0x00010000), "1:0");
}

}  // namespace
}  // namespace faultline
