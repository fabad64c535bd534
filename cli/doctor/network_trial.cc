// SPDX-License-Identifier: Apache-2.0
//
// In a network namespace without a name, which the kernel removes with the thread that is in it.
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/doctor/trials.h"
#include "injector/host/kernel_programs.h"
#include "injector/host/net.h"
#include "injector/host/netlink.h"
#include "injector/host/plane.h"
#include "injector/host/real_net.h"

namespace faultline::cli::doctor {
namespace {

constexpr char kLoopback[] = "lo";

absl::Status SwitchOnLoopback() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return ErrnoStatus(errno, "make a socket");
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", kLoopback);
  request.ifr_flags = IFF_UP;
  const int error = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : errno;
  ::close(fd);
  return ErrnoStatus(error, "switch on loopback");
}

// Runs `work` with the namespace's lo, which nothing uses, in a thread that ends with it.
template <typename Work>
absl::Status InOwnNetwork(const Work& work) {
  absl::Status status;
  std::jthread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      status = ErrnoStatus(errno, "make a network namespace");
      return;
    }
    status = SwitchOnLoopback();
    if (status.ok()) status = work();
  }).join();
  return status;
}

}  // namespace

absl::Status TryQdisc(const std::string& kind) {
  return InOwnNetwork([&kind]() -> absl::Status {
    absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
    if (!netlink.ok()) return netlink.status();
    absl::StatusOr<NetDevice> device = (*netlink)->Device(kLoopback);
    if (!device.ok()) return device.status();
    absl::Status status = (*netlink)->AddLeaf(device->index, TC_H_ROOT, kind, 0);
    // The kind was found, its module loaded if it is one, and it wants to be told more than
    // nothing.
    if (absl::IsInvalidArgument(status)) return absl::OkStatus();
    if (absl::IsNotFound(status)) {
      return absl::UnimplementedError(absl::StrCat("this kernel has no qdisc ", kind));
    }
    return status;
  });
}

absl::Status TryPlane() {
  return InOwnNetwork([]() -> absl::Status {
    RealNet net;
    const absl::StatusOr<v1::Change> made = SetUpPlane(net.Get(), {kLoopback});
    if (!made.ok()) return made.status();
    absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
    if (!netlink.ok()) return netlink.status();
    absl::StatusOr<NetDevice> device = (*netlink)->Device(kLoopback);
    if (!device.ok()) return device.status();
    absl::Status status = CheckSink(**netlink, *device);
    const absl::Status removed = RemovePlane(net.Get(), kLoopback);
    return status.ok() ? removed : status;
  });
}

absl::Status TryTcx() {
  return InOwnNetwork([] { return KernelPrograms().HoldTcx(kLoopback); });
}

}  // namespace faultline::cli::doctor
