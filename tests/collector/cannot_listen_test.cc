// SPDX-License-Identifier: Apache-2.0
#include "collector/cannot_listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Why(const std::string& listen) {
  const absl::Status status = CannotListen(listen);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  return std::string(status.message());
}

// An address that comes late at boot is no other program's port.
TEST(CannotListen, TellsAnAddressThatIsNotThereFromOneThatIsTaken) {
  // Of RFC 5737 and RFC 3849: no host has them.
  for (const char* nowhere : {"192.0.2.1:4640", "[2001:db8::1]:4640"}) {
    EXPECT_THAT(Why(nowhere), Not(HasSubstr("another program"))) << nowhere;
  }
  EXPECT_THAT(Why("192.0.2.1:4640"), HasSubstr("no interface of this host has the address"));

  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_THAT(Why(absl::StrCat("127.0.0.1:", ntohs(address.sin_port))),
              HasSubstr("another program"));
  ::close(fd);
  // Gone before anybody could ask who has it.
  EXPECT_THAT(Why(absl::StrCat("127.0.0.1:", ntohs(address.sin_port))),
              HasSubstr("it is free now: start again"));

  EXPECT_THAT(Why("unix:/nowhere/x.sock"), HasSubstr("the folder of the socket must exist"));
}

}  // namespace
}  // namespace faultline
