// SPDX-License-Identifier: Apache-2.0
//
// A whole machine: Debian 12 with systemd under QEMU, on a disk of its own that starts as the image
// of tests/vm/image. Where tests/vm/accelerator found no KVM that works it is emulated in software,
// and some ten times slower than the host. Root's commands run in it through a virtual serial port.
// Ended with its files by the destructor; by the kernel if the test itself dies. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/child.h"

namespace faultline {

class Guest {
 public:
  struct Options {
    // Host name, and name of its log.
    std::string name = "guest";
    // Debian's name of the processor: "amd64" or "arm64".
    std::string arch = "amd64";
    // As image calls it: "5.10", "6.1" or "6.12".
    std::string kernel = "6.1";
    int memory_mib = 1024;
    // Name of the guest of the same `dir` at the other end of its network device; empty: it has
    // none.
    std::string peer;
    // Disk (raw) that its own starts as; empty: that of the image.
    std::string base;
    // Folder of this host whose content, as it is at Boot, the guest finds read-only in kFiles;
    // empty: none.
    std::string files;
  };
  struct Result {
    int status = -1;
    // Standard output and error output.
    std::string output;
  };

  // Where a guest finds Options::files.
  static constexpr char kFiles[] = "/mnt";

  // Folder with the image, from the environment (FAULTLINE_VM_IMAGE, for arm64
  // FAULTLINE_VM_IMAGE_ARM64); empty: none was made.
  static std::string ImageDir(const std::string& arch);

  // Starts it and waits until it takes commands, at most two minutes; what does not get there ends
  // as one that does not answer Run. `dir` takes its disk, console and sockets, and outlives it.
  static absl::StatusOr<std::unique_ptr<Guest>> Boot(const Options& options,
                                                     const std::string& dir);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Runs `command` with bash as root. DeadlineExceeded: no answer after `timeout_ns`, in which case
  // the console shows what each task was at and the guest is off; Unavailable: it is off.
  absl::StatusOr<Result> Run(const std::string& command, std::int64_t timeout_ns);

  // As if somebody pulled the plug: what was not written to the disk is lost.
  void CutPower();
  // After CutPower: boots the same disk again.
  absl::Status Start();
  // Orderly: systemd stops everything first. The guest is off afterwards.
  absl::Status PowerOff();

  const std::string& name() const { return options_.name; }
  // What the guest's kernel and systemd printed.
  std::string console() const { return dir_ + "/" + options_.name + ".console"; }
  // Its own disk (qcow2), what differs from the one that it started as. Whole while it is off.
  std::string disk() const { return dir_ + "/" + options_.name + ".qcow2"; }

 private:
  Guest(Options options, std::string dir) : options_(std::move(options)), dir_(std::move(dir)) {}
  std::string files_disk() const { return dir_ + "/" + options_.name + ".files"; }
  std::string socket() const { return dir_ + "/" + options_.name + ".port"; }
  // Of QEMU itself.
  std::string monitor() const { return dir_ + "/" + options_.name + ".monitor"; }
  // Where the network device of guest `name` listens for frames.
  std::string wire(const std::string& name) const { return dir_ + "/" + name + ".wire"; }
  std::vector<std::string> Processor() const;
  std::vector<std::string> Arguments() const;
  absl::Status MakeFilesDisk() const;
  absl::Status MountFiles();
  // Until its kernel has started and its side of the port is there.
  absl::Status AwaitReady(std::int64_t until_ns);
  // Up to and without the end of line.
  absl::StatusOr<std::string> ReadLine(std::int64_t until_ns);
  absl::Status Fill(std::int64_t until_ns);
  absl::Status Send(const std::string& command) const;
  absl::StatusOr<Result> Answer(std::int64_t until_ns);
  void Disconnect();
  // Its kernel prints every task's stack to the console, and ends. Not with arm64, which has no
  // such interrupt.
  void Panic();

  const Options options_;
  const std::string dir_;
  Child qemu_;
  int port_ = -1;
  // Read and not yet taken.
  std::string received_;
};

}  // namespace faultline
