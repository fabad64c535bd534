// SPDX-License-Identifier: Apache-2.0
//
// Network devices, queueing disciplines and htb classes, as the network's levers read and change
// them. netlink.h has this machine's, the tests have their own. A Traffic is of one network
// namespace, that of the thread that opened it; one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

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

// A queue that holds every packet back. In order: each waits behind the one before it.
struct Netem {
  std::int64_t delay_ns = 0;
  // Evenly, to both sides of the delay.
  std::int64_t jitter_ns = 0;
  // Packets that may wait; those beyond are dropped.
  std::uint32_t limit = 0;
};

// Kinds of which a kernel can be asked whether it has them.
enum class ProbedKind : std::uint8_t { kHtb, kNetem };

class Traffic {
 public:
  virtual ~Traffic() = default;

  virtual absl::StatusOr<std::vector<NetDevice>> Devices() = 0;
  // NotFound: there is no such device.
  virtual absl::StatusOr<NetDevice> Device(const std::string& name) = 0;

  // The device's root; kind "noqueue" with handle 0 where the kernel lists none.
  virtual absl::StatusOr<Qdisc> Root(int ifindex) = 0;
  // Those right below the root of handle `root`: of mq one for each queue that is in use.
  virtual absl::StatusOr<std::vector<Qdisc>> Below(int ifindex, std::uint32_t root) = 0;
  // Kind that the kernel gives a queue by itself from now on (net.core.default_qdisc). NotFound: it
  // cannot be asked here, in a namespace that is not the machine's.
  virtual absl::StatusOr<std::string> DefaultKind() = 0;
  virtual absl::Status AddHtbRoot(const NetDevice& device, std::uint32_t handle,
                                  std::uint32_t default_class) = 0;
  virtual absl::Status DeleteRoot(int ifindex, std::uint32_t handle) = 0;
  // `limit` in the kind's own unit; 0 leaves the kind's defaults.
  virtual absl::Status AddLeaf(int ifindex, std::uint32_t parent_class, absl::string_view kind,
                               std::uint32_t limit) = 0;
  // Gives class `parent_class` a leaf of that kind, or one that stands other parameters, without
  // losing what waits in it. Only `create` makes one: otherwise NotFound or InvalidArgument.
  virtual absl::Status SetNetem(int ifindex, std::uint32_t parent_class, const Netem& netem,
                                bool create) = 0;
  // NotFound: the class has no such leaf.
  virtual absl::StatusOr<Netem> GetNetem(int ifindex, std::uint32_t parent_class) = 0;
  // OK if the kernel has that kind of qdisc, found out without making one; Unimplemented if not.
  virtual absl::Status Probe(ProbedKind kind) = 0;

  virtual absl::StatusOr<std::vector<HtbClass>> Classes(int ifindex) = 0;
  // NotFound: the device has no class of that handle.
  virtual absl::StatusOr<HtbClass> Class(int ifindex, std::uint32_t handle) = 0;
  // Makes the class, or gives one that stands a new rate. `exclusive`: AlreadyExists if it stands.
  virtual absl::Status SetClass(int ifindex, std::uint32_t parent, std::uint32_t handle,
                                std::uint64_t bytes_per_second, bool exclusive) = 0;
  virtual absl::Status DeleteClass(int ifindex, std::uint32_t handle) = 0;
  // A BPF classifier in direct-action mode on class `parent`; OK if one stands there already.
  virtual absl::Status AddBpfFilter(int ifindex, std::uint32_t parent, int program_fd,
                                    const char* name) = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  virtual absl::StatusOr<std::unique_ptr<Traffic>> Open() = 0;
};

// "f100:2a" as tc(8) writes it.
std::string ClassName(std::uint32_t handle);

}  // namespace faultline
