// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <gtest/gtest.h>

namespace faultline {
namespace {

TEST(Address, IsHostAndPortOrASocket) {
  for (const char* good : {"127.0.0.1:4640", "collector.example:1", "edge_7-a:65535", "[::1]:4640",
                           "[fe80::1%eth0]:4640", "unix:/run/x.sock"}) {
    EXPECT_EQ(CheckDialAddress(good), "") << good;
    EXPECT_EQ(CheckListenAddress(good), "") << good;
  }
  for (const char* wrong : {"",
                            "10.0.0.1",
                            "10.0.0.1:",
                            "10.0.0.1:x",
                            "10.0.0.1:99999",
                            "10.0.0.1:65536",
                            "10.0.0.1:-1",
                            "10.0.0.1:+1",
                            "10.0.0.1: 1",
                            "10.0.0:1",
                            "10.0.0.256:1",
                            ":4640",
                            "::1:4640",
                            "[::1]",
                            "[::g]:1",
                            "http://10.0.0.1:4640",
                            "dns:///a:1",
                            "ipv4:10.0.0.1:1",
                            "a b:1",
                            "unix:",
                            "unix:x.sock",
                            "a:1\nb:2"}) {
    EXPECT_NE(CheckDialAddress(wrong), "") << wrong;
    EXPECT_NE(CheckListenAddress(wrong), "") << wrong;
  }
  EXPECT_NE(CheckDialAddress("unix:/" + std::string(107, 'x')), "");
}

TEST(Address, PortZeroIsOnlyListenedOn) {
  EXPECT_EQ(CheckListenAddress("127.0.0.1:0"), "");
  EXPECT_NE(CheckDialAddress("127.0.0.1:0"), "");
}

TEST(Address, OfAnInjectorIsASocket) {
  EXPECT_EQ(CheckInjectorAddress("unix:/run/faultline/agent.sock"), "");
  for (const char* wrong : {"", "/run/faultline/agent.sock", "127.0.0.1:1", "unix:agent.sock"}) {
    EXPECT_NE(CheckInjectorAddress(wrong), "") << wrong;
  }
}

TEST(NumericPeer, IsWrittenAsAddressesAre) {
  EXPECT_EQ(NumericPeer("ipv4:10.0.0.7:7443"), "10.0.0.7:7443");
  EXPECT_EQ(NumericPeer("ipv6:%5Bfd00::7%5D:7443"), "[fd00::7]:7443");
  EXPECT_EQ(NumericPeer("ipv6:[::1]:7443"), "[::1]:7443");
  EXPECT_EQ(NumericPeer("ipv6:%5Bfe80::1%25eth0%5D:7443"), "[fe80::1]:7443");
  EXPECT_EQ(NumericPeer("unix:/run/x"), "unix:/run/x");
  EXPECT_EQ(NumericPeer("inproc"), "");
}

}  // namespace
}  // namespace faultline
