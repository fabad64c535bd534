// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>

#include "tests/witness/now.h"

namespace faultline::witness {
namespace {

// Ethernet, IPv4 and UDP.
constexpr std::int64_t kHeaderBytes = 14 + 20 + 8;
constexpr int kNothingMs = 500;

}  // namespace

Wire::Wire(int sender, int receiver, std::size_t payload)
    : sender_fd_(sender), receiver_fd_(receiver), data_(payload, 'w') {
  // A send that waits for room looks now and then whether it is still wanted.
  const timeval patience{0, 100'000};
  (void)::setsockopt(sender_fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  sender_ = std::jthread([this] {
    while (!stop_) (void)::send(sender_fd_, data_.data(), data_.size(), 0);
  });
}

Wire::~Wire() { stop_ = true; }

double Wire::BitsPerSecond(std::int64_t ms) {
  const std::int64_t end_ns = NowNs() + ms * kMs;
  std::array<char, 2048> buffer{};
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;
  std::int64_t bytes = 0;
  pollfd wait{receiver_fd_, POLLIN, 0};
  while (NowNs() < end_ns && ::poll(&wait, 1, kNothingMs) == 1) {
    const ssize_t size = ::recv(receiver_fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0) continue;
    last_ns = NowNs();
    if (first_ns == 0) {
      first_ns = last_ns;
    } else {
      bytes += size + kHeaderBytes;
    }
  }
  if (bytes == 0) return 0;
  return static_cast<double>(bytes) * 8e9 / static_cast<double>(last_ns - first_ns);
}

}  // namespace faultline::witness
