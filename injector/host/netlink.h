// SPDX-License-Identifier: Apache-2.0
//
// What the network faults say to the kernel over rtnetlink: devices, queueing disciplines and htb
// classes. A Netlink is one socket in the network namespace of the thread that opened it; one
// thread at a time. Errors carry the kernel's own words where it has some.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct nl_msg;
struct nl_sock;
struct nlmsghdr;

namespace faultline {

struct NetDevice {
  int index = 0;
  std::string name;
  bool up = false;
  // The kind of its root qdisc, "noop" until it is up for the first time, when the kernel gives it
  // its default and lists it.
  std::string root_kind;
  bool loopback = false;
  // Packets pass another device of this namespace as well: a bridge's port, a VLAN, a bond's slave.
  bool stacked = false;
  std::uint32_t queue_packets = 0;
  std::uint32_t mtu = 0;
  // How often it lost its link: no cable, the other end down, or itself set down. Devices without
  // a link to lose do not count.
  std::uint32_t carrier_downs = 0;
};

struct Qdisc {
  std::string kind;
  std::uint32_t handle = 0;
};

// 1 Tbit/s in bytes: no device is faster, so nothing waits for tokens.
constexpr std::uint64_t kUnlimitedRate = 125'000'000'000;

// An htb class with its counters since it was made.
struct HtbClass {
  std::uint32_t handle = 0;
  std::uint64_t bytes_per_second = 0;
  std::uint64_t bytes = 0;
  std::uint64_t packets = 0;
  std::uint32_t queued_packets = 0;
  std::uint32_t queued_bytes = 0;
  std::uint32_t drops = 0;
  std::uint32_t overlimits = 0;
};

class Netlink {
 public:
  static absl::StatusOr<std::unique_ptr<Netlink>> Open();

  absl::StatusOr<std::vector<NetDevice>> Devices();
  // NotFound: there is no such device.
  absl::StatusOr<NetDevice> Device(const std::string& name);

  // The device's root; kind "noqueue" with handle 0 where the kernel lists none.
  absl::StatusOr<Qdisc> Root(int ifindex);
  absl::Status AddHtbRoot(const NetDevice& device, std::uint32_t handle,
                          std::uint32_t default_class);
  absl::Status DeleteRoot(int ifindex, std::uint32_t handle);
  // `limit` in the kind's own unit; 0 leaves the kind's defaults.
  absl::Status AddLeaf(int ifindex, std::uint32_t parent_class, absl::string_view kind,
                       std::uint32_t limit);
  // OK if the kernel has htb, found out without making one; Unimplemented if not.
  absl::Status ProbeHtb();

  absl::StatusOr<std::vector<HtbClass>> Classes(int ifindex);
  // NotFound: the device has no class of that handle.
  absl::StatusOr<HtbClass> Class(int ifindex, std::uint32_t handle);
  // Makes the class, or gives one that stands a new rate. `exclusive`: AlreadyExists if it stands.
  absl::Status SetClass(int ifindex, std::uint32_t parent, std::uint32_t handle,
                        std::uint64_t bytes_per_second, bool exclusive);
  absl::Status DeleteClass(int ifindex, std::uint32_t handle);
  // A BPF classifier in direct-action mode on class `parent`; OK if one stands there already.
  absl::Status AddBpfFilter(int ifindex, std::uint32_t parent, int program_fd, const char* name);

 private:
  struct Closer {
    void operator()(nl_sock* socket) const;
  };
  using Visit = std::function<void(nlmsghdr*)>;

  explicit Netlink(nl_sock* socket) : socket_(socket) {}
  // Sends `message` and reads until its acknowledgement or the end of the dump.
  absl::Status Exchange(nl_msg* message, const std::string& what, const Visit& visit = {});

  std::unique_ptr<nl_sock, Closer> socket_;
};

// That a network device came or went, is up or down, or has another qdisc: the kernel's notices
// (RTNLGRP_LINK, RTNLGRP_TC) in the network namespace of the thread that opens it. One thread at a
// time.
class DeviceEvents {
 public:
  static absl::StatusOr<DeviceEvents> Open();
  DeviceEvents(DeviceEvents&& other) noexcept;
  DeviceEvents& operator=(DeviceEvents&& other) noexcept;
  ~DeviceEvents();

  // Readable while there are notices that were not taken; for poll(2).
  int fd() const { return fd_; }
  // Takes all that have come. What they say is to be read anew anyway: some may be lost.
  void Take() const;

 private:
  explicit DeviceEvents(int fd) : fd_(fd) {}
  int fd_;
};

// The units in which htb takes a burst: the time that `bytes` need at `bytes_per_second`, in the
// kernel's ticks of 64 ns.
std::uint32_t HtbTicks(std::uint64_t bytes, std::uint64_t bytes_per_second);

// "f100:2a" as tc(8) writes it.
std::string ClassName(std::uint32_t handle);

}  // namespace faultline
