// SPDX-License-Identifier: Apache-2.0
//
// What of the host a fault may change, as text to compare before and after: values of a control
// group, helper processes, BPF links on the group or on a device, and the devices' qdiscs. Reads
// the kernel itself, none of the injector's code.
#pragma once

#include <bpf/bpf.h>
#include <dirent.h>
#include <linux/bpf.h>
#include <netlink/netlink.h>
#include <netlink/route/class.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/htb.h>
#include <netlink/route/tc.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {

// One line per value that a fault can change; files that do not exist here give none.
inline std::string CgroupDigest(const TestCgroup& group) {
  struct Value {
    const char* controller;
    const char* file;
  };
  constexpr Value kValues[] = {{"cpu", "cpu.cfs_quota_us"},
                               {"cpu", "cpu.cfs_period_us"},
                               {"cpu", "cpu.max"},
                               {"memory", "memory.limit_in_bytes"},
                               {"memory", "memory.max"},
                               {"freezer", "freezer.state"},
                               {"freezer", "cgroup.freeze"},
                               {"memory", "memory.high"},
                               {"io", "io.max"},
                               {"blkio", "blkio.throttle.read_bps_device"},
                               {"blkio", "blkio.throttle.write_bps_device"},
                               {"blkio", "blkio.throttle.read_iops_device"},
                               {"blkio", "blkio.throttle.write_iops_device"}};
  std::string text;
  for (const Value& value : kValues) {
    const std::string now = group.Read(value.controller, value.file);
    if (!now.empty()) absl::StrAppend(&text, value.file, "=", now);
  }
  return text;
}

// Living processes that run a helper program with `word` in their arguments.
inline std::vector<pid_t> Helpers(const std::string& word) {
  std::vector<pid_t> found;
  DIR* proc = opendir("/proc");
  while (const dirent* entry = readdir(proc)) {
    std::ifstream in(absl::StrCat("/proc/", entry->d_name, "/cmdline"), std::ios::binary);
    const std::string words{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const bool helper =
        absl::StartsWith(words, "faultline-hold") || absl::StartsWith(words, "faultline-load");
    if (helper && absl::StrContains(words, word)) {
      found.push_back(std::atoi(entry->d_name));
    }
  }
  closedir(proc);
  return found;
}

inline int CountHelpers(const std::string& word) { return static_cast<int>(Helpers(word).size()); }

// Name of a link's program; "": it is gone.
inline std::string ProgramOf(const bpf_link_info& link) {
  const int fd = bpf_prog_get_fd_by_id(link.prog_id);
  if (fd < 0) return "";
  bpf_prog_info info{};
  std::uint32_t size = sizeof(info);
  const int result = bpf_obj_get_info_by_fd(fd, &info, &size);
  close(fd);
  return result == 0 ? info.name : "";
}

// Whether a link's program is the one that does nothing, which an injector that lives keeps on each
// device with a plane (injector/host/tcx_links.h).
inline bool IsIdleLink(const bpf_link_info& link) { return ProgramOf(link) == "plane_noop"; }

// BPF links attached to v2 group `cgroup_id` or to one of `ifindexes` (tcx), and those that look at
// throttling (bpf/fault_throttle.bpf.c), one line each. Types
// and fields that this build's headers do not know are told by number.
// Links that do nothing are left out, unless `idle`.
inline std::string LinkDigest(std::uint64_t cgroup_id, const std::set<int>& ifindexes,
                              bool idle = false) {
  // enum bpf_link_type of newer kernels than the headers here (include/uapi/linux/bpf.h).
  constexpr unsigned kTcx = 11;
  std::multiset<std::string> lines;
  std::uint32_t id = 0;
  while (bpf_link_get_next_id(id, &id) == 0) {
    const int fd = bpf_link_get_fd_by_id(id);
    if (fd < 0) continue;
    // Larger than any struct bpf_link_info so far.
    alignas(bpf_link_info) char memory[512] = {};
    std::uint32_t size = sizeof(memory);
    const int result = bpf_obj_get_info_by_fd(fd, memory, &size);
    close(fd);
    if (result != 0) continue;
    const auto* info = reinterpret_cast<const bpf_link_info*>(memory);
    if (info->type == BPF_LINK_TYPE_CGROUP && info->cgroup.cgroup_id == cgroup_id) {
      lines.insert(
          absl::StrCat("link on the cgroup, attach type ", info->cgroup.attach_type, "\n"));
    }
    if (info->type == BPF_LINK_TYPE_TRACING) {
      const std::string program = ProgramOf(*info);
      if (absl::StartsWith(program, "throttle_")) lines.insert(absl::StrCat(program, "\n"));
    }
    // struct { __u32 ifindex; __u32 attach_type; } tcx, at the place of the union.
    const auto* tcx = reinterpret_cast<const std::uint32_t*>(&info->cgroup);
    const bool named = info->type == kTcx && ifindexes.count(static_cast<int>(tcx[0])) == 1;
    if (named && (idle || !IsIdleLink(*info))) {
      lines.insert(absl::StrCat("tcx link on device ", tcx[0], "\n"));
    }
  }
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

// Qdiscs of `ifindexes`: kind, handle and parent.
inline std::string QdiscDigest(const std::set<int>& ifindexes) {
  nl_sock* socket = nl_socket_alloc();
  nl_cache* cache = nullptr;
  std::multiset<std::string> lines;
  if (nl_connect(socket, NETLINK_ROUTE) == 0 && rtnl_qdisc_alloc_cache(socket, &cache) == 0) {
    for (nl_object* at = nl_cache_get_first(cache); at != nullptr; at = nl_cache_get_next(at)) {
      rtnl_tc* qdisc = TC_CAST(at);
      if (ifindexes.count(rtnl_tc_get_ifindex(qdisc)) == 0) continue;
      lines.insert(absl::StrCat("qdisc ", rtnl_tc_get_ifindex(qdisc), " ", rtnl_tc_get_kind(qdisc),
                                " ", rtnl_tc_get_handle(qdisc), " ", rtnl_tc_get_parent(qdisc),
                                "\n"));
    }
    nl_cache_free(cache);
  }
  nl_socket_free(socket);
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

// Classes of `ifindexes`: kind, handle, parent, and of htb the rate.
inline std::string ClassDigest(const std::set<int>& ifindexes) {
  nl_sock* socket = nl_socket_alloc();
  std::multiset<std::string> lines;
  const bool connected = nl_connect(socket, NETLINK_ROUTE) == 0;
  for (const int ifindex : ifindexes) {
    nl_cache* cache = nullptr;
    if (!connected || rtnl_class_alloc_cache(socket, ifindex, &cache) != 0) continue;
    for (nl_object* at = nl_cache_get_first(cache); at != nullptr; at = nl_cache_get_next(at)) {
      rtnl_tc* one = TC_CAST(at);
      const std::string kind = rtnl_tc_get_kind(one);
      const std::uint32_t rate =
          kind == "htb" ? rtnl_htb_get_rate(reinterpret_cast<rtnl_class*>(one)) : 0;
      lines.insert(absl::StrCat("class ", ifindex, " ", kind, " ", rtnl_tc_get_handle(one), " ",
                                rtnl_tc_get_parent(one), " ", rate, "\n"));
    }
    nl_cache_free(cache);
  }
  nl_socket_free(socket);
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

// What systemd was told of units for this boot: files with their text, and folders.
inline std::string UnitDigest() {
  std::set<std::string> lines;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at("/run/systemd/system.control", error), end;
       !error && at != end; at.increment(error)) {
    std::ifstream in(at->path());
    lines.insert(absl::StrCat(at->path().string(), " ",
                              std::string{std::istreambuf_iterator<char>(in), {}}, "\n"));
  }
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

// All of it for `group`, helpers of any fault on it (by a word in their arguments), and devices.
inline std::string HostDigest(const TestCgroup& group, const std::string& helper_word,
                              const std::set<int>& ifindexes = {}) {
  const absl::StatusOr<cgroup_key> key = group.Key("");
  return absl::StrCat(CgroupDigest(group), "helpers=", CountHelpers(helper_word), "\n",
                      LinkDigest(key.ok() ? key->id : 0, ifindexes), QdiscDigest(ifindexes),
                      ClassDigest(ifindexes), UnitDigest());
}

}  // namespace faultline
