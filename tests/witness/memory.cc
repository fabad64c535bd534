// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/witness/now.h"

namespace faultline::witness {
namespace {

// A ring: more looks than any trial makes.
constexpr std::uint64_t kKeptLooks = 1 << 15;
constexpr std::size_t kBlock = 64 << 10;
// Between two blocks, so that a file that is in memory takes no processor of its own.
constexpr std::int64_t kBlockPauseNs = 100'000;

// "7f10a2c00000-7f10a6c00000 rw-p 00000000 00:00 0" and no name after it.
bool IsOwnMemory(const std::string& line) {
  std::istringstream words(line);
  std::string range;
  std::string rights;
  std::string offset;
  std::string device;
  std::string inode;
  std::string name;
  words >> range >> rights >> offset >> device >> inode >> name;
  return rights == "rw-p" && inode == "0" && name.empty();
}

// Of a mapping, as `pages` has a byte for each of its pages.
std::int64_t InMemory(void* mapping, std::size_t size, std::vector<unsigned char>* pages) {
  if (::mincore(mapping, size, pages->data()) != 0) return 0;
  const auto count = std::count_if(pages->begin(), pages->end(),
                                   [](unsigned char page) { return (page & 1U) != 0; });
  return count * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

std::int64_t HeldBytes(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/smaps");
  if (!in) return -1;
  std::int64_t most = 0;
  bool own = false;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string key;
    std::int64_t kib = 0;
    words >> key;
    if (key.find('-') != std::string::npos && key.back() != ':') {
      own = IsOwnMemory(line);
    } else if (own && key == "Anonymous:" && words >> kib) {
      most = std::max(most, kib * 1024);
    }
  }
  return most;
}

struct Cached::Account {
  // Written so far; the reading at its index is whole before this counts it.
  std::atomic<std::uint64_t> count;
  std::array<Reading, kKeptLooks> readings;
};

Cached::Cached() {
  void* const memory =
      ::mmap(nullptr, sizeof(Account), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  account_ = static_cast<Account*>(memory);
}

Cached::~Cached() { ::munmap(account_, sizeof(Account)); }

int Cached::Read(const std::string& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0 || info.st_size == 0) return 1;
  const auto size = static_cast<std::size_t>(info.st_size);
  void* const mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) return 1;
  // What is read ahead would be noted a block late.
  (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((size + page - 1) / page);
  std::vector<char> block(kBlock);
  const off_t blocks = std::max<off_t>(1, info.st_size / static_cast<off_t>(kBlock));
  std::minstd_rand random;
  while (true) {
    const off_t at = static_cast<off_t>(random()) % blocks * static_cast<off_t>(kBlock);
    if (::pread(fd, block.data(), block.size(), at) < 0) return 1;
    Note(InMemory(mapping, size, &pages));
    SleepUntilNs(NowNs() + kBlockPauseNs);
  }
}

void Cached::Note(std::int64_t bytes) {
  const std::uint64_t count = account_->count.load();
  if (count > 0 && account_->readings[(count - 1) % kKeptLooks].value == bytes) return;
  account_->readings[count % kKeptLooks] = {NowNs(), bytes};
  account_->count.store(count + 1);
}

std::int64_t Cached::bytes() const {
  const std::uint64_t count = account_->count.load();
  return count == 0 ? -1 : account_->readings[(count - 1) % kKeptLooks].value;
}

std::vector<Reading> Cached::Since(std::int64_t since_ns) const {
  const std::uint64_t count = account_->count.load();
  std::vector<Reading> readings;
  for (std::uint64_t i = count - std::min(count, kKeptLooks - 1); i < count; ++i) {
    const Reading reading = account_->readings[i % kKeptLooks];
    if (reading.seen_ns <= since_ns) readings.clear();
    readings.push_back(reading);
  }
  return readings;
}

Shortage ShortageOf(const std::vector<Reading>& readings, std::int64_t limit, std::int64_t blur) {
  Shortage shortage;
  bool short_of_it = false;
  for (const Reading& now : readings) {
    if (shortage.begin_ns == 0 && now.value < readings.front().value - blur) {
      shortage.begin_ns = now.seen_ns;
    }
    if (now.value <= limit) {
      short_of_it = true;
      shortage.end_ns = 0;
    } else if (short_of_it && shortage.end_ns == 0) {
      shortage.end_ns = now.seen_ns;
    }
  }
  return shortage;
}

}  // namespace faultline::witness
