// SPDX-License-Identifier: Apache-2.0
#include "base/peer.h"

#include <gtest/gtest.h>

namespace faultline {
namespace {

TEST(Peer, IsWhatItsUriSays) {
  for (const Role role : {Role::kNode, Role::kOperator, Role::kCollector}) {
    for (const char* name : {"edge-1", "A_b.c", "x"}) {
      const Peer peer{role, name};
      const auto read = PeerOfUris({PeerUri(peer)});
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(*read, peer);
    }
  }
  EXPECT_EQ(PeerUri({Role::kNode, "edge-1"}), "spiffe://faultline/node/edge-1");
}

TEST(Peer, IsNobodyByAnythingElse) {
  const std::string good = "spiffe://faultline/node/a";
  const std::vector<std::vector<std::string>> cases = {
      {},
      {""},
      {good, good},
      {good, "spiffe://faultline/operator/a"},
      {"spiffe://faultline/root/a"},
      {"spiffe://faultline/node/"},
      {"spiffe://faultline/node/a/b"},
      {"spiffe://faultline/node/.."},
      {"spiffe://faultline/node/" + std::string(65, 'a')},
      {std::string("spiffe://faultline/node/a\0b", 27)},
      {"spiffe://Faultline/node/a"},
      {"spiffe://faultline.example/node/a"},
      {" " + good},
      {"https://faultline/node/a"},
      {"operator/a"},
  };
  for (const auto& uris : cases) {
    const auto peer = PeerOfUris(uris);
    EXPECT_TRUE(absl::IsUnauthenticated(peer.status())) << (uris.empty() ? "none" : uris[0]);
  }
}

}  // namespace
}  // namespace faultline
