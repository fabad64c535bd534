// SPDX-License-Identifier: Apache-2.0
//
// Traffic of this machine over rtnetlink. A Netlink is one socket in the network namespace of the
// thread that opened it; one thread at a time. Errors carry the kernel's own words where it has
// some.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "injector/host/traffic.h"

struct nl_msg;
struct nl_sock;
struct nlmsghdr;

namespace faultline {

class Netlink final : public Traffic {
 public:
  static absl::StatusOr<std::unique_ptr<Netlink>> Open();

  absl::StatusOr<std::vector<NetDevice>> Devices() override;
  absl::StatusOr<NetDevice> Device(const std::string& name) override;

  absl::StatusOr<Qdisc> Root(int ifindex) override;
  absl::StatusOr<std::vector<Qdisc>> Below(int ifindex, std::uint32_t root) override;
  absl::StatusOr<std::string> DefaultKind() override;
  absl::Status AddHtbRoot(const NetDevice& device, std::uint32_t handle,
                          std::uint32_t default_class) override;
  absl::Status DeleteRoot(int ifindex, std::uint32_t handle) override;
  absl::Status AddLeaf(int ifindex, std::uint32_t parent_class, absl::string_view kind,
                       std::uint32_t limit) override;
  absl::Status SetNetem(int ifindex, std::uint32_t parent_class, const Netem& netem,
                        bool create) override;
  absl::StatusOr<Netem> GetNetem(int ifindex, std::uint32_t parent_class) override;
  absl::Status Probe(ProbedKind kind) override;

  absl::StatusOr<std::vector<HtbClass>> Classes(int ifindex) override;
  absl::StatusOr<HtbClass> Class(int ifindex, std::uint32_t handle) override;
  absl::Status SetClass(int ifindex, std::uint32_t parent, std::uint32_t handle,
                        std::uint64_t bytes_per_second, bool exclusive) override;
  absl::Status DeleteClass(int ifindex, std::uint32_t handle) override;
  absl::Status AddBpfFilter(int ifindex, std::uint32_t parent, int program_fd,
                            const char* name) override;

 private:
  struct Closer {
    void operator()(nl_sock* socket) const;
  };
  using Visit = std::function<void(nlmsghdr*)>;

  explicit Netlink(nl_sock* socket) : socket_(socket) {}
  // Sends `message` and reads until its acknowledgement or the end of the dump.
  absl::Status Exchange(nl_msg* message, const std::string& what, const Visit& visit = {});
  absl::Status ListQdiscs(int ifindex,
                          const std::function<void(std::uint32_t parent, Qdisc one)>& visit);

  std::unique_ptr<nl_sock, Closer> socket_;
};

// Opens one for each caller.
class NetlinkNetwork final : public Network {
 public:
  absl::StatusOr<std::unique_ptr<Traffic>> Open() override;
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

}  // namespace faultline
