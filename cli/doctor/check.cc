// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/check.h"

#include <linux/capability.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace faultline::cli::doctor {
namespace {

struct CapabilityName {
  int number;
  const char* word;
};

constexpr std::array<CapabilityName, 6> kCapabilityNames{{
    {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
    {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
    {CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
    {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
    {CAP_PERFMON, "CAP_PERFMON"},
    {CAP_BPF, "CAP_BPF"},
}};

constexpr std::array<std::pair<Service, const char*>, 3> kServiceWords{{
    {kAgent, "agent"},
    {kInjector, "injector"},
    {kCollector, "collector"},
}};

// CAP_SYS_ADMIN holds what was split off from it in 5.8 (perfmon_capable, bpf_capable).
Capabilities Effective(Capabilities own) {
  return (own & Bit(CAP_SYS_ADMIN)) == 0 ? own : own | Bit(CAP_BPF) | Bit(CAP_PERFMON);
}

}  // namespace

std::vector<std::string> ServiceWords(std::uint8_t services) {
  std::vector<std::string> words;
  for (const auto& [service, word] : kServiceWords) {
    if ((services & service) != 0) words.emplace_back(word);
  }
  return words;
}

std::string CapabilityWords(Capabilities capabilities) {
  std::vector<std::string> words;
  for (const CapabilityName& name : kCapabilityNames) {
    if ((capabilities & Bit(name.number)) == 0) continue;
    words.emplace_back(name.word);
    capabilities &= ~Bit(name.number);
  }
  for (int number = 0; capabilities != 0; ++number, capabilities >>= 1U) {
    if ((capabilities & 1U) != 0) words.push_back(absl::StrCat("capability ", number));
  }
  return absl::StrJoin(words, ", ");
}

Service ServiceOf(const Check& check) { return static_cast<Service>(check.services); }

Verdict Examine(const Site& site, const Check& check) {
  if ((check.services & site.services) == 0) {
    const std::vector<std::string> words = ServiceWords(check.services);
    return {State::kSkipped,
            absl::StrCat("for the ", absl::StrJoin(words, " and the "), ", not looked after here"),
            absl::StrCat("install faultline-", words.front(), ", or look all the same: `faultline ",
                         "doctor --for ", words.front(), "`")};
  }
  const Capabilities lacking = check.capabilities & ~Effective(site.capabilities);
  if (lacking != 0) {
    return {State::kSkipped, absl::StrCat("cannot be tried without ", CapabilityWords(lacking)),
            site.is_root ? "give this container or service these capabilities, or run it on the "
                           "host itself"
                         : kAsRoot};
  }
  return check.run(site, check);
}

Verdict OfTrial(const Check& check, const absl::Status& status, absl::string_view works) {
  if (status.ok()) return {State::kOk, std::string(works), ""};
  // The capability is there, or Examine had said so.
  const bool denied = absl::IsPermissionDenied(status);
  return {check.failed, std::string(status.message()),
          denied ? "something denies it to root: see the check lockdown, a container's seccomp "
                   "filter, SELinux or AppArmor; `journalctl -k` may name it"
                 : check.fix};
}

}  // namespace faultline::cli::doctor
