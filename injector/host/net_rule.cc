// SPDX-License-Identifier: Apache-2.0
#include "injector/host/net_rule.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace faultline {
namespace {

static_assert(sizeof(fault_filter) == 40 &&
                  sizeof(fault_filters) == 8 + 40 * (FAULT_FILTERS + FAULT_EXEMPT) &&
                  sizeof(fault_rule) == 64,
              "the layout that the BPF programs were compiled with");

constexpr std::uint32_t kMaxPort = 65535;

absl::Status ParseAddress(const std::string& cidr, fault_filter* filter) {
  const std::vector<std::string> parts = absl::StrSplit(cidr, absl::MaxSplits('/', 1));
  absl::Status wrong = absl::InvalidArgumentError(absl::StrCat(
      "peer \"", cidr, "\" is no IPv4 or IPv6 address or network such as 10.1.0.0/16 or fd00::/8"));
  int bits = 0;
  if (inet_pton(AF_INET, parts[0].c_str(), filter->address) == 1) {
    filter->family = 4;
    bits = 32;
  } else if (inet_pton(AF_INET6, parts[0].c_str(), filter->address) == 1) {
    filter->family = 6;
    bits = 128;
  } else {
    return wrong;
  }
  int prefix = bits;
  if (parts.size() == 2 && (!absl::SimpleAtoi(parts[1], &prefix) || prefix < 0 || prefix > bits)) {
    return wrong;
  }
  for (int word = 0; word < 4; ++word) {
    const int inside = prefix - 32 * word;
    const std::uint32_t mask = inside <= 0    ? 0
                               : inside >= 32 ? ~0U
                                              : ~0U << static_cast<unsigned>(32 - inside);
    filter->mask[word] = htonl(mask);
  }
  return absl::OkStatus();
}

absl::Status ParsePorts(const v1::PeerFilter& peer, fault_filter* filter) {
  if (peer.port_first() == 0 && peer.port_last() == 0) return absl::OkStatus();
  // One port may be written as a range without an end.
  const std::uint32_t last = peer.port_last() == 0 ? peer.port_first() : peer.port_last();
  if (peer.port_first() == 0 || last > kMaxPort || peer.port_first() > last) {
    return absl::InvalidArgumentError(absl::StrCat("ports ", peer.port_first(), " to ", last,
                                                   " are no range within 1 to ", kMaxPort));
  }
  if (peer.protocol() == "icmp") {
    return absl::InvalidArgumentError("icmp has no ports: leave out the ports or the protocol");
  }
  filter->port_first = static_cast<std::uint16_t>(peer.port_first());
  filter->port_last = static_cast<std::uint16_t>(last);
  return absl::OkStatus();
}

absl::Status ParseProtocol(const std::string& protocol, fault_filter* filter) {
  constexpr std::pair<absl::string_view, std::uint8_t> kProtocols[] = {
      {"", 0}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"icmp", IPPROTO_ICMP}};
  for (const auto& known : kProtocols) {
    if (known.first != protocol) continue;
    filter->protocol = known.second;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("protocol \"", protocol, "\" is none of tcp, udp and icmp"));
}

absl::Status FillFilter(const v1::PeerFilter& peer, fault_filter* filter) {
  absl::Status status = peer.cidr().empty() ? absl::OkStatus() : ParseAddress(peer.cidr(), filter);
  if (status.ok()) status = ParsePorts(peer, filter);
  if (status.ok()) status = ParseProtocol(peer.protocol(), filter);
  return status;
}

}  // namespace

absl::StatusOr<fault_filters> MakeFilters(absl::Span<const v1::PeerFilter> peers,
                                          absl::Span<const v1::PeerFilter> exempt) {
  if (peers.size() > FAULT_FILTERS) {
    return absl::InvalidArgumentError(
        absl::StrCat(peers.size(), " peer filters; a fault takes at most ", FAULT_FILTERS));
  }
  if (exempt.size() > FAULT_EXEMPT) {
    return absl::FailedPreconditionError(
        absl::StrCat(exempt.size(), " peers are exempt from network faults; a program holds ",
                     FAULT_EXEMPT, ": take some off --exempt"));
  }
  fault_filters filters{};
  for (const v1::PeerFilter& peer : peers) {
    const absl::Status filled = FillFilter(peer, &filters.filters[filters.filter_count++]);
    if (!filled.ok()) return filled;
  }
  for (const v1::PeerFilter& peer : exempt) {
    const absl::Status filled = FillFilter(peer, &filters.exempt[filters.exempt_count++]);
    if (!filled.ok()) return filled;
  }
  return filters;
}

void SetShape(const Shape& shape, std::int64_t start_ns, fault_rule* rule) {
  if (!shape.ramp() && !shape.pulse()) return;
  rule->start_ns = static_cast<std::uint64_t>(start_ns);
  rule->ramp_ns = static_cast<std::uint64_t>(shape.ramp_ns);
  rule->on_ns = static_cast<std::uint64_t>(shape.on_ns);
  rule->off_ns = static_cast<std::uint64_t>(shape.off_ns);
}

std::uint64_t StreamSeed(std::uint64_t seed, std::uint32_t stream) {
  // Any odd constant keeps the streams apart; this one is the multiplier of PCG.
  return seed + stream * 6364136223846793005ULL;
}

}  // namespace faultline
