// SPDX-License-Identifier: Apache-2.0
//
// A peer filter as people write it, on the command line and in the injector's configuration, and
// back. Stateless, any thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// "CIDR[:PORT[-PORT]][/tcp|/udp|/icmp]"; IPv6 with ports in brackets: "[2001:db8::/32]:80-90/tcp".
// An empty address is any: ":443/tcp". The result always carries a prefix length. InvalidArgument:
// a sentence that quotes the text and shows a right one.
absl::StatusOr<v1::PeerFilter> ParsePeer(absl::string_view text);

// The same words back, as ParsePeer takes them.
std::string PeerText(const v1::PeerFilter& peer);

}  // namespace faultline
