// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace faultline {
namespace {

constexpr absl::string_view kUnix = "unix:";
constexpr int kLastPort = 65535;

std::string Refusal(absl::string_view address, absl::string_view why) {
  return absl::StrCat("\"", address, "\": ", why);
}

// `address` begins with kUnix.
std::string CheckSocket(absl::string_view address) {
  const absl::string_view path = absl::StripPrefix(address, kUnix);
  if (!absl::StartsWith(path, "/")) return Refusal(address, "write unix:/PATH, from the root on");
  if (path.size() >= sizeof sockaddr_un{}.sun_path) {
    return Refusal(address, absl::StrCat("the path of a socket is shorter than ",
                                         sizeof sockaddr_un{}.sun_path, " bytes"));
  }
  return "";
}

bool IsHost(absl::string_view host) {
  if (host.empty()) return false;
  const auto name = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
  };
  const auto number = [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '.';
  };
  in_addr parsed{};
  if (std::all_of(host.begin(), host.end(), number)) {
    return ::inet_pton(AF_INET, std::string(host).c_str(), &parsed) == 1;
  }
  return std::all_of(host.begin(), host.end(), name);
}

// With its brackets; a zone may stand behind a %.
bool IsIpv6(absl::string_view host) {
  if (!absl::ConsumePrefix(&host, "[") || !absl::ConsumeSuffix(&host, "]")) return false;
  in6_addr parsed{};
  return ::inet_pton(AF_INET6, std::string(host.substr(0, host.find('%'))).c_str(), &parsed) == 1;
}

std::string Check(absl::string_view address, int first_port) {
  if (absl::StartsWith(address, kUnix)) return CheckSocket(address);
  const auto colon = address.rfind(':');
  const absl::string_view host = address.substr(0, colon);
  if (colon == absl::string_view::npos || (!IsHost(host) && !IsIpv6(host))) {
    return Refusal(address, "write HOST:PORT, [IPV6]:PORT or unix:/PATH");
  }
  const absl::string_view digits = address.substr(colon + 1);
  int port = -1;
  const bool number = std::all_of(digits.begin(), digits.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  if (!number || !absl::SimpleAtoi(digits, &port) || port < first_port || port > kLastPort) {
    return Refusal(address, absl::StrCat("the port is a number from ", first_port, " to 65535"));
  }
  return "";
}

}  // namespace

std::string CheckDialAddress(const std::string& address) { return Check(address, 1); }

std::string CheckListenAddress(const std::string& address) { return Check(address, 0); }

std::string CheckInjectorAddress(const std::string& address) {
  if (absl::StartsWith(address, kUnix)) return CheckSocket(address);
  return Refusal(address,
                 "an injector listens on a Unix socket only; write unix:/PATH, e.g. "
                 "unix:/run/faultline/agent.sock");
}

std::string NumericPeer(const std::string& peer) {
  if (absl::StartsWith(peer, kUnix)) return peer;
  if (absl::StartsWith(peer, "ipv4:")) return peer.substr(5);
  if (!absl::StartsWith(peer, "ipv6:")) return "";
  std::string text = absl::StrReplaceAll(peer.substr(5), {{"%5B", "["}, {"%5D", "]"}});
  // A zone names a device of this host, which is no part of the address.
  const size_t zone = text.find('%');
  const size_t end = text.find(']');
  if (zone != std::string::npos && end != std::string::npos && zone < end) {
    text.erase(zone, end - zone);
  }
  return text;
}

}  // namespace faultline
