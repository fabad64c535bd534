// SPDX-License-Identifier: Apache-2.0
//
// The demo's private network for real: two ends that reach each other, apart from everything else,
// and nothing left afterwards.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "cli/demo/network.h"
#include "cli/demo/witness.h"

namespace faultline::cli {
namespace {

sockaddr_in At(const std::string& address, std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &at.sin_addr);
  return at;
}

TEST(DemoNetwork_Pair, CarriesPacketsAndGoesAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "making a network namespace needs root";
  std::string device;
  {
    const absl::StatusOr<std::unique_ptr<DemoNetwork>> network = DemoNetwork::Create(::getpid());
    ASSERT_TRUE(network.ok()) << network.status();
    device = (*network)->device();
    EXPECT_NE(::if_nametoindex(device.c_str()), 0U);
    // A second one at the same time takes other addresses.
    const absl::StatusOr<std::unique_ptr<DemoNetwork>> second =
        DemoNetwork::Create(::getpid() + 100'000);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_NE((*second)->server_address(), (*network)->server_address());

    const int server = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in at = At((*network)->server_address(), 0);
    ASSERT_EQ(::bind(server, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
    socklen_t size = sizeof(at);
    ::getsockname(server, reinterpret_cast<sockaddr*>(&at), &size);
    const timeval bound{5, 0};
    ::setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
    std::jthread([&] {
      ASSERT_EQ(::setns((*network)->namespace_fd(), CLONE_NEWNET), 0);
      // The namespace has the pair's other end and the loopback device only.
      EXPECT_EQ(::if_nametoindex("eth0"), 0U);
      const int client = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      ::sendto(client, "ping", 4, 0, reinterpret_cast<sockaddr*>(&at), sizeof(at));
      ::close(client);
    }).join();
    char text[8] = {};
    EXPECT_EQ(::recv(server, text, sizeof(text), 0), 4);
    ::close(server);
  }
  EXPECT_EQ(::if_nametoindex(device.c_str()), 0U);
}

TEST(DemoWitness_Counters, AreReadFromTheKernel) {
  if (::geteuid() != 0) GTEST_SKIP() << "making a network namespace needs root";
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  ASSERT_TRUE(tree.ok()) << tree.status();
  const absl::StatusOr<std::unique_ptr<DemoNetwork>> network = DemoNetwork::Create(::getpid());
  ASSERT_TRUE(network.ok()) << network.status();
  absl::StatusOr<Witness> witness = Witness::Create(*tree, "/", (*network)->device(), 9);
  ASSERT_TRUE(witness.ok()) << witness.status();
  const absl::Status looked = witness->Look();
  // The root group of v2 has no memory.current; that must be told, not read as 0.
  if (tree->mode() == "v2") {
    EXPECT_TRUE(absl::IsNotFound(looked));
    return;
  }
  ASSERT_TRUE(looked.ok()) << looked;
  ASSERT_EQ(witness->samples().size(), 1U);
  EXPECT_GT(witness->samples()[0].memory_bytes, 0);
  EXPECT_EQ(witness->samples()[0].retransmits, 0);
}

}  // namespace
}  // namespace faultline::cli
