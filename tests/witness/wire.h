// SPDX-License-Identifier: Apache-2.0
//
// As many datagrams as a path takes, and what of them arrives: bits per second on the wire, the
// headers of link, network and transport layer included. Owned by one thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace faultline::witness {

class Wire {
 public:
  // Begins to send `payload` bytes at a time through a connected UDP socket over IPv4 and Ethernet.
  Wire(int sender, int receiver, std::size_t payload);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  // Bits per second of what arrives in the next `ms`; between arrivals, so that no part of a packet
  // is missing at either end. 0: nothing did.
  double BitsPerSecond(std::int64_t ms);
  // Receives without a count, so that a queue fills up and a burst passes.
  void Settle(std::int64_t ms) { (void)BitsPerSecond(ms); }

 private:
  const int sender_fd_;
  const int receiver_fd_;
  const std::vector<char> data_;
  std::atomic<bool> stop_ = false;
  std::jthread sender_;
};

}  // namespace faultline::witness
