// SPDX-License-Identifier: Apache-2.0
//
// Helper processes: started without a shell and with no descriptor of ours but the two they need,
// killed by pidfd, found again by the fault's id in their arguments after a crash. One thread at a
// time.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "injector/host/hold.h"

namespace faultline {

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { Reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  void Reset();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A descriptor for process `pid`, the caller's, and SIGKILL through it: never to another process
// that has its number by now. Negative, with errno, if it fails.
int PidfdOpen(pid_t pid);
int PidfdKill(int pidfd);

// Waits for `child` of ours, which is killed if it has not ended after `timeout_ms`. A frozen one
// ends by that on cgroup v2 only.
void ReapWithin(pid_t child, int timeout_ms);

// The page in which a helper reports, at `path`.
class HoldReportFile {
 public:
  // A fresh one, all 0. Its page is ours, not the target's, whatever the helper writes.
  static absl::StatusOr<std::unique_ptr<HoldReportFile>> Make(const std::string& path);
  // Of a predecessor; null if there is none.
  static std::unique_ptr<HoldReportFile> Open(const std::string& path);
  ~HoldReportFile();
  HoldReportFile(const HoldReportFile&) = delete;
  HoldReportFile& operator=(const HoldReportFile&) = delete;

  // Still readable after the file was removed.
  const HoldReport& report() const { return *report_; }
  int fd() const { return fd_.get(); }

 private:
  explicit HoldReportFile(Descriptor fd) : fd_(std::move(fd)) {}
  bool Map();
  Descriptor fd_;
  HoldReport* report_ = nullptr;
};

// One running faultline-hold. It ends when this object does.
class HoldProcess {
 public:
  // Starts `program` with arguments `arguments` (without argv[0]), which reports in `report`.
  static absl::StatusOr<std::unique_ptr<HoldProcess>> Start(
      const std::string& program, const std::vector<std::string>& arguments,
      const HoldReportFile& report);
  ~HoldProcess();
  HoldProcess(const HoldProcess&) = delete;
  HoldProcess& operator=(const HoldProcess&) = delete;

  // Lets it begin.
  absl::Status Go();
  bool Running() const;
  // Ends it and waits until it is gone. Unavailable: it does not die (a frozen one on cgroup v1).
  absl::Status End();

  pid_t pid() const { return pid_; }

 private:
  HoldProcess() = default;
  pid_t pid_ = -1;
  Descriptor pidfd_;
  Descriptor commands_;
};

// Processes of root's that run faultline-hold for fault `id`. Zombies are none.
std::vector<pid_t> FindHelpers(const std::string& id, const std::string& proc = "/proc");

// Kills process `pid` if it still is a helper of fault `id`, and waits until it is gone.
// Unavailable: it does not die.
absl::Status KillHelper(pid_t pid, const std::string& id);

}  // namespace faultline
