// SPDX-License-Identifier: Apache-2.0
//
// How the parts of Netlink (netlink.h) write a message. Any thread.
#pragma once

#include <linux/rtnetlink.h>
#include <netlink/msg.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace faultline {

struct MessageFree {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageFree>;

// About a qdisc, class or filter.
inline Message TrafficMessage(int type, int flags, int ifindex, std::uint32_t parent,
                              std::uint32_t handle) {
  Message message(nlmsg_alloc_simple(type, flags));
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = ifindex;
  body.tcm_parent = parent;
  body.tcm_handle = handle;
  nlmsg_append(message.get(), &body, sizeof(body), NLMSG_ALIGNTO);
  return message;
}

inline void PutString(nl_msg* message, int attribute, absl::string_view text) {
  nla_put_string(message, attribute, std::string(text).c_str());
}

}  // namespace faultline
