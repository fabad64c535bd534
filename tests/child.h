// SPDX-License-Identifier: Apache-2.0
//
// A program that a test or bench started: ended and reaped by the destructor, whatever happens, and
// by the kernel if the test itself dies. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace faultline {

// A user without any right of its own, as the agent runs where it has none yet.
constexpr int kNobody = 65534;

class Child {
 public:
  struct Options {
    // File that stdout and stderr go to; empty: both are inherited.
    std::string output;
    // Runs as this user and group with CAP_BPF and CAP_PERFMON alone; -1: as the test.
    int user = -1;
  };

  Child() = default;
  // Starts argv[0], a path. Aborts the test if that is impossible.
  explicit Child(std::vector<std::string> argv) : Child(std::move(argv), Options()) {}
  Child(std::vector<std::string> argv, const Options& options);
  ~Child() { End(); }
  Child(Child&& other) noexcept : pid_(other.pid_) { other.pid_ = -1; }
  Child& operator=(Child&& other) noexcept;

  pid_t pid() const { return pid_; }
  bool running();
  void Signal(int signal) const;
  // Exit status, or 128 + signal. -1 if it still runs after `timeout_ns`.
  int Wait(std::int64_t timeout_ns);
  // SIGTERM, after 10 s SIGKILL. Returns as Wait.
  int End();

 private:
  pid_t pid_ = -1;
};

// Runs to the end with a bound of a minute; stdout and stderr together in *output if not null.
int RunToEnd(const std::vector<std::string>& argv, std::string* output);

// Whole text of a file; empty if it cannot be read.
std::string Slurp(const std::string& path);

// Polls until the file exists and is not empty, or the time is up.
bool WaitForFile(const std::string& path, std::int64_t timeout_ns);

// Removes /faultline-test-<pid>-`name` from every hierarchy, of this process and of processes that
// are gone, and ends what is still inside: a test that was killed leaves its groups. Only groups of
// that name are touched.
// Of any name: "".
void RemoveLeftGroups(const std::string& name);
// Files of killed tests on a disk (tests/kernel/test_disk.h).
void RemoveLeftFiles();

// Folder of the programs under test, from the environment of the build (FAULTLINE_BIN_DIR).
std::string BinDir();

// A fresh folder below the system's temporary one, removed by the destructor.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace faultline
