// SPDX-License-Identifier: Apache-2.0
//
// A file of a kernel test's own on a real block device, written past the page cache, so that
// whoever reads it first is charged for it; and a child in a control group that reads it again and
// again.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {

class TestFile {
 public:
  static constexpr std::int64_t kBlock = 64 << 10;

  explicit TestFile(int blocks) : path_(absl::StrCat("/var/tmp/faultline-test-", getpid())) {
    void* block = Block();
    const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    written_ = fd >= 0;
    for (int i = 0; written_ && i < blocks; ++i) written_ = write(fd, block, kBlock) == kBlock;
    if (fd >= 0) close(fd);
    free(block);
  }
  ~TestFile() { unlink(path_.c_str()); }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  const std::string& path() const { return path_; }
  // "254:0" of the whole disk that it is on; "": none, as on tmpfs and overlays.
  std::string Disk() const { return written_ ? DiskOf(path_) : ""; }

  static std::string DiskOf(const std::string& path) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) return "";
    std::error_code error;
    std::filesystem::path home = std::filesystem::canonical(
        absl::StrCat("/sys/dev/block/", major(info.st_dev), ":", minor(info.st_dev)), error);
    if (error) return "";
    if (std::filesystem::exists(home / "partition")) home = home.parent_path();
    std::ifstream in(home / "dev");
    std::string number;
    in >> number;
    return number;
  }

  // As O_DIRECT wants it.
  static void* Block() { return std::aligned_alloc(4096, kBlock); }

 private:
  const std::string path_;
  bool written_ = false;
};

// Reads the file from its beginning to its end for ever, a block and a pause of 2 ms in turn.
class FileReader {
 public:
  struct Account {
    std::atomic<std::int64_t> bytes;
    // Of getrusage(2): reads from a disk, in units of 512 bytes.
    std::atomic<std::int64_t> from_disk;
  };

  // `direct`: past the page cache.
  FileReader(TestCgroup* group, const TestFile& file, bool direct) {
    account_ = static_cast<Account*>(
        mmap(nullptr, sizeof(Account), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    Account* account = account_;
    const std::string& path = file.path();
    started_ = group->Spawn([account, path, direct] { return Read(account, path, direct); }).ok();
  }
  ~FileReader() { munmap(account_, sizeof(Account)); }
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  bool started() const { return started_; }
  std::int64_t bytes() const { return account_->bytes.load(); }
  std::int64_t disk_bytes() const { return account_->from_disk.load() * 512; }

  // Bytes a second that it gets over `ms`.
  double Rate(int ms) const {
    const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
    const std::int64_t before = bytes();
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    const std::int64_t took_ns = Clock::System().Now().boottime_ns - begin_ns;
    return static_cast<double>(bytes() - before) * 1e9 / static_cast<double>(took_ns);
  }

 private:
  static int Read(Account* account, const std::string& path, bool direct) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
    void* block = TestFile::Block();
    while (fd >= 0) {
      const ssize_t size = read(fd, block, TestFile::kBlock);
      if (size < 0) return 1;
      if (size == 0) lseek(fd, 0, SEEK_SET);
      account->bytes.fetch_add(size);
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      account->from_disk.store(usage.ru_inblock);
      usleep(2000);
    }
    return 1;
  }

  Account* account_ = nullptr;
  bool started_ = false;
};

}  // namespace faultline
