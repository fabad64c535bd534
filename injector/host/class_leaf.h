// SPDX-License-Identifier: Apache-2.0
//
// What a class of the plane does to what is steered into it, and how that stands in the journal: a
// rate, by the class itself and a bfifo below it, or a delay, by a netem below it. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "injector/host/traffic.h"

namespace faultline {

struct ClassLeaf {
  std::uint64_t bytes_per_second = kUnlimitedRate;
  // 0: a rate.
  std::int64_t delay_ns = 0;
  std::int64_t jitter_ns = 0;

  bool delays() const { return delay_ns > 0; }

  // "htb rate 8000 bit/s" or "netem delay 1000 ns jitter 0 ns".
  std::string Describe() const;
  // What Describe wrote; InvalidArgument otherwise.
  static absl::StatusOr<ClassLeaf> Parse(const std::string& text);

  // The leaf at `level` of the delay, from 0 to 1.
  Netem NetemAt(double level) const;
  // The rate at `level` of it, above 0, bytes a second: at half of it twice the rate.
  std::uint64_t RateAt(double level) const;
  // Length of the queue of a rate, bytes.
  std::uint32_t QueueBytes() const;
  // The longest that something waits in it, ns.
  std::int64_t LongestWaitNs() const;
  // How long past a pulse, or past the end that the controller makes, packets are still given to
  // it, ns: as long as some may wait that those would overtake. The delay has ended by then.
  std::int64_t SteeredPastNs() const;
  // How late after the deadline the controller may make that end, ns. Later than that nobody seems
  // to: what comes passes, and overtakes what waits.
  std::int64_t LateNs() const;
};

// Packets that may wait for a delay of `delay_ns`, at most.
std::uint32_t NetemLimit(std::int64_t delay_ns);

}  // namespace faultline
