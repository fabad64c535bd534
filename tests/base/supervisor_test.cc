// SPDX-License-Identifier: Apache-2.0
#include "base/supervisor.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"

namespace faultline {
namespace {

// systemd's end, at an abstract address, which leaves no file.
class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorTest() : address_("@faultline-test-" + std::to_string(::getpid())) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    address_.copy(address.sun_path, address_.size());
    address.sun_path[0] = '\0';
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bound_ = ::bind(socket_, reinterpret_cast<const sockaddr*>(&address),
                    static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size())) == 0;
  }
  ~SupervisorTest() override { ::close(socket_); }

  std::vector<std::string> Heard() {
    std::vector<std::string> words;
    std::array<char, 256> buffer{};
    while (true) {
      const ssize_t size = ::recv(socket_, buffer.data(), buffer.size(), 0);
      if (size < 0) return words;
      words.emplace_back(buffer.data(), static_cast<size_t>(size));
    }
  }

  const std::string address_;
  int socket_;
  bool bound_;
};

using Words = std::vector<std::string>;

TEST_F(SupervisorTest, TellsReadyAndStopping) {
  ASSERT_TRUE(bound_);
  Supervisor supervisor(address_, 0);
  supervisor.Ready("106 metrics");
  supervisor.Alive(1);
  supervisor.Stopping();
  EXPECT_EQ(Heard(), (Words{"READY=1\nSTATUS=106 metrics", "STOPPING=1"}));
}

TEST_F(SupervisorTest, AliveIsToldFourTimesPerWatchdogAtMost) {
  ASSERT_TRUE(bound_);
  Supervisor supervisor(address_, 4 * kNsPerSecond);
  for (std::int64_t ns = 1; ns < 3 * kNsPerSecond; ns += kNsPerSecond / 10) supervisor.Alive(ns);
  EXPECT_EQ(Heard(), Words(3, "WATCHDOG=1"));
}

TEST_F(SupervisorTest, WatchdogIsRaisedForRareWork_NeverLowered) {
  ASSERT_TRUE(bound_);
  Supervisor supervisor(address_, 30 * kNsPerSecond);
  supervisor.ExpectEvery(kNsPerSecond);
  supervisor.ExpectEvery(60 * kNsPerSecond);
  EXPECT_EQ(Heard(), Words{"WATCHDOG_USEC=180000000"});
}

TEST_F(SupervisorTest, EnvironmentIsTaken_WatchdogOfAnotherProcessIsNot) {
  ASSERT_TRUE(bound_);
  ::setenv("NOTIFY_SOCKET", address_.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "1000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  Supervisor supervisor = Supervisor::FromEnvironment();
  EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr);
  supervisor.Alive(1);
  supervisor.Ready("");
  EXPECT_EQ(Heard(), Words{"READY=1\nSTATUS="});
}

TEST_F(SupervisorTest, NobodyIsToldNothing) {
  Supervisor supervisor("", kNsPerSecond);
  supervisor.Ready("");
  EXPECT_EQ(supervisor.alive_every_ns(), 0);
}

}  // namespace
}  // namespace faultline
