// SPDX-License-Identifier: Apache-2.0
//
// BPF links on tcx egress of network devices. To make or end a link waits for a grace period of RCU
// with the routing lock held (tcx_entry_sync, kernel/bpf/tcx.c: 8 to 20 ms measured); to exchange
// the program of one that stands does not. So a device that is held keeps a link whose program does
// nothing, and which serves one fault at a time. All go with this process, whatever kills it: those
// that do something first. Any thread; devices are those of the calling thread's network namespace.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "base/bpf_object.h"

namespace faultline {

// BPF_TCX_EGRESS; since 6.6, so not in the headers of Debian 12.
inline constexpr auto kTcxEgressHook = static_cast<bpf_attach_type>(47);

class TcxLinks {
 public:
  TcxLinks() = default;
  // Closes the links that are held; none may be attached any more.
  ~TcxLinks();
  TcxLinks(const TcxLinks&) = delete;
  TcxLinks& operator=(const TcxLinks&) = delete;

  // Makes the device's standing link. OK: it stands, from now or already. Unimplemented: this
  // kernel has no tcx.
  absl::Status Hold(int ifindex);

  // Attaches a program of type tc. A descriptor for Detach, or a negative errno of bpf(2).
  int Attach(int ifindex, int program_fd);
  // Has let go when it returns; OK as well if the device went, and the program with it.
  absl::Status Detach(int link_fd);

 private:
  struct Device {
    // Inode of the network namespace.
    std::uint64_t network = 0;
    int ifindex = 0;
    bool operator==(const Device& other) const {
      return network == other.network && ifindex == other.ifindex;
    }
  };
  struct Standing {
    Device device;
    int link_fd = -1;
    bool busy = false;
  };
  static Device Here(int ifindex);
  absl::Status LoadIdle();

  std::mutex mutex_;
  std::unique_ptr<BpfObject> object_;
  int idle_fd_ = -1;
  std::vector<Standing> standing_;
};

}  // namespace faultline
