// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/witness.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"

namespace faultline::cli {
namespace {

absl::StatusOr<std::string> ReadKernelFile(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return absl::NotFoundError(absl::StrCat("read ", path, ": not there"));
  return text.str();
}

absl::StatusOr<std::int64_t> ReadNumber(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadKernelFile(path);
  if (!text.ok()) return text.status();
  std::int64_t number = 0;
  if (!absl::SimpleAtoi(*text, &number)) {
    return absl::DataLossError(absl::StrCat(path, " holds no number"));
  }
  return number;
}

// Value of "key value" among the lines of `path`.
absl::StatusOr<std::int64_t> ReadKey(const std::string& path, const std::string& key) {
  const absl::StatusOr<std::string> text = ReadKernelFile(path);
  if (!text.ok()) return text.status();
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    std::int64_t number = 0;
    if (absl::ConsumePrefix(&line, key + " ") && absl::SimpleAtoi(line, &number)) return number;
  }
  return absl::NotFoundError(absl::StrCat(path, " has no ", key));
}

struct DiagSocketFree {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};

// One answer of sock_diag(7): cookie and retransmitted segments of a connection.
int TakeConnection(nl_msg* message, void* argument) {
  auto* connections = static_cast<std::map<std::uint64_t, std::int64_t>*>(argument);
  nlmsghdr* header = nlmsg_hdr(message);
  if (nlmsg_datalen(header) < static_cast<int>(sizeof(inet_diag_msg))) return NL_OK;
  const auto* socket = static_cast<const inet_diag_msg*>(nlmsg_data(header));
  const nlattr* info = nlmsg_find_attr(header, sizeof(inet_diag_msg), INET_DIAG_INFO);
  if (info == nullptr) return NL_OK;
  // Older kernels send a shorter record, newer ones a longer.
  tcp_info tcp{};
  std::memcpy(&tcp, nla_data(info),
              std::min<size_t>(sizeof(tcp), static_cast<size_t>(nla_len(info))));
  const std::uint64_t cookie =
      static_cast<std::uint64_t>(socket->id.idiag_cookie[1]) << 32U | socket->id.idiag_cookie[0];
  (*connections)[cookie] = tcp.tcpi_total_retrans;
  return NL_OK;
}

}  // namespace

absl::StatusOr<Witness> Witness::Create(const CgroupTree& tree, const std::string& cgroup,
                                        const std::string& device, std::uint16_t port) {
  const CgroupTree::Hierarchy* cpu = tree.For("cpu");
  const CgroupTree::Hierarchy* memory = tree.For("memory");
  if (cpu == nullptr || memory == nullptr) {
    return absl::FailedPreconditionError(
        "this host's control groups lack the cpu or the memory controller, which the demo needs");
  }
  Witness witness;
  witness.cpu_stat_ = CgroupTree::Directory(*cpu, cgroup) + "/cpu.stat";
  witness.throttled_key_ = cpu->v2 ? "throttled_usec" : "throttled_time";
  witness.throttled_scale_ = cpu->v2 ? 1000 : 1;
  witness.memory_ = CgroupTree::Directory(*memory, cgroup) +
                    (memory->v2 ? "/memory.current" : "/memory.usage_in_bytes");
  witness.device_ = absl::StrCat("/sys/class/net/", device, "/statistics");
  witness.port_ = port;
  return witness;
}

absl::Status Witness::CountRetransmits() {
  const std::unique_ptr<nl_sock, DiagSocketFree> socket(nl_socket_alloc());
  if (socket == nullptr || nl_connect(socket.get(), NETLINK_SOCK_DIAG) < 0) {
    return absl::InternalError("open a socket for sock_diag");
  }
  inet_diag_req_v2 request{};
  request.sdiag_family = AF_INET;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_ext = 1U << (INET_DIAG_INFO - 1U);
  // All but TIME_WAIT and LISTEN, which have no counts.
  request.idiag_states = ~(1U << 6U | 1U << 10U);
  request.id.idiag_sport = htons(port_);
  nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, TakeConnection, &connections_);
  int result =
      nl_send_simple(socket.get(), SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request, sizeof(request));
  if (result >= 0) result = nl_recvmsgs_default(socket.get());
  if (result >= 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("ask sock_diag: ", nl_geterror(-result)));
}

absl::Status Witness::Look() {
  const absl::Status counted = CountRetransmits();
  if (!counted.ok()) return counted;
  const absl::StatusOr<std::int64_t> throttled = ReadKey(cpu_stat_, throttled_key_);
  if (!throttled.ok()) return throttled.status();
  const absl::StatusOr<std::int64_t> memory = ReadNumber(memory_);
  if (!memory.ok()) return memory.status();
  const absl::StatusOr<std::int64_t> bytes = ReadNumber(device_ + "/tx_bytes");
  if (!bytes.ok()) return bytes.status();
  const absl::StatusOr<std::int64_t> packets = ReadNumber(device_ + "/tx_packets");
  if (!packets.ok()) return packets.status();
  WitnessSample sample;
  sample.boottime_ns = Clock::System().Now().boottime_ns;
  sample.throttled_ns = *throttled * throttled_scale_;
  sample.memory_bytes = *memory;
  sample.sent_bytes = *bytes;
  sample.sent_packets = *packets;
  for (const auto& connection : connections_) sample.retransmits += connection.second;
  samples_.push_back(sample);
  return absl::OkStatus();
}

WitnessSpan::WitnessSpan(const std::vector<WitnessSample>& samples, std::int64_t begin_ns,
                         std::int64_t end_ns) {
  bool after = false;
  for (const WitnessSample& sample : samples) {
    if (sample.boottime_ns <= begin_ns) {
      inside_.assign(1, sample);
    } else if (!after && !inside_.empty()) {
      inside_.push_back(sample);
      after = sample.boottime_ns >= end_ns;
    }
  }
  covered_ = after;
}

std::int64_t WitnessSpan::Growth(std::int64_t WitnessSample::*field) const {
  return inside_.empty() ? 0 : inside_.back().*field - inside_.front().*field;
}

std::int64_t WitnessSpan::Rise(std::int64_t WitnessSample::*field) const {
  std::int64_t highest = inside_.empty() ? 0 : inside_.front().*field;
  for (const WitnessSample& sample : inside_) highest = std::max(highest, sample.*field);
  return inside_.empty() ? 0 : highest - inside_.front().*field;
}

double WitnessSpan::seconds() const {
  return static_cast<double>(Growth(&WitnessSample::boottime_ns)) / 1e9;
}

}  // namespace faultline::cli
