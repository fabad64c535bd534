// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/packets.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <utility>

#include "tests/witness/now.h"

namespace faultline::witness {
namespace {

// A late packet of a queue that is being emptied is still one.
constexpr int kQuietMs = 60;

std::int64_t RealtimeToBoottimeNs() {
  timespec real{};
  const std::int64_t before = NowNs();
  ::clock_gettime(CLOCK_REALTIME, &real);
  return (before + NowNs()) / 2 - ToNs(real);
}

template <typename Predicate>
Met Where(const std::vector<Packet>& packets, const Predicate& is) {
  Met met;
  for (const Packet& packet : packets) {
    if (!is(packet)) continue;
    if (met.count++ == 0) met.first_ns = packet.sent_ns;
    met.last_ns = packet.sent_ns;
  }
  return met;
}

// The kernel's receive stamp, CLOCK_REALTIME ns; 0: it gave none.
std::int64_t StampOf(msghdr* message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp{};
    std::memcpy(&stamp, CMSG_DATA(header), sizeof(stamp));
    return ToNs(stamp);
  }
  return 0;
}

}  // namespace

Met Lost(const std::vector<Packet>& packets) {
  return Where(packets, [](const Packet& packet) { return packet.arrived_ns == 0; });
}

Met LostOrLate(const std::vector<Packet>& packets, std::int64_t late_ns) {
  return Where(packets, [late_ns](const Packet& packet) {
    return packet.arrived_ns == 0 || packet.arrived_ns - packet.sent_ns > late_ns;
  });
}

Met LateRun(const std::vector<Packet>& packets, std::int64_t late_ns) {
  // Two processors may stamp in another order than they get them.
  constexpr std::int64_t kStampsNs = kMs / 10;
  Met run = LostOrLate(packets, late_ns);
  std::int64_t before_ns = 0;
  for (const Packet& packet : packets) {
    if (run.count == 0) break;
    if (packet.sent_ns > run.last_ns) {
      const bool lost = packet.arrived_ns == 0;
      const bool behind = packet.sent_ns < before_ns && packet.arrived_ns >= before_ns - kStampsNs;
      if (!lost && !behind) break;
      run.last_ns = packet.sent_ns;
      ++run.count;
    }
    if (packet.sent_ns >= run.first_ns) before_ns = std::max(before_ns, packet.arrived_ns);
  }
  return run;
}

std::int64_t SilenceAt(const std::vector<Packet>& packets, const Met& met) {
  std::int64_t silence_ns = 0;
  for (std::size_t i = 1; i < packets.size(); ++i) {
    const std::int64_t before_ns = packets[i - 1].sent_ns;
    const std::int64_t after_ns = packets[i].sent_ns;
    if (after_ns == met.first_ns || before_ns == met.last_ns) {
      silence_ns = std::max(silence_ns, after_ns - before_ns);
    }
  }
  return silence_ns;
}

std::vector<double> LatenciesUs(const std::vector<Packet>& packets) {
  std::vector<double> latencies;
  latencies.reserve(packets.size());
  for (const Packet& packet : packets) {
    if (packet.arrived_ns == 0) continue;
    latencies.push_back(static_cast<double>(packet.arrived_ns - packet.sent_ns) / 1e3);
  }
  return latencies;
}

Packets::Packets(std::vector<Path> paths, const Options& options)
    : paths_(std::move(paths)),
      options_(options),
      packets_(paths_.size(), std::vector<Packet>(options.most)),
      sent_(paths_.size(), 0),
      refused_(paths_.size(), 0),
      buffer_(std::max<std::size_t>(options.payload, 8), 'w'),
      realtime_to_boottime_ns_(RealtimeToBoottimeNs()) {
  for (const Path& path : paths_) {
    const int on = 1;
    (void)::setsockopt(path.receiver, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
    // What an earlier one left.
    std::array<char, 8> old{};
    while (::recv(path.receiver, old.data(), old.size(), MSG_DONTWAIT) >= 0) {
    }
  }
  receiver_ = std::jthread([this] { ReceiveAll(); });
  sender_ = std::jthread([this] { SendAll(); });
}

void Packets::Finish() {
  stop_sending_ = true;
  if (sender_.joinable()) sender_.join();
  stop_receiving_ = true;
  if (receiver_.joinable()) receiver_.join();
  for (std::size_t path = 0; path < paths_.size(); ++path) packets_[path].resize(sent_[path]);
}

void Packets::SendAll() {
  BePunctual();
  std::int64_t next_ns = NowNs();
  while (!stop_sending_) {
    for (std::size_t path = 0; path < paths_.size(); ++path) SendOne(path);
    // What a pause of this thread left out is not made up for: that would be a burst.
    next_ns = std::max(next_ns + options_.interval_ns, NowNs());
    SleepUntilNs(next_ns);
  }
}

void Packets::SendOne(std::size_t path) {
  const std::uint32_t number = sent_[path];
  if (number >= options_.most) return;
  std::memcpy(buffer_.data(), &number, sizeof(number));
  packets_[path][number].sent_ns = NowNs();
  if (::send(paths_[path].sender, buffer_.data(), buffer_.size(), MSG_DONTWAIT) < 0) {
    ++refused_[path];
    return;
  }
  sent_[path] = number + 1;
}

void Packets::ReceiveAll() {
  std::vector<pollfd> waits;
  for (const Path& path : paths_) waits.push_back({path.receiver, POLLIN, 0});
  while (true) {
    const int ready = ::poll(waits.data(), waits.size(), kQuietMs);
    if (ready == 0 && stop_receiving_) return;
    for (std::size_t path = 0; path < paths_.size(); ++path) {
      if ((waits[path].revents & POLLIN) != 0) ReceiveFrom(path);
    }
  }
}

void Packets::ReceiveFrom(std::size_t path) {
  while (true) {
    std::uint32_t number = 0;
    iovec data{&number, sizeof(number)};
    alignas(cmsghdr) std::array<char, 128> control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(paths_[path].receiver, &message, MSG_DONTWAIT) < 0) return;
    if (number >= options_.most) continue;
    const std::int64_t stamp_ns = StampOf(&message);
    packets_[path][number].arrived_ns =
        stamp_ns == 0 ? NowNs() : stamp_ns + realtime_to_boottime_ns_;
  }
}

}  // namespace faultline::witness
