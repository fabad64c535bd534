// SPDX-License-Identifier: Apache-2.0
#include "injector/host/class_leaf.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

// The same layout, word for word, with whatever numbers.
bool IsDelay(const std::vector<std::string>& words) {
  return words.size() == 7 && words[0] == "netem" && words[1] == "delay" && words[3] == "ns" &&
         words[4] == "jitter" && words[6] == "ns";
}

}  // namespace

std::string ClassLeaf::Describe() const {
  if (!delays()) return absl::StrCat("htb rate ", bytes_per_second * 8, " bit/s");
  return absl::StrCat("netem delay ", delay_ns, " ns jitter ", jitter_ns, " ns");
}

absl::StatusOr<ClassLeaf> ClassLeaf::Parse(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  ClassLeaf leaf;
  std::uint64_t bits = 0;
  if (words.size() == 4 && words[0] == "htb" && absl::SimpleAtoi(words[2], &bits) && bits >= 8) {
    leaf.bytes_per_second = bits / 8;
    return leaf;
  }
  if (IsDelay(words) && absl::SimpleAtoi(words[2], &leaf.delay_ns) &&
      absl::SimpleAtoi(words[5], &leaf.jitter_ns) && leaf.delay_ns > 0 && leaf.jitter_ns >= 0) {
    return leaf;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("class change names neither a rate nor a delay: \"", text, "\""));
}

Netem ClassLeaf::NetemAt(double level) const {
  const auto share = [level](std::int64_t ns) {
    return level >= 1 ? ns : static_cast<std::int64_t>(static_cast<double>(ns) * level);
  };
  // The limit is that of the full delay: a smaller one would drop what waits.
  return {share(delay_ns), share(jitter_ns), NetemLimit(delay_ns + jitter_ns)};
}

std::uint64_t ClassLeaf::RateAt(double level) const {
  if (level >= 1) return bytes_per_second;
  const double rate = static_cast<double>(bytes_per_second) / level;
  constexpr auto kMost = static_cast<double>(kUnlimitedRate);
  return rate >= kMost ? kUnlimitedRate : static_cast<std::uint64_t>(rate);
}

// 200 ms of the rate, but never less than two GSO buffers, of which one must always fit, nor more
// than any sender's window.
std::uint32_t ClassLeaf::QueueBytes() const {
  constexpr std::uint64_t kLeast = 128 << 10;
  constexpr std::uint64_t kMost = 64 << 20;
  return static_cast<std::uint32_t>(std::clamp(bytes_per_second / 5, kLeast, kMost));
}

std::int64_t ClassLeaf::LongestWaitNs() const {
  if (delays()) return delay_ns + jitter_ns;
  const double seconds = static_cast<double>(QueueBytes()) / static_cast<double>(bytes_per_second);
  return static_cast<std::int64_t>(seconds * 1e9);
}

std::int64_t ClassLeaf::LateNs() const {
  constexpr std::int64_t kLateNs = 20'000'000;
  return delays() ? kLateNs : 0;
}

std::int64_t ClassLeaf::SteeredPastNs() const { return delays() ? LongestWaitNs() + LateNs() : 0; }

// Twice what a million packets per second, more than one CPU sends, have on the way: the kernel's
// 1000 drop in silence. netem lets the sender's socket go, so nothing but the limit bounds the
// memory: 100,000 full frames are 0.25 GB.
std::uint32_t NetemLimit(std::int64_t delay_ns) {
  constexpr std::int64_t kLeast = 1'000;
  constexpr std::int64_t kMost = 100'000;
  constexpr std::int64_t kNsPerPacket = 1'000;
  return static_cast<std::uint32_t>(std::clamp(2 * delay_ns / kNsPerPacket, kLeast, kMost));
}

}  // namespace faultline
