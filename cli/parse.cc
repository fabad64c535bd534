// SPDX-License-Identifier: Apache-2.0
#include "cli/parse.h"

#include <arpa/inet.h>

#include <array>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/cgroup_tree.h"

namespace faultline::cli {
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

absl::StatusOr<v1::Target> ParseTarget(absl::string_view text) {
  v1::Target target;
  if (text == "host") {
    target.set_host(true);
    return target;
  }
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::string value(parts.second);
  std::int32_t pid = 0;
  if (parts.first == "cgroup") {
    const absl::Status valid = CgroupTree::ValidatePath(value);
    if (!valid.ok()) return valid;
    target.set_cgroup(value);
  } else if (parts.first == "unit" && !value.empty()) {
    // As systemctl does: a name without a suffix is a service.
    target.set_unit(absl::StrContains(value, ".") ? value : value + ".service");
  } else if (parts.first == "pid" && absl::SimpleAtoi(value, &pid) && pid > 0) {
    target.set_pid(pid);
  } else if (parts.first == "dev" && !value.empty()) {
    target.set_interface(value);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("target \"", text,
                     "\" is none; write cgroup:/PATH, unit:NAME, pid:NUMBER, dev:NAME or host"));
  }
  return target;
}

absl::StatusOr<v1::RunTarget> ParseRunTarget(absl::string_view text, absl::string_view node) {
  v1::RunTarget result;
  result.set_node(std::string(node));
  // A node's name has no colon, and a target's kind no slash.
  const size_t slash = text.find('/');
  if (slash < text.find(':')) {
    const std::string named(text.substr(0, slash));
    if (named.empty() || (!node.empty() && named != node)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "target \"", text, "\" is none; write [NODE/]TARGET, like edge-1/unit:nginx.service",
          named.empty() ? "" : ", with the node here or in --node, not both"));
    }
    result.set_node(named);
    text.remove_prefix(slash + 1);
  }
  absl::StatusOr<v1::Target> target = ParseTarget(text);
  if (!target.ok()) return target.status();
  *result.mutable_target() = *std::move(target);
  return result;
}

absl::StatusOr<std::int64_t> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration() ||
      duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "duration \"", text,
        "\" is not a duration above 0; write a number with a unit, like 30s, 250ms or 1m30s"));
  }
  return absl::ToInt64Nanoseconds(duration);
}

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

absl::StatusOr<std::pair<std::string, std::string>> ParseParameter(absl::string_view text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  if (!absl::StrContains(text, "=") || parts.first.empty() || parts.second.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter \"", text, "\" is none; write NAME=VALUE, like loss=5%"));
  }
  return parts;
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

}  // namespace faultline::cli
