// SPDX-License-Identifier: Apache-2.0
#include "proto/peer_text.h"

#include <arpa/inet.h>

#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace faultline {
namespace {

absl::Status BadPeer(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("peer \"", text, "\": ", why,
                   "; write CIDR[:PORT[-PORT]][/tcp], like 10.1.0.0/16:80-90/tcp, or "
                   "[2001:db8::/32]:443 for IPv6"));
}

// Takes a trailing "/tcp", "/udp" or "/icmp" off `text`.
std::string TakeProtocol(absl::string_view* text) {
  for (absl::string_view protocol : {"tcp", "udp", "icmp"}) {
    if (absl::ConsumeSuffix(text, absl::StrCat("/", protocol))) return std::string(protocol);
  }
  return "";
}

// "80" or "80-90", 1 to 65535, in order.
bool ParsePorts(absl::string_view text, v1::PeerFilter* peer) {
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(text, absl::MaxSplits('-', 1));
  std::uint32_t first = 0;
  if (!absl::SimpleAtoi(ends.first, &first)) return false;
  std::uint32_t last = first;
  const bool range = absl::StrContains(text, "-");
  if (range && !absl::SimpleAtoi(ends.second, &last)) return false;
  if (first < 1 || last < first || last > 65535) return false;
  peer->set_port_first(first);
  peer->set_port_last(last);
  return true;
}

// "ADDRESS" or "ADDRESS/LENGTH" into its full form; empty if it is neither.
std::string FullCidr(absl::string_view text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  std::array<unsigned char, 16> bytes{};
  const bool v6 = absl::StrContains(parts.first, ":");
  if (::inet_pton(v6 ? AF_INET6 : AF_INET, parts.first.c_str(), bytes.data()) != 1) return "";
  const std::uint32_t bits = v6 ? 128 : 32;
  std::uint32_t length = bits;
  if (absl::StrContains(text, "/") && (!absl::SimpleAtoi(parts.second, &length) || length > bits)) {
    return "";
  }
  return absl::StrCat(parts.first, "/", length);
}

// Splits the address off what is left of the text; `ports` keeps what follows its colon.
absl::string_view TakeAddress(absl::string_view text, absl::string_view* ports) {
  *ports = "";
  if (absl::StartsWith(text, "[")) {
    const size_t end = text.find(']');
    if (end == absl::string_view::npos) return text;
    *ports = text.substr(end + 1);
    absl::ConsumePrefix(ports, ":");
    return text.substr(1, end - 1);
  }
  const size_t colon = text.find(':');
  // A second colon: an IPv6 address without ports.
  if (colon == absl::string_view::npos || text.find(':', colon + 1) != absl::string_view::npos) {
    return text;
  }
  *ports = text.substr(colon + 1);
  return text.substr(0, colon);
}

}  // namespace

absl::StatusOr<v1::PeerFilter> ParsePeer(absl::string_view text) {
  v1::PeerFilter peer;
  absl::string_view rest = text;
  peer.set_protocol(TakeProtocol(&rest));
  absl::string_view ports;
  const absl::string_view address = TakeAddress(rest, &ports);
  if (address.empty() && ports.empty() && peer.protocol().empty()) {
    return BadPeer(text, "it says nothing");
  }
  if (!address.empty()) {
    peer.set_cidr(FullCidr(address));
    if (peer.cidr().empty()) {
      return BadPeer(text, absl::StrCat("\"", address, "\" is no address with prefix length"));
    }
  }
  if (absl::EndsWith(rest, ":") && !absl::StrContains(address, ":")) {
    return BadPeer(text, "no port follows the colon");
  }
  if (!ports.empty() && !ParsePorts(ports, &peer)) {
    return BadPeer(text, absl::StrCat("\"", ports, "\" is no port or range from 1 to 65535"));
  }
  if (!ports.empty() && peer.protocol() == "icmp") return BadPeer(text, "icmp has no ports");
  return peer;
}

std::string PeerText(const v1::PeerFilter& peer) {
  std::string text = peer.cidr();
  if (peer.port_first() != 0) {
    if (absl::StrContains(text, ":")) text = absl::StrCat("[", text, "]");
    absl::StrAppend(&text, ":", peer.port_first());
    if (peer.port_last() > peer.port_first()) absl::StrAppend(&text, "-", peer.port_last());
  }
  if (!peer.protocol().empty()) absl::StrAppend(&text, "/", peer.protocol());
  return text;
}

}  // namespace faultline
