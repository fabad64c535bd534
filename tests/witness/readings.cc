// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/readings.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <map>
#include <string_view>

#include "tests/witness/now.h"

namespace faultline::witness {
namespace {

// Between two reads: another program needs this processor as well.
constexpr std::int64_t kReadPauseNs = 20'000;
// Who burns is seen to do so more often than that.
constexpr std::int64_t kPauseNs = kMs;

// The first number of a file; -1: there is none.
std::int64_t ReadNumber(int fd) {
  std::array<char, 64> text{};
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  std::int64_t value = -1;
  if (size <= 0) return value;
  const std::string_view read(text.data(), static_cast<std::size_t>(size));
  const std::size_t digit = read.find_first_of("0123456789");
  if (digit == std::string_view::npos) return value;
  std::from_chars(read.data() + digit, read.data() + read.size(), value);
  return value;
}

}  // namespace

std::int64_t NumberIn(const std::string& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const std::int64_t number = ReadNumber(fd);
  if (fd >= 0) ::close(fd);
  return number;
}

Growth GrowthOf(const std::vector<Reading>& readings, std::int64_t blur) {
  Growth growth;
  if (readings.empty()) return growth;
  const std::int64_t base = readings.front().value;
  for (const Reading& now : readings) {
    const std::int64_t grown = now.value - base;
    if (growth.begin_ns == 0 && grown > blur) growth.begin_ns = now.seen_ns;
    if (growth.begin_ns == 0) continue;
    if (grown > growth.most) {
      growth.most = grown;
      growth.last_ns = now.seen_ns;
      growth.end_ns = 0;
    }
    if (growth.end_ns == 0 && grown <= blur) growth.end_ns = now.seen_ns;
  }
  return growth;
}

std::int64_t MostFor(const std::vector<Reading>& readings, double share) {
  // Time at each value.
  std::map<std::int64_t, std::int64_t> times;
  for (std::size_t i = 1; i < readings.size(); ++i) {
    times[readings[i - 1].value] += readings[i].seen_ns - readings[i - 1].seen_ns;
  }
  if (times.empty()) return 0;
  const auto whole = static_cast<double>(readings.back().seen_ns - readings.front().seen_ns);
  std::int64_t so_far = 0;
  for (const auto& [value, time] : times) {
    so_far += time;
    if (static_cast<double>(so_far) >= share * whole) return value;
  }
  return times.rbegin()->first;
}

Burst BurstOf(const std::vector<Reading>& readings, std::int64_t sure_ns) {
  Burst burst;
  // Of what grows without a pause.
  std::int64_t base = 0;
  std::int64_t begin_ns = 0;
  for (std::size_t i = 1; i < readings.size(); ++i) {
    if (begin_ns == 0 || readings[i].seen_ns - readings[i - 1].seen_ns > kPauseNs) {
      base = readings[i - 1].value;
      begin_ns = readings[i].seen_ns;
    }
    if (readings[i].value - base < sure_ns) continue;
    if (burst.begin_ns == 0) burst.begin_ns = begin_ns;
    burst.last_ns = readings[i].seen_ns;
  }
  return burst;
}

Reader::Reader(const std::string& file, std::int64_t scale)
    : fd_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)), scale_(scale) {
  readings_.reserve(1 << 14);
  thread_ = std::jthread([this] { ReadAll(); });
}

Reader::~Reader() {
  (void)Finish();
  if (fd_ >= 0) ::close(fd_);
}

std::vector<Reading> Reader::Finish() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  return readings_;
}

void Reader::ReadAll() {
  BePunctual();
  while (!stop_) {
    const std::int64_t before_ns = NowNs();
    const std::int64_t number = ReadNumber(fd_);
    if (number < 0) return;
    const std::int64_t value = number * scale_;
    if (readings_.empty() || readings_.back().value != value) {
      readings_.push_back({before_ns, value});
    }
    SleepUntilNs(NowNs() + kReadPauseNs);
  }
}

}  // namespace faultline::witness
