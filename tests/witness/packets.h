// SPDX-License-Identifier: Apache-2.0
//
// Numbered datagrams, each with the time at which it was sent and at which the kernel received it:
// what was lost or late, exactly how many, and when the first and the last of them set out. All
// paths are served by one sending and one receiving thread, so that they share every pause of
// theirs. Owned by one thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace faultline::witness {

struct Packet {
  // Before the send.
  std::int64_t sent_ns = 0;
  // By the kernel's receive stamp; 0 = never.
  std::int64_t arrived_ns = 0;
};

// Of the packets of which something is true.
struct Met {
  std::int64_t count = 0;
  // When the first and the last of them were sent; 0 = none.
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;
};

Met Lost(const std::vector<Packet>& packets);
// Lost, or longer on the way than `late_ns`.
Met LostOrLate(const std::vector<Packet>& packets, std::int64_t late_ns);
// From the first that was lost or longer on the way than `late_ns` to the last of those, and on to
// the last that waited behind it: each was sent before the one before it had arrived, and arrived
// no earlier. A delay that comes to its end is less from packet to packet.
Met LateRun(const std::vector<Packet>& packets, std::int64_t late_ns);
// The longest time without a packet, next to the first of `met` or next to the last of them: where
// in it the edge lies is not seen. 0 beyond the first and the last of all.
std::int64_t SilenceAt(const std::vector<Packet>& packets, const Met& met);
// Of those that arrived.
std::vector<double> LatenciesUs(const std::vector<Packet>& packets);

class Packets {
 public:
  // A connected UDP socket, and the one that it sends to; they stay the caller's.
  struct Path {
    int sender = -1;
    int receiver = -1;
  };
  struct Options {
    // Between two packets of one path: 5 kHz.
    std::int64_t interval_ns = 200'000;
    // Bytes of a datagram, 8 at least.
    std::size_t payload = 64;
    // Of one path; then it stops sending.
    std::size_t most = 100'000;
  };

  // Begins to send.
  Packets(std::vector<Path> paths, const Options& options);
  ~Packets() { Finish(); }
  Packets(const Packets&) = delete;
  Packets& operator=(const Packets&) = delete;

  // Stops sending and waits for what is still on its way.
  void Finish();
  // In the order of sending; after Finish.
  const std::vector<Packet>& Of(std::size_t path) const { return packets_[path]; }
  // Sends that the kernel refused; they are not among the packets.
  std::int64_t Refused(std::size_t path) const { return refused_[path]; }

 private:
  void SendAll();
  void SendOne(std::size_t path);
  void ReceiveAll();
  void ReceiveFrom(std::size_t path);

  const std::vector<Path> paths_;
  const Options options_;
  std::vector<std::vector<Packet>> packets_;
  std::vector<std::uint32_t> sent_;
  std::vector<std::int64_t> refused_;
  std::vector<char> buffer_;
  // CLOCK_BOOTTIME - CLOCK_REALTIME, ns: the kernel stamps in real time.
  const std::int64_t realtime_to_boottime_ns_;
  std::atomic<bool> stop_sending_ = false;
  std::atomic<bool> stop_receiving_ = false;
  std::jthread receiver_;
  std::jthread sender_;
};

}  // namespace faultline::witness
