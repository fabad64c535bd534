// SPDX-License-Identifier: Apache-2.0
#include "injector/host/netlink.h"

#include <linux/gen_stats.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "injector/host/netlink_message.h"
#include "injector/host/text_file.h"

namespace faultline {
namespace {

struct BufferFree {
  void operator()(unsigned char* buffer) const { free(buffer); }
};

// The kernel's explanation, which follows the error when extended acknowledgements are on. The
// socket asks for capped ones, so the attributes begin right behind the header of the request.
std::string KernelWords(const nlmsghdr* header) {
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return "";
  constexpr int kBody = static_cast<int>(sizeof(nlmsgerr));
  nlattr* words = nlmsg_find_attr(const_cast<nlmsghdr*>(header), kBody, NLMSGERR_ATTR_MSG);
  return words == nullptr ? "" : nla_get_string(words);
}

absl::Status Answer(const nlmsghdr* header, const std::string& what) {
  const auto* error = static_cast<const nlmsgerr*>(nlmsg_data(header));
  absl::Status status = ErrnoStatus(-error->error, what);
  const std::string words = status.ok() ? "" : KernelWords(header);
  if (words.empty()) return status;
  return {status.code(), absl::StrCat(status.message(), " (", words, ")")};
}

NetDevice ParseDevice(nlmsghdr* header) {
  const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(header));
  NetDevice device;
  device.index = info->ifi_index;
  device.up = (info->ifi_flags & IFF_UP) != 0;
  device.loopback = (info->ifi_flags & IFF_LOOPBACK) != 0;
  nlattr* attributes[IFLA_MAX + 1];
  if (nlmsg_parse(header, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) < 0) return device;
  if (attributes[IFLA_IFNAME] != nullptr) device.name = nla_get_string(attributes[IFLA_IFNAME]);
  if (attributes[IFLA_QDISC] != nullptr) device.root_kind = nla_get_string(attributes[IFLA_QDISC]);
  if (attributes[IFLA_TXQLEN] != nullptr) {
    device.queue_packets = nla_get_u32(attributes[IFLA_TXQLEN]);
  }
  if (attributes[IFLA_MTU] != nullptr) device.mtu = nla_get_u32(attributes[IFLA_MTU]);
  if (attributes[IFLA_CARRIER_DOWN_COUNT] != nullptr) {
    device.carrier_downs = nla_get_u32(attributes[IFLA_CARRIER_DOWN_COUNT]);
  }
  // A veth names its peer as its lower device too; there the namespace id tells the peer's, or the
  // peer is in this one, and then a packet that crosses has lost its socket anyway.
  nlattr* info_attribute = attributes[IFLA_LINKINFO];
  const nlattr* kind = info_attribute == nullptr
                           ? nullptr
                           : nla_find(static_cast<const nlattr*>(nla_data(info_attribute)),
                                      nla_len(info_attribute), IFLA_INFO_KIND);
  const bool veth = kind != nullptr && std::strcmp(nla_get_string(kind), "veth") == 0;
  const bool upper = attributes[IFLA_LINK] != nullptr && !veth &&
                     attributes[IFLA_LINK_NETNSID] == nullptr &&
                     nla_get_u32(attributes[IFLA_LINK]) != static_cast<unsigned>(device.index) &&
                     nla_get_u32(attributes[IFLA_LINK]) != 0;
  device.stacked = upper || attributes[IFLA_MASTER] != nullptr;
  return device;
}

void ParseRate(nlattr* options, HtbClass* result) {
  nlattr* attributes[TCA_HTB_MAX + 1];
  if (nla_parse_nested(attributes, TCA_HTB_MAX, options, nullptr) < 0) return;
  if (attributes[TCA_HTB_PARMS] != nullptr &&
      nla_len(attributes[TCA_HTB_PARMS]) >= static_cast<int>(sizeof(tc_htb_opt))) {
    tc_htb_opt parameters;
    std::memcpy(&parameters, nla_data(attributes[TCA_HTB_PARMS]), sizeof(parameters));
    result->bytes_per_second = parameters.rate.rate;
  }
  if (attributes[TCA_HTB_RATE64] != nullptr) {
    result->bytes_per_second = nla_get_u64(attributes[TCA_HTB_RATE64]);
  }
}

void ParseStatistics(nlattr* statistics, HtbClass* result) {
  nlattr* attributes[TCA_STATS_MAX + 1];
  if (nla_parse_nested(attributes, TCA_STATS_MAX, statistics, nullptr) < 0) return;
  const auto copy = [&](int index, auto* to) {
    if (attributes[index] == nullptr) return;
    const auto size = std::min(sizeof(*to), static_cast<size_t>(nla_len(attributes[index])));
    std::memcpy(to, nla_data(attributes[index]), size);
  };
  gnet_stats_basic basic{};
  gnet_stats_queue queue{};
  copy(TCA_STATS_BASIC, &basic);
  copy(TCA_STATS_QUEUE, &queue);
  result->bytes = basic.bytes;
  result->packets = basic.packets;
  // Only sent when the count has outgrown 32 bits.
  if (attributes[TCA_STATS_PKT64] != nullptr) {
    result->packets = nla_get_u64(attributes[TCA_STATS_PKT64]);
  }
  result->queued_packets = queue.qlen;
  result->queued_bytes = queue.backlog;
  result->drops = queue.drops;
  result->overlimits = queue.overlimits;
}

}  // namespace

void Netlink::Closer::operator()(nl_sock* socket) const { nl_socket_free(socket); }

absl::StatusOr<std::unique_ptr<Netlink>> Netlink::Open() {
  nl_sock* socket = nl_socket_alloc();
  if (socket == nullptr) return absl::ResourceExhaustedError("netlink socket: no memory");
  std::unique_ptr<Netlink> netlink(new Netlink(socket));
  if (const int error = nl_connect(socket, NETLINK_ROUTE); error < 0) {
    return absl::InternalError(absl::StrCat("open netlink socket: ", nl_geterror(error)));
  }
  const int on = 1;
  // Both only improve messages; kernels before 4.12 lack them.
  setsockopt(nl_socket_get_fd(socket), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  setsockopt(nl_socket_get_fd(socket), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
  return netlink;
}

absl::StatusOr<std::unique_ptr<Traffic>> NetlinkNetwork::Open() { return Netlink::Open(); }

absl::Status Netlink::Exchange(nl_msg* message, const std::string& what, const Visit& visit) {
  nl_complete_msg(socket_.get(), message);
  const std::uint32_t sequence = nlmsg_hdr(message)->nlmsg_seq;
  if (const int sent = nl_send(socket_.get(), message); sent < 0) {
    return absl::InternalError(absl::StrCat(what, ": send: ", nl_geterror(sent)));
  }
  while (true) {
    sockaddr_nl from{};
    unsigned char* buffer = nullptr;
    int left = nl_recv(socket_.get(), &from, &buffer, nullptr);
    const std::unique_ptr<unsigned char, BufferFree> owner(buffer);
    if (left <= 0) return absl::InternalError(absl::StrCat(what, ": receive: ", nl_geterror(left)));
    auto* header = reinterpret_cast<nlmsghdr*>(buffer);
    for (; nlmsg_ok(header, left) != 0; header = nlmsg_next(header, &left)) {
      if (header->nlmsg_seq != sequence) continue;
      if (header->nlmsg_type == NLMSG_ERROR) return Answer(header, what);
      if (header->nlmsg_type == NLMSG_DONE) return absl::OkStatus();
      if (visit) visit(header);
    }
  }
}

absl::StatusOr<std::vector<NetDevice>> Netlink::Devices() {
  const Message message(nlmsg_alloc_simple(RTM_GETLINK, NLM_F_DUMP));
  ifinfomsg body{};
  nlmsg_append(message.get(), &body, sizeof(body), NLMSG_ALIGNTO);
  std::vector<NetDevice> devices;
  absl::Status status = Exchange(message.get(), "list network devices",
                                 [&](nlmsghdr* header) { devices.push_back(ParseDevice(header)); });
  if (!status.ok()) return status;
  return devices;
}

absl::StatusOr<NetDevice> Netlink::Device(const std::string& name) {
  absl::StatusOr<std::vector<NetDevice>> devices = Devices();
  if (!devices.ok()) return devices.status();
  for (NetDevice& device : *devices) {
    if (device.name == name) return std::move(device);
  }
  return absl::NotFoundError(absl::StrCat("there is no network device ", name));
}

absl::Status Netlink::ListQdiscs(
    int ifindex, const std::function<void(std::uint32_t parent, Qdisc one)>& visit) {
  const Message message = TrafficMessage(RTM_GETQDISC, NLM_F_DUMP, ifindex, 0, 0);
  return Exchange(message.get(), "list qdiscs", [&](nlmsghdr* header) {
    const auto* body = static_cast<const tcmsg*>(nlmsg_data(header));
    if (body->tcm_ifindex != ifindex) return;
    nlattr* kind = nlmsg_find_attr(header, sizeof(tcmsg), TCA_KIND);
    visit(body->tcm_parent, {kind == nullptr ? "" : nla_get_string(kind), body->tcm_handle});
  });
}

absl::StatusOr<Qdisc> Netlink::Root(int ifindex) {
  Qdisc root{"noqueue", 0};
  absl::Status status = ListQdiscs(ifindex, [&](std::uint32_t parent, Qdisc one) {
    if (parent == TC_H_ROOT) root = std::move(one);
  });
  if (!status.ok()) return status;
  return root;
}

absl::StatusOr<std::vector<Qdisc>> Netlink::Below(int ifindex, std::uint32_t root) {
  std::vector<Qdisc> below;
  absl::Status status = ListQdiscs(ifindex, [&](std::uint32_t parent, Qdisc one) {
    // The major number of those for inbound packets and of the root itself is another.
    if (TC_H_MAJ(parent) == root) below.push_back(std::move(one));
  });
  if (!status.ok()) return status;
  return below;
}

absl::StatusOr<std::string> Netlink::DefaultKind() {
  return ReadText("/proc/sys/net/core/default_qdisc");
}

absl::Status Netlink::AddHtbRoot(const NetDevice& device, std::uint32_t handle,
                                 std::uint32_t default_class) {
  const Message message =
      TrafficMessage(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, device.index, TC_H_ROOT, handle);
  PutString(message.get(), TCA_KIND, "htb");
  nlattr* options = nla_nest_start(message.get(), TCA_OPTIONS);
  tc_htb_glob parameters{};
  parameters.version = 3;
  parameters.rate2quantum = 10;
  parameters.defcls = TC_H_MIN(default_class);
  nla_put(message.get(), TCA_HTB_INIT, sizeof(parameters), &parameters);
  // The direct queue of a device without a queue length would take nothing.
  constexpr std::uint32_t kDefaultQueue = 1000;
  const std::uint32_t queue = device.queue_packets == 0 ? kDefaultQueue : device.queue_packets;
  nla_put_u32(message.get(), TCA_HTB_DIRECT_QLEN, queue);
  nla_nest_end(message.get(), options);
  return Exchange(message.get(), absl::StrCat("add htb root to ", device.name));
}

absl::Status Netlink::DeleteRoot(int ifindex, std::uint32_t handle) {
  const Message message = TrafficMessage(RTM_DELQDISC, 0, ifindex, TC_H_ROOT, handle);
  return Exchange(message.get(), absl::StrCat("delete root qdisc ", ClassName(handle)));
}

absl::Status Netlink::AddLeaf(int ifindex, std::uint32_t parent_class, absl::string_view kind,
                              std::uint32_t limit) {
  const Message message =
      TrafficMessage(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, ifindex, parent_class, 0);
  PutString(message.get(), TCA_KIND, kind);
  if (limit != 0) {
    const tc_fifo_qopt options{limit};
    nla_put(message.get(), TCA_OPTIONS, sizeof(options), &options);
  }
  return Exchange(message.get(),
                  absl::StrCat("add leaf ", kind, " to class ", ClassName(parent_class)));
}

// A discipline is looked up before it is initialised, and htb and netem refuse to be initialised
// without options before anything is grafted (net/sched/sch_htb.c, htb_init; sch_netem.c,
// netem_init): "no such kind" is told apart from "no options" without touching the device. Only for
// those two: bfifo, for one, has defaults and would be grafted.
absl::Status Netlink::Probe(ProbedKind kind) {
  constexpr int kLoopback = 1;
  const char* name = kind == ProbedKind::kHtb ? "htb" : "netem";
  const Message message =
      TrafficMessage(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, kLoopback, TC_H_ROOT, 0);
  PutString(message.get(), TCA_KIND, name);
  absl::Status status = Exchange(message.get(), absl::StrCat("probe qdisc ", name));
  if (status.code() == absl::StatusCode::kInvalidArgument) return absl::OkStatus();
  if (absl::IsNotFound(status)) {
    return absl::UnimplementedError(absl::StrCat("this kernel has no qdisc ", name, " (module sch_",
                                                 name,
                                                 "): install the package of kernel modules that "
                                                 "has it, or use a kernel that was built with it"));
  }
  return status;
}

absl::StatusOr<std::vector<HtbClass>> Netlink::Classes(int ifindex) {
  const Message message = TrafficMessage(RTM_GETTCLASS, NLM_F_DUMP, ifindex, 0, 0);
  std::vector<HtbClass> classes;
  absl::Status status = Exchange(message.get(), "list classes", [&](nlmsghdr* header) {
    HtbClass one;
    one.handle = static_cast<const tcmsg*>(nlmsg_data(header))->tcm_handle;
    nlattr* attributes[TCA_MAX + 1];
    if (nlmsg_parse(header, sizeof(tcmsg), attributes, TCA_MAX, nullptr) < 0) return;
    if (attributes[TCA_OPTIONS] != nullptr) ParseRate(attributes[TCA_OPTIONS], &one);
    if (attributes[TCA_STATS2] != nullptr) ParseStatistics(attributes[TCA_STATS2], &one);
    classes.push_back(one);
  });
  if (!status.ok()) return status;
  return classes;
}

absl::StatusOr<HtbClass> Netlink::Class(int ifindex, std::uint32_t handle) {
  absl::StatusOr<std::vector<HtbClass>> classes = Classes(ifindex);
  if (!classes.ok()) return classes.status();
  for (const HtbClass& one : *classes) {
    if (one.handle == handle) return one;
  }
  return absl::NotFoundError(absl::StrCat("there is no class ", ClassName(handle)));
}

absl::Status Netlink::SetClass(int ifindex, std::uint32_t parent, std::uint32_t handle,
                               std::uint64_t bytes_per_second, bool exclusive) {
  const Message message = TrafficMessage(RTM_NEWTCLASS, NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0),
                                         ifindex, parent, handle);
  PutString(message.get(), TCA_KIND, "htb");
  // 10 ms of rate, so that a late timer of a busy or virtual CPU costs no throughput, and at least
  // two frames.
  constexpr std::uint64_t kFrames = 3200;
  const std::uint64_t burst = std::max(kFrames, bytes_per_second / 100);
  const auto rate32 = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(bytes_per_second, std::numeric_limits<std::uint32_t>::max()));
  tc_htb_opt parameters{};
  // With the link layer named, the kernel wants no rate table (htb_change_class).
  parameters.rate.linklayer = TC_LINKLAYER_ETHERNET;
  parameters.rate.rate = rate32;
  parameters.ceil = parameters.rate;
  parameters.buffer = HtbTicks(burst, bytes_per_second);
  parameters.cbuffer = parameters.buffer;
  // One GSO buffer per turn.
  parameters.quantum = 65536;
  nlattr* options = nla_nest_start(message.get(), TCA_OPTIONS);
  nla_put(message.get(), TCA_HTB_PARMS, sizeof(parameters), &parameters);
  nla_put_u64(message.get(), TCA_HTB_RATE64, bytes_per_second);
  nla_put_u64(message.get(), TCA_HTB_CEIL64, bytes_per_second);
  nla_nest_end(message.get(), options);
  return Exchange(message.get(), absl::StrCat("set class ", ClassName(handle)));
}

absl::Status Netlink::DeleteClass(int ifindex, std::uint32_t handle) {
  const Message message = TrafficMessage(RTM_DELTCLASS, 0, ifindex, 0, handle);
  return Exchange(message.get(), absl::StrCat("delete class ", ClassName(handle)));
}

absl::Status Netlink::AddBpfFilter(int ifindex, std::uint32_t parent, int program_fd,
                                   const char* name) {
  constexpr std::uint32_t kFilterHandle = 1;
  const Message message =
      TrafficMessage(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, ifindex, parent, kFilterHandle);
  auto* body = static_cast<tcmsg*>(nlmsg_data(nlmsg_hdr(message.get())));
  constexpr std::uint32_t kPreference = 1U << 16;
  body->tcm_info = TC_H_MAKE(kPreference, htons(ETH_P_ALL));
  PutString(message.get(), TCA_KIND, "bpf");
  nlattr* options = nla_nest_start(message.get(), TCA_OPTIONS);
  nla_put_u32(message.get(), TCA_BPF_FD, static_cast<std::uint32_t>(program_fd));
  nla_put_string(message.get(), TCA_BPF_NAME, name);
  nla_put_u32(message.get(), TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
  nla_nest_end(message.get(), options);
  absl::Status status =
      Exchange(message.get(), absl::StrCat("add filter to class ", ClassName(parent)));
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

absl::StatusOr<DeviceEvents> DeviceEvents::Open() {
  DeviceEvents events(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_TC;
  if (events.fd_ < 0 ||
      ::bind(events.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "listen to what becomes of network devices");
  }
  return events;
}

DeviceEvents::DeviceEvents(DeviceEvents&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DeviceEvents& DeviceEvents::operator=(DeviceEvents&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

DeviceEvents::~DeviceEvents() {
  if (fd_ >= 0) ::close(fd_);
}

void DeviceEvents::Take() const {
  // A notice that is cut off is taken whole. ENOBUFS, said once, is that some were lost.
  char start[1];
  while (::recv(fd_, start, sizeof(start), 0) >= 0 || errno == ENOBUFS || errno == EINTR) {
  }
}

std::uint32_t HtbTicks(std::uint64_t bytes, std::uint64_t bytes_per_second) {
  constexpr double kTickNs = 64;
  const double ticks = static_cast<double>(bytes) * 1e9 / static_cast<double>(bytes_per_second);
  constexpr double kMost = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::clamp(ticks / kTickNs, 1.0, kMost));
}

std::string ClassName(std::uint32_t handle) {
  return absl::StrFormat("%x:%x", TC_H_MAJ(handle) >> 16, TC_H_MIN(handle));
}

}  // namespace faultline
