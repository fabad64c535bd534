// SPDX-License-Identifier: Apache-2.0
//
// A network of a test's own: the test's thread moves into a fresh network namespace ("here") that
// is joined to another one ("there") by a veth pair, 10.77.0.1 and 10.77.0.2 (fd77::1 and fd77::2).
// Nothing of it is named in the file system, so the kernel removes all of it with the last
// descriptor or process, also after a crash. One thread.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {

class TestNetwork {
 public:
  static constexpr char kHereDevice[] = "fltest0";
  static constexpr char kThereDevice[] = "fltest1";
  static constexpr char kHere[] = "10.77.0.1";
  static constexpr char kThere[] = "10.77.0.2";

  static absl::StatusOr<std::unique_ptr<TestNetwork>> Create() {
    auto network = std::unique_ptr<TestNetwork>(new TestNetwork());
    network->home_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (network->home_ < 0 || unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "unshare");
    network->there_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (network->there_ < 0 || unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "unshare");
    network->here_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    absl::Status status =
        network->AddLivePair({kHereDevice, kHere, "fd77::1"}, {kThereDevice, kThere, "fd77::2"});
    if (!status.ok()) return status;
    return network;
  }

  // Goes home; the namespaces end with their descriptors.
  ~TestNetwork() {
    if (home_ >= 0) setns(home_, CLONE_NEWNET);
    for (int fd : {here_, there_, home_}) {
      if (fd >= 0) close(fd);
    }
  }
  TestNetwork(const TestNetwork&) = delete;
  TestNetwork& operator=(const TestNetwork&) = delete;

  // Runs `body` on this thread in the other namespace.
  void InThere(const std::function<void()>& body) const {
    setns(there_, CLONE_NEWNET);
    body();
    setns(here_, CLONE_NEWNET);
  }

  // A socket of control group `group` (null: of this process's), made in the namespace in which the
  // thread is: a child enters the group, makes it and passes it back.
  static int Socket(TestCgroup* group, int domain, int type, int protocol = 0) {
    if (group == nullptr) return socket(domain, type | SOCK_CLOEXEC, protocol);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) != 0) return -1;
    const int exit_status = group->Run([&] {
      const int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
      return fd >= 0 && PassDescriptor(pair[1], fd) ? 0 : 1;
    });
    const int fd = exit_status == 0 ? TakeDescriptor(pair[0]) : -1;
    close(pair[0]);
    close(pair[1]);
    return fd;
  }

  // Whether the thread's end of the pair has its IPv6 address: a kernel may be without.
  static bool HasIpv6() {
    std::ifstream file("/proc/thread-self/net/if_inet6");
    const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    return absl::StrContains(all, kHereDevice);
  }

  static sockaddr_in Address(const char* ip, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, ip, &address.sin_addr);
    return address;
  }

  // Binds to a free port of `ip` and returns it; 0 on failure.
  static std::uint16_t Bind(int fd, const char* ip) {
    sockaddr_in address = Address(ip, 0);
    socklen_t size = sizeof(address);
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) return 0;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
    return ntohs(address.sin_port);
  }

  static int Connect(int fd, const char* ip, std::uint16_t port) {
    const sockaddr_in address = Address(ip, port);
    return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }

  // One end of a pair: its device and its addresses.
  struct End {
    const char* device;
    const char* ipv4;
    const char* ipv6;
  };
  // A pair that is up: `here` in the thread's namespace, `there` in the other one.
  absl::Status AddLivePair(const End& here, const End& there) const {
    absl::Status status = AddPair(here.device, there.device);
    if (status.ok()) status = BringUp(here.device, here.ipv4, here.ipv6);
    if (!status.ok()) return status;
    InThere([&] { status = BringUp(there.device, there.ipv4, there.ipv6); });
    return status;
  }

  // Another pair of devices: `here` in the thread's namespace, `there` in the other one; down.
  absl::Status AddPair(const char* here, const char* there) const {
    const std::unique_ptr<nl_sock, SocketFree> socket(nl_socket_alloc());
    absl::Status status = NetlinkStatus(nl_connect(socket.get(), NETLINK_ROUTE), "netlink");
    if (!status.ok()) return status;
    rtnl_link* link = rtnl_link_veth_alloc();
    rtnl_link* peer = rtnl_link_veth_get_peer(link);
    rtnl_link_set_name(link, here);
    rtnl_link_set_name(peer, there);
    rtnl_link_set_ns_fd(peer, there_);
    status = NetlinkStatus(rtnl_link_add(socket.get(), link, NLM_F_CREATE | NLM_F_EXCL), "veth");
    rtnl_link_put(peer);
    rtnl_link_put(link);
    return status;
  }

  // Removes a device of the thread's namespace, and with it the other one of its pair.
  static absl::Status Remove(const char* device) {
    const std::unique_ptr<nl_sock, SocketFree> socket(nl_socket_alloc());
    absl::Status status = NetlinkStatus(nl_connect(socket.get(), NETLINK_ROUTE), "netlink");
    if (!status.ok()) return status;
    rtnl_link* link = rtnl_link_alloc();
    rtnl_link_set_name(link, device);
    status = NetlinkStatus(rtnl_link_delete(socket.get(), link), device);
    rtnl_link_put(link);
    return status;
  }

  // Sets a device of the thread's namespace down and up again.
  static absl::Status Flap(const char* device) {
    absl::Status status = SetFlags(device, 0);
    return status.ok() ? SetFlags(device, IFF_UP) : status;
  }

  // A counter of the thread's namespace from /proc/net/snmp, e.g. "Tcp", "RetransSegs"; -1 if there
  // is none.
  static std::int64_t Snmp(const std::string& table, const std::string& counter) {
    std::ifstream in("/proc/thread-self/net/snmp");
    std::string names;
    std::string values;
    while (std::getline(in, names) && std::getline(in, values)) {
      std::istringstream name(names);
      std::istringstream value(values);
      std::string word;
      std::string number;
      name >> word;
      value >> number;
      if (word != table + ":") continue;
      while (name >> word && value >> number) {
        if (word == counter) return std::stoll(number);
      }
    }
    return -1;
  }

 private:
  TestNetwork() = default;

  struct SocketFree {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };

  static absl::Status NetlinkStatus(int error, const std::string& what) {
    if (error >= 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(what, ": ", nl_geterror(error)));
  }

  static absl::Status SetFlags(const char* device, short flags) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
    request.ifr_flags = flags;
    const int result = ioctl(fd, SIOCSIFFLAGS, &request);
    const int error = errno;
    close(fd);
    return result == 0 ? absl::OkStatus() : ErrnoStatus(error, absl::StrCat("set ", device));
  }

  static absl::Status AddAddress(nl_sock* socket, const char* device, const char* ip, int prefix) {
    nl_addr* local = nullptr;
    if (nl_addr_parse(ip, AF_UNSPEC, &local) < 0) return absl::InvalidArgumentError(ip);
    nl_addr_set_prefixlen(local, prefix);
    rtnl_addr* address = rtnl_addr_alloc();
    rtnl_addr_set_ifindex(address, static_cast<int>(if_nametoindex(device)));
    rtnl_addr_set_local(address, local);
    // No duplicate address detection: the address works at once.
    rtnl_addr_set_flags(address, IFA_F_NODAD);
    absl::Status status = NetlinkStatus(rtnl_addr_add(socket, address, NLM_F_CREATE), ip);
    rtnl_addr_put(address);
    nl_addr_put(local);
    return status;
  }

  static absl::Status BringUp(const char* device, const char* ipv4, const char* ipv6) {
    const std::unique_ptr<nl_sock, SocketFree> socket(nl_socket_alloc());
    absl::Status status = NetlinkStatus(nl_connect(socket.get(), NETLINK_ROUTE), "netlink");
    if (status.ok()) status = AddAddress(socket.get(), device, ipv4, 24);
    if (status.ok()) status = SetFlags("lo", IFF_UP);
    if (status.ok()) status = SetFlags(device, IFF_UP);
    // A kernel without IPv6 is still good for the rest.
    if (status.ok()) (void)AddAddress(socket.get(), device, ipv6, 64);
    return status;
  }

  static bool PassDescriptor(int over, int fd) {
    char byte = 'x';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    return sendmsg(over, &message, 0) == 1;
  }

  static int TakeDescriptor(int from) {
    char byte = 0;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    int fd = -1;
    if (header != nullptr) std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
  }

  int home_ = -1;
  int here_ = -1;
  int there_ = -1;
};

}  // namespace faultline
