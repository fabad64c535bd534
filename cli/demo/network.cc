// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/route.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline::cli {
namespace {

struct SocketFree {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using Socket = std::unique_ptr<nl_sock, SocketFree>;
struct LinkPut {
  void operator()(rtnl_link* link) const { rtnl_link_put(link); }
};
using Link = std::unique_ptr<rtnl_link, LinkPut>;
struct AddressPut {
  void operator()(rtnl_addr* address) const { rtnl_addr_put(address); }
};
using Address = std::unique_ptr<rtnl_addr, AddressPut>;
struct NlAddressPut {
  void operator()(nl_addr* address) const { nl_addr_put(address); }
};
using NlAddress = std::unique_ptr<nl_addr, NlAddressPut>;
struct CacheFree {
  void operator()(nl_cache* cache) const { nl_cache_free(cache); }
};
using Cache = std::unique_ptr<nl_cache, CacheFree>;

absl::Status NlStatus(int result, const std::string& what) {
  if (result >= 0) return absl::OkStatus();
  if (result == -NLE_PERM) return absl::PermissionDeniedError(what + ": needs root");
  return absl::InternalError(absl::StrCat(what, ": ", nl_geterror(-result)));
}

// A netlink socket of the namespace that the calling thread is in.
absl::StatusOr<Socket> Connect() {
  Socket socket(nl_socket_alloc());
  if (socket == nullptr) return absl::ResourceExhaustedError("no memory for a netlink socket");
  const absl::Status status = NlStatus(nl_connect(socket.get(), NETLINK_ROUTE), "open netlink");
  if (!status.ok()) return status;
  return socket;
}

constexpr int kPrefix = 30;

NlAddress Parse(const std::string& cidr) {
  nl_addr* address = nullptr;
  nl_addr_parse(cidr.c_str(), AF_INET, &address);
  return NlAddress(address);
}

// Whether `network` overlaps an address or a route of this namespace, the default route excepted.
bool InUse(nl_cache* routes, nl_addr* network) {
  for (nl_object* object = nl_cache_get_first(routes); object != nullptr;
       object = nl_cache_get_next(object)) {
    nl_addr* known = rtnl_route_get_dst(reinterpret_cast<rtnl_route*>(object));
    if (known == nullptr || nl_addr_get_prefixlen(known) == 0) continue;
    // nl_addr_cmp_prefix compares the shorter of the two prefixes.
    if (nl_addr_get_family(known) == AF_INET && nl_addr_cmp_prefix(known, network) == 0) {
      return true;
    }
  }
  return false;
}

// The first two host addresses of an unused /30. The kernel's own routing table has an entry for
// every local address, so it is enough to look there.
absl::Status ChooseAddresses(nl_sock* socket, pid_t tag, std::string* server, std::string* client) {
  nl_cache* filled = nullptr;
  const absl::Status status =
      NlStatus(rtnl_route_alloc_cache(socket, AF_INET, 0, &filled), "read the routing table");
  if (!status.ok()) return status;
  const Cache routes(filled);
  // 198.18.0.0/15 holds 2^15 of them; two demos start at different ones.
  constexpr std::uint32_t kFirst = 0xC6120000U;
  constexpr std::uint32_t kNetworks = 1U << 15U;
  for (std::uint32_t i = 0; i < kNetworks; ++i) {
    const std::uint32_t base = kFirst + (static_cast<std::uint32_t>(tag) + i) % kNetworks * 4;
    const auto text = [base](std::uint32_t host) {
      const in_addr address{htonl(base + host)};
      char buffer[INET_ADDRSTRLEN];
      return std::string(::inet_ntop(AF_INET, &address, buffer, sizeof(buffer)));
    };
    if (InUse(routes.get(), Parse(absl::StrCat(text(0), "/", kPrefix)).get())) continue;
    *server = text(1);
    *client = text(2);
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError("198.18.0.0/15 has no free network left for the demo");
}

// Brings `device` up and gives it `address`, if it has one, in the calling thread's namespace.
absl::Status Configure(const std::string& device, const std::string& address) {
  absl::StatusOr<Socket> socket = Connect();
  if (!socket.ok()) return socket.status();
  rtnl_link* found = nullptr;
  absl::Status status = NlStatus(rtnl_link_get_kernel(socket->get(), 0, device.c_str(), &found),
                                 "find device " + device);
  if (!status.ok()) return status;
  const Link link(found);
  if (!address.empty()) {
    const Address entry(rtnl_addr_alloc());
    const NlAddress local = Parse(absl::StrCat(address, "/", kPrefix));
    rtnl_addr_set_ifindex(entry.get(), rtnl_link_get_ifindex(link.get()));
    rtnl_addr_set_local(entry.get(), local.get());
    status = NlStatus(rtnl_addr_add(socket->get(), entry.get(), 0),
                      absl::StrCat("give ", address, " to ", device));
    if (!status.ok()) return status;
  }
  const Link change(rtnl_link_alloc());
  rtnl_link_set_flags(change.get(), IFF_UP);
  return NlStatus(rtnl_link_change(socket->get(), link.get(), change.get(), 0),
                  "switch on " + device);
}

absl::Status MakePair(nl_sock* socket, const std::string& device, const std::string& peer_name,
                      int namespace_fd) {
  const Link link(rtnl_link_veth_alloc());
  rtnl_link_set_name(link.get(), device.c_str());
  {
    const Link peer(rtnl_link_veth_get_peer(link.get()));
    rtnl_link_set_name(peer.get(), peer_name.c_str());
    rtnl_link_set_ns_fd(peer.get(), namespace_fd);
  }
  return NlStatus(rtnl_link_add(socket, link.get(), NLM_F_CREATE | NLM_F_EXCL),
                  "make veth pair " + device);
}

// Runs `work` in a thread of its own, so that a change of namespace stays there.
template <typename Work>
absl::Status InThread(const Work& work) {
  absl::Status status;
  std::jthread([&] { status = work(); }).join();
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DemoNetwork>> DemoNetwork::Create(pid_t tag) {
  std::unique_ptr<DemoNetwork> network(new DemoNetwork());
  network->device_ = absl::StrCat("fl", tag, "s");
  const std::string peer = absl::StrCat("fl", tag, "c");
  absl::Status status = InThread([&] {
    if (::unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "make a network namespace");
    network->namespace_fd_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    return network->namespace_fd_ < 0 ? ErrnoStatus(errno, "open the network namespace")
                                      : absl::OkStatus();
  });
  if (!status.ok()) return status;
  absl::StatusOr<Socket> socket = Connect();
  if (!socket.ok()) return socket.status();
  status =
      ChooseAddresses(socket->get(), tag, &network->server_address_, &network->client_address_);
  if (status.ok()) {
    status = MakePair(socket->get(), network->device_, peer, network->namespace_fd_);
  }
  if (status.ok()) status = Configure(network->device_, network->server_address_);
  if (!status.ok()) return status;
  status = InThread([&] {
    if (::setns(network->namespace_fd_, CLONE_NEWNET) != 0) {
      return ErrnoStatus(errno, "enter the network namespace");
    }
    const absl::Status loopback = Configure("lo", "");
    return loopback.ok() ? Configure(peer, network->client_address_) : loopback;
  });
  if (!status.ok()) return status;
  return network;
}

DemoNetwork::~DemoNetwork() {
  const absl::Status status = Remove();
  status.IgnoreError();
  if (namespace_fd_ >= 0) ::close(namespace_fd_);
}

absl::Status DemoNetwork::Remove() {
  absl::StatusOr<Socket> socket = Connect();
  if (!socket.ok()) return socket.status();
  const Link link(rtnl_link_alloc());
  rtnl_link_set_name(link.get(), device_.c_str());
  const int result = rtnl_link_delete(socket->get(), link.get());
  if (result == -NLE_NODEV || result == -NLE_OBJ_NOTFOUND) return absl::OkStatus();
  return NlStatus(result, "delete veth pair " + device_);
}

}  // namespace faultline::cli
