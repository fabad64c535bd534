// SPDX-License-Identifier: Apache-2.0
#include "injector/host/tcx_links.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "bpf/fault_steer.skel.h"

namespace faultline {
namespace {

// A process that dies closes its files in the order of their numbers, and each link waits for its
// grace period: those that do nothing come last.
constexpr int kFirstIdleFd = 512;
constexpr int kFirstBusyFd = 3;

// `fd` under the lowest free number from `first` on; as it is if there is none.
int Renumber(int fd, int first) {
  const int other = fcntl(fd, F_DUPFD_CLOEXEC, first);
  if (other < 0) return fd;
  close(fd);
  return other;
}

}  // namespace

TcxLinks::~TcxLinks() {
  for (const Standing& each : standing_) close(each.link_fd);
}

TcxLinks::Device TcxLinks::Here(int ifindex) {
  struct stat network {};
  (void)stat("/proc/thread-self/ns/net", &network);
  return {network.st_ino, ifindex};
}

absl::Status TcxLinks::LoadIdle() {
  if (idle_fd_ >= 0) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open("fault_steer", SkeletonBytes<fault_steer_bpf>());
  if (!object.ok()) return object.status();
  if (absl::Status only = (*object)->LoadOnly("plane_noop"); !only.ok()) return only;
  if (absl::Status status = (*object)->Load(); !status.ok()) return status;
  absl::StatusOr<bpf_program*> idle = (*object)->Program("plane_noop");
  if (!idle.ok()) return idle.status();
  object_ = *std::move(object);
  idle_fd_ = bpf_program__fd(*idle);
  return absl::OkStatus();
}

absl::Status TcxLinks::Hold(int ifindex) {
  const std::lock_guard lock(mutex_);
  const Device device = Here(ifindex);
  const auto known = std::find_if(standing_.begin(), standing_.end(),
                                  [&](const Standing& each) { return each.device == device; });
  if (known != standing_.end()) {
    // A device that went took its link with it, and its number may be another one's by now.
    if (known->busy || bpf_link_update(known->link_fd, idle_fd_, nullptr) == 0) {
      return absl::OkStatus();
    }
    close(known->link_fd);
    standing_.erase(known);
  }
  if (absl::Status loaded = LoadIdle(); !loaded.ok()) return loaded;
  const int fd = bpf_link_create(idle_fd_, ifindex, kTcxEgressHook, nullptr);
  if (fd == -EINVAL || fd == -EOPNOTSUPP) {
    return absl::UnimplementedError("this kernel has no tcx links, which came with 6.6");
  }
  if (fd < 0) return BpfStatus(fd, absl::StrCat("attach tcx/egress to device ", ifindex));
  standing_.push_back({device, Renumber(fd, kFirstIdleFd)});
  return absl::OkStatus();
}

int TcxLinks::Attach(int ifindex, int program_fd) {
  const std::lock_guard lock(mutex_);
  const Device device = Here(ifindex);
  for (Standing& each : standing_) {
    if (each.busy || !(each.device == device)) continue;
    if (bpf_link_update(each.link_fd, program_fd, nullptr) != 0) break;
    each.link_fd = Renumber(each.link_fd, kFirstBusyFd);
    each.busy = true;
    return each.link_fd;
  }
  return bpf_link_create(program_fd, ifindex, kTcxEgressHook, nullptr);
}

absl::Status TcxLinks::Detach(int link_fd) {
  const std::lock_guard lock(mutex_);
  const auto standing =
      std::find_if(standing_.begin(), standing_.end(),
                   [link_fd](const Standing& each) { return each.link_fd == link_fd; });
  if (standing != standing_.end()) {
    const int result = bpf_link_update(link_fd, idle_fd_, nullptr);
    if (result == 0) {
      standing->link_fd = Renumber(link_fd, kFirstIdleFd);
      standing->busy = false;
      return absl::OkStatus();
    }
    standing_.erase(standing);
    if (result == -ENOLINK) {
      close(link_fd);
      return absl::OkStatus();
    }
  }
  // Close alone may leave it to a worker of the kernel.
  const int result = bpf_link_detach(link_fd);
  close(link_fd);
  return result == 0 || result == -ENOLINK ? absl::OkStatus()
                                           : BpfStatus(result, "detach a tcx link");
}

}  // namespace faultline
