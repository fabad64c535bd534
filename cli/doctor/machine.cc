// SPDX-License-Identifier: Apache-2.0
//
// Checks that read what the kernel says of itself.
#include <linux/capability.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/cgroup_tree.h"
#include "base/status.h"
#include "cli/doctor/check.h"
#include "cli/words.h"

namespace faultline::cli::doctor {
namespace {

// The oldest kernel that is tested, in a virtual machine.
constexpr int kOldestMajor = 5;
constexpr int kOldestMinor = 10;

// An error between nodes that is worth a word: half of the usual interval.
constexpr std::int64_t kLooseUs = 500'000;

absl::StatusOr<std::string> ReadText(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return ErrnoStatus(errno == 0 ? EIO : errno, absl::StrCat("open ", path));
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  // PSI that is switched off opens and does not read.
  if (in.bad()) return ErrnoStatus(errno == 0 ? EIO : errno, absl::StrCat("read ", path));
  return text;
}

// "5.10.0-28-amd64" -> 5, 10.
bool ParseRelease(absl::string_view release, int* major, int* minor) {
  const std::vector<absl::string_view> parts = absl::StrSplit(release, absl::ByAnyChar(".-+~ "));
  return parts.size() >= 2 && absl::SimpleAtoi(parts[0], major) &&
         absl::SimpleAtoi(parts[1], minor);
}

Verdict Failed(const Check& check, std::string found) {
  return {check.failed, std::move(found), check.fix};
}

}  // namespace

absl::string_view KernelStep(const Site& site) {
  if (site.machine == "x86_64") return "`apt install linux-image-amd64`";
  if (site.machine == "aarch64") return "`apt install linux-image-arm64`";
  return "install a kernel of Debian 12";
}

Verdict KernelRelease(const Site& site, const Check& check) {
  const std::string fix = absl::StrReplaceAll(check.fix, {{"KERNEL", KernelStep(site)}});
  int major = 0;
  int minor = 0;
  if (!ParseRelease(site.kernel_release, &major, &minor)) {
    return {check.failed, absl::StrCat("\"", site.kernel_release, "\" is no release of Linux"),
            fix};
  }
  if (major < kOldestMajor || (major == kOldestMajor && minor < kOldestMinor)) {
    return {check.failed, absl::StrCat("Linux ", site.kernel_release, " is older than 5.10"), fix};
  }
  return {State::kOk, absl::StrCat("Linux ", site.kernel_release), ""};
}

Verdict TypeInformation(const Site& site, const Check& check) {
  const std::string path = absl::StrCat(site.root, check.object);
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in && errno == ENOENT) return Failed(check, absl::StrCat(path, " does not exist"));
  if (!in) return Failed(check, std::string(ErrnoStatus(errno, "open " + path).message()));
  // struct btf_header, __u16 magic in the order of the machine.
  std::uint16_t magic = 0;
  in.read(reinterpret_cast<char*>(&magic), sizeof(magic));
  if (!in || magic != 0xeB9F) return Failed(check, absl::StrCat(path, " holds no BTF"));
  return {State::kOk, absl::StrCat(path, " can be read"), ""};
}

// https://docs.kernel.org: security/lockdown/lockdown.c, LOCKDOWN_BPF_READ_KERNEL and LOCKDOWN_PERF
// belong to confidentiality; integrity denies nothing that we use.
Verdict Lockdown(const Site& site, const Check& check) {
  const std::string path = absl::StrCat(site.root, check.object);
  const absl::StatusOr<std::string> text = ReadText(path);
  if (absl::IsNotFound(text.status())) {
    if (ReadText(absl::StrCat(site.root, "/sys/kernel/security/lsm")).ok()) {
      return {State::kOk, "this kernel has no lockdown", ""};
    }
    return {State::kSkipped, "cannot be seen: securityfs is not mounted",
            "`mount -t securityfs securityfs /sys/kernel/security`; the checks bpf/* try what "
            "lockdown would deny"};
  }
  if (absl::IsPermissionDenied(text.status())) {
    return {State::kSkipped, std::string(text.status().message()),
            "run as root: `sudo faultline doctor`"};
  }
  if (!text.ok()) return Failed(check, std::string(text.status().message()));
  if (absl::StrContains(*text, "[confidentiality]")) {
    return Failed(check, "confidentiality: programs may not read the kernel's memory");
  }
  return {State::kOk,
          absl::StrContains(*text, "[integrity]") ? "integrity: nothing that is used is denied"
                                                  : "none",
          ""};
}

Verdict CallerCapabilities(const Site& site, const Check& check) {
  Capabilities needed = 0;
  for (const Check& other : Checks()) {
    if ((other.services & site.services) != 0) needed |= other.capabilities;
  }
  Capabilities own = site.capabilities;
  if ((own & Bit(CAP_SYS_ADMIN)) != 0) own |= Bit(CAP_BPF) | Bit(CAP_PERFMON);
  const Capabilities lacking = needed & ~own;
  if (lacking == 0) return {State::kOk, "enough to try everything", ""};
  const std::string found = absl::StrCat("this ", site.is_root ? "root" : "user", " lacks ",
                                         CapabilityWords(lacking), "; what needs them is skipped");
  if (site.is_root) return Failed(check, found);
  return {State::kSkipped, found, "run as root: `sudo faultline doctor`"};
}

// Debian's kernels know a level 3 beyond the usual ones, which denies perf_event_open to all but
// CAP_SYS_ADMIN.
Verdict PerfParanoid(const Site& site, const Check& check) {
  constexpr int kHighest = 2;
  const absl::StatusOr<std::string> text = ReadText(absl::StrCat(site.root, check.object));
  int level = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &level)) {
    return {check.failed, "this kernel has no perf events",
            "a kernel with CONFIG_PERF_EVENTS=y; the metrics of hardware counters stay empty"};
  }
  const std::string found = absl::StrCat("kernel.perf_event_paranoid is ", level);
  if (level > kHighest) return Failed(check, found + ": denied to the agent's user");
  return {State::kOk, found, ""};
}

Verdict Pressure(const Site& site, const Check& check) {
  std::vector<std::string> there;
  for (const char* file : {"cpu", "memory", "io"}) {
    const absl::StatusOr<std::string> text =
        ReadText(absl::StrCat(site.root, check.object, "/", file));
    if (text.ok() && absl::StartsWith(*text, "some ")) there.emplace_back(file);
  }
  if (there.empty()) return Failed(check, "this kernel tells no pressure");
  return {State::kOk, absl::StrJoin(there, ", "), ""};
}

namespace {

// "cpu in /sys/fs/cgroup/cpu (v1)".
std::string WhereIs(const CgroupTree& tree, const char* controller) {
  const CgroupTree::Hierarchy* hierarchy = tree.For(controller);
  return hierarchy == nullptr ? absl::StrCat("no ", controller)
                              : absl::StrCat(controller, " in ", hierarchy->mount,
                                             hierarchy->v2 ? " (v2)" : " (v1)");
}

}  // namespace

Verdict ControlGroups(const Site& site, const Check& check) {
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read(site.root + check.object);
  if (!tree.ok()) {
    return {check.failed, std::string(tree.status().message()),
            "`mount -t cgroup2 cgroup2 /sys/fs/cgroup`"};
  }
  std::vector<std::string> where;
  std::vector<std::string> lacking;
  for (const char* controller : {"cpu", "memory", "io", "freezer"}) {
    where.push_back(WhereIs(*tree, controller));
    if (tree->For(controller) == nullptr) lacking.emplace_back(controller);
  }
  const std::string found = absl::StrCat(tree->mode(), ": ", absl::StrJoin(where, ", "));
  if (tree->V2() == nullptr) {
    return {check.failed, absl::StrCat(found, "; no v2 hierarchy, which network faults need"),
            "`mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 "
            "/sys/fs/cgroup/unified`"};
  }
  if (lacking.empty()) return {State::kOk, found, ""};
  // On Raspberry Pi OS the memory controller is off until it is asked for.
  return {check.failed, found,
          absl::StrCat("boot with cgroup_enable=", absl::StrJoin(lacking, ","),
                       " on the kernel's command line, or a kernel that has them")};
}

Verdict ClockSynchronised(const Site& site, const Check& check) {
  const absl::StatusOr<ClockReading> clock = site.trials->ReadClock();
  if (!clock.ok()) return Failed(check, std::string(clock.status().message()));
  if (!clock->synchronised) return Failed(check, "nothing keeps this clock");
  const std::string found =
      absl::StrCat("synchronised, at most ", DurationText(clock->max_error_us * 1000), " off");
  if (clock->max_error_us <= kLooseUs) return {State::kOk, found, ""};
  return {check.failed, found,
          "look at its sources: `chronyc sources` or `timedatectl timesync-status`"};
}

}  // namespace faultline::cli::doctor
