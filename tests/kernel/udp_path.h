// SPDX-License-Identifier: Apache-2.0
//
// A way for datagrams through a test's own network: a connected socket at one end, a receiver at
// the other, both known to the neighbours. One thread.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/kernel/test_netns.h"

namespace faultline {

struct UdpPath {
  int sender = -1;
  int receiver = -1;
};

// Between which addresses; the test network's own device by default.
struct UdpEnds {
  const char* here = TestNetwork::kHere;
  const char* there = TestNetwork::kThere;
};

// `group` owns the end that is here (null: this process's group). `out`: from here to there. The
// sockets are the caller's to close.
inline absl::StatusOr<UdpPath> MakeUdpPath(const TestNetwork& network, TestCgroup* group, bool out,
                                           const UdpEnds& ends = {}) {
  UdpPath path;
  std::uint16_t port = 0;
  const char* const to = out ? ends.there : ends.here;
  const auto receive = [&] {
    path.receiver = TestNetwork::Socket(out ? nullptr : group, AF_INET, SOCK_DGRAM);
    // So that a receiver that gets no CPU for a while loses nothing.
    const int size = 64 << 20;
    (void)setsockopt(path.receiver, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    port = TestNetwork::Bind(path.receiver, to);
  };
  int connected = -1;
  const auto send_to = [&] {
    path.sender = TestNetwork::Socket(out ? group : nullptr, AF_INET, SOCK_DGRAM);
    connected = TestNetwork::Connect(path.sender, to, port);
  };
  if (out) {
    network.InThere(receive);
    send_to();
  } else {
    receive();
    network.InThere(send_to);
  }
  if (port == 0 || connected != 0) return absl::InternalError("a test has no way for datagrams");
  // The neighbours get to know each other first: what waits for that may be lost.
  const std::uint32_t none = UINT32_MAX;
  pollfd wait{path.receiver, POLLIN, 0};
  if (send(path.sender, &none, sizeof(none), 0) < 0 || poll(&wait, 1, 2000) != 1) {
    return absl::InternalError("a test's first datagram did not arrive");
  }
  return path;
}

}  // namespace faultline
