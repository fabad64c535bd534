// SPDX-License-Identifier: Apache-2.0
#include "collector/cannot_listen.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace faultline {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

// The kernel's word on the address; 0: it has nothing against it.
int BindErrno(const addrinfo& address) {
  const int fd = ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool bound = ::bind(fd, address.ai_addr, address.ai_addrlen) == 0 && ::listen(fd, 1) == 0;
  const int error = bound ? 0 : errno;
  ::close(fd);
  return error;
}

std::string WhyNot(const std::string& listen) {
  const auto colon = listen.rfind(':');
  absl::string_view host = absl::string_view(listen).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  const std::string name(host);
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(name.c_str(), listen.substr(colon + 1).c_str(), &wanted, &found);
  const std::unique_ptr<addrinfo, FreeAddresses> list(found);
  if (code != 0) return absl::StrCat(name, " leads to no address (yet): ", ::gai_strerror(code));
  switch (const int error = BindErrno(*list); error) {
    case EADDRNOTAVAIL:
      return absl::StrCat(
          "no interface of this host has the address ", name,
          " (yet): `ip -br address` shows those that are there; as a service it is tried again");
    case EADDRINUSE:
      return "another program, perhaps another faultline-collector, has the address (`ss -ltnp` "
             "shows which); choose another with --listen, e.g. --listen 127.0.0.1:0";
    case EACCES:
      return "it is none that this user may take, as ports below 1024 are; choose another with "
             "--listen";
    case 0:
      return "another program had the address a moment ago, and it is free now: start again, or "
             "choose another with --listen";
    default:
      return std::string(ErrnoStatus(error, "bind").message());
  }
}

}  // namespace

absl::Status CannotListen(const std::string& listen) {
  return absl::UnavailableError(absl::StrCat(
      "cannot listen on ", listen, ": ",
      absl::StartsWith(listen, "unix:")
          ? "the folder of the socket must exist, be writable for this user, and the path have at "
            "most 107 bytes"
          : WhyNot(listen)));
}

}  // namespace faultline
