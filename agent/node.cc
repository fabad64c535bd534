// SPDX-License-Identifier: Apache-2.0
#include "agent/node.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/cgroup_tree.h"

namespace faultline {
namespace {

// What follows `key` and `separator` on the first line that starts with it.
std::string Lookup(const std::string& path, const std::string& key, char separator) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!absl::StartsWith(line, key)) continue;
    const size_t at = line.find(separator);
    if (at == std::string::npos) continue;
    return std::string(absl::StripAsciiWhitespace(line.substr(at + 1)));
  }
  return "";
}

}  // namespace

v1::Node DescribeNode(const std::string& id, const std::string& proc,
                      const std::string& os_release) {
  v1::Node node;
  node.set_id(id);
  utsname name{};
  if (::uname(&name) == 0) {
    node.set_hostname(name.nodename);
    node.set_kernel(name.release);
    node.set_arch(name.machine);
  }
  std::string boot_id;
  std::getline(std::ifstream(proc + "/sys/kernel/random/boot_id"), boot_id);
  node.set_boot_id(boot_id);
  node.set_cpu_model(Lookup(proc + "/cpuinfo", "model name", ':'));
  node.set_cpus(static_cast<std::int32_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
  const std::vector<std::string> total =
      absl::StrSplit(Lookup(proc + "/meminfo", "MemTotal", ':'), ' ');
  std::int64_t kib = 0;
  if (absl::SimpleAtoi(total.front(), &kib)) node.set_memory_bytes(kib * 1024);
  const std::string os = Lookup(os_release, "PRETTY_NAME", '=');
  node.set_os(os.size() >= 2 && os.front() == '"' ? os.substr(1, os.size() - 2) : os);
  node.set_agent_version(FAULTLINE_VERSION);
  if (absl::StatusOr<CgroupTree> tree = CgroupTree::Read(proc); tree.ok()) {
    node.set_cgroup_mode(std::string(tree->mode()));
  }
  return node;
}

}  // namespace faultline
