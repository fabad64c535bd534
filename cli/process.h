// SPDX-License-Identifier: Apache-2.0
//
// One child process: started with everything prepared before the fork (the child makes nothing but
// system calls, so it is safe however many threads there are), watched by its pidfd so that no
// signal can meet a stranger, reaped once. Start children from the main thread: their parent-death
// signal follows the thread that forked. One thread at a time.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace faultline::cli {

// Whom the child becomes.
struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  // Capabilities kept as ambient ones; bit n is capability n. Everything else is dropped, from the
  // bounding set too.
  std::uint64_t capabilities = 0;
};

struct SpawnSpec {
  std::vector<std::string> argv;
  // Files that the child writes "0" to first: cgroup.procs of the groups that it joins.
  std::vector<int> join;
  // Network namespace to enter; -1 = stay.
  int netns = -1;
  // -1 = those of the parent.
  int out = -1;
  int err = -1;
  // stdin is /dev/null.
  bool no_input = false;
  std::optional<Identity> identity;
  // In a process group of its own: Ctrl-C at the terminal is not sent to it.
  bool own_group = false;
  // Sent to the child when the thread that forked ends; 0 = none.
  int parent_death_signal = 0;
  // Waits for Release before it goes on to exec.
  bool gated = false;
  // Signals that the child starts with blocked.
  sigset_t mask{};
};

// How a child ended: its exit status, or 128 + signal as shells say it.
int ShellStatus(int wait_status);

class Process {
 public:
  static absl::StatusOr<Process> Spawn(const SpawnSpec& spec);
  // Lets the child be; End or Wait first.
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Readable when it has ended.
  int pidfd() const { return pidfd_; }

  // Opens the gate of a gated child.
  void Release();
  // Blocks until exec succeeded. NotFound or PermissionDenied: there is no such program, or it may
  // not be run.
  absl::Status AwaitExec();

  void Signal(int signal) const;
  // Wait status once it has ended and been reaped; empty while it runs.
  std::optional<int> Poll();
  // Waits at most `bound`.
  std::optional<int> Wait(absl::Duration bound);
  // SIGTERM, and SIGKILL after `grace`; reaps.
  void End(absl::Duration grace);

 private:
  Process() = default;
  void Close();

  pid_t pid_ = -1;
  int pidfd_ = -1;
  int gate_ = -1;
  int failure_ = -1;
  std::string program_;
  std::optional<int> status_;
};

}  // namespace faultline::cli
