// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/disk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>

#include "tests/witness/now.h"

namespace faultline::witness {
namespace {

// A ring: more of them than any trial makes.
constexpr std::uint64_t kKeptTransfers = 1 << 16;

}  // namespace

struct Disk::Account {
  // Written so far; the transfer at its index is whole before this counts it.
  std::atomic<std::uint64_t> count;
  std::array<Transfer, kKeptTransfers> transfers;
};

Disk::Disk() {
  void* const memory =
      ::mmap(nullptr, sizeof(Account), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  account_ = static_cast<Account*>(memory);
}

Disk::~Disk() { ::munmap(account_, sizeof(Account)); }

int Disk::Move(const std::string& file, bool write) {
  const int fd = ::open(file.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0 || info.st_size < kBlock) return 1;
  void* const block =
      ::mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return 1;
  for (off_t at = 0;; at = (at + kBlock) % info.st_size) {
    const std::int64_t begin_ns = NowNs();
    const ssize_t moved = write ? ::pwrite(fd, block, kBlock, at) : ::pread(fd, block, kBlock, at);
    if (moved != kBlock) return 1;
    const std::uint64_t count = account_->count.load();
    account_->transfers[count % kKeptTransfers] = {begin_ns, NowNs()};
    account_->count.store(count + 1);
  }
}

std::vector<Transfer> Disk::Since(std::int64_t since_ns) const {
  const std::uint64_t count = account_->count.load();
  std::vector<Transfer> transfers;
  for (std::uint64_t i = count - std::min(count, kKeptTransfers - 1); i < count; ++i) {
    const Transfer transfer = account_->transfers[i % kKeptTransfers];
    if (transfer.end_ns > since_ns) transfers.push_back(transfer);
  }
  return transfers;
}

double BlocksPerSecond(const std::vector<Transfer>& transfers, std::int64_t pause_ns) {
  const auto paused = [pause_ns](const Transfer& one) {
    return one.end_ns - one.begin_ns > pause_ns;
  };
  const auto first = std::find_if(transfers.begin(), transfers.end(), paused);
  const auto last = std::find_if(transfers.rbegin(), transfers.rend(), paused);
  if (first == transfers.end() || &*first == &*last) return 0;
  return static_cast<double>(&*last - &*first) * static_cast<double>(kSecond) /
         static_cast<double>(last->end_ns - first->end_ns);
}

std::vector<Stall> LongerThan(const std::vector<Transfer>& transfers, std::int64_t ns) {
  std::vector<Stall> stalls;
  for (const Transfer& transfer : transfers) {
    if (transfer.end_ns - transfer.begin_ns > ns) {
      stalls.push_back({transfer.begin_ns, transfer.end_ns});
    }
  }
  return stalls;
}

}  // namespace faultline::witness
