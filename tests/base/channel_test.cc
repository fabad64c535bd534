// SPDX-License-Identifier: Apache-2.0
#include "base/channel.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

TEST(OpenChannel, GoesToItsAddress_WhateverProxyTheEnvironmentNames) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof own;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&own), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&own), &size), 0);
  // Nobody listens on port 1.
  ASSERT_EQ(::setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
  const auto channel = OpenChannel(absl::StrCat("127.0.0.1:", ntohs(own.sin_port)),
                                   grpc::InsecureChannelCredentials());
  (void)channel->GetState(/*try_to_connect=*/true);
  pollfd connection{listener, POLLIN, 0};
  EXPECT_EQ(::poll(&connection, 1, 10'000), 1);
  ::unsetenv("http_proxy");
  ::close(listener);
}

}  // namespace
}  // namespace faultline
