// SPDX-License-Identifier: Apache-2.0
//
// Checks that try what the services do.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/doctor/check.h"

namespace faultline::cli::doctor {

Verdict BpfProgram(const Site& site, const Check& check) {
  return OfTrial(check, site.trials->Bpf(check.object), "loaded, attached, detached");
}

Verdict QueueingDiscipline(const Site& site, const Check& check) {
  Verdict verdict = OfTrial(check, site.trials->Qdisc(check.object),
                            absl::StrCat("this kernel has ", check.object));
  absl::StrReplaceAll({{"KERNEL", KernelStep(site)}, {"KIND", check.object}}, &verdict.fix);
  return verdict;
}

Verdict StandingPlane(const Site& site, const Check& check) {
  return OfTrial(check, site.trials->Plane(), "set up and removed");
}

Verdict HardwareCounter(const Site& site, const Check& check) {
  return OfTrial(check, site.trials->Pmu(), "CPU 0 counts its cycles");
}

Verdict LedgerFileSystem(const Site& site, const Check& check) {
  Verdict verdict = OfTrial(check, site.trials->Bpffs(), absl::StrCat(check.object, " is a bpffs"));
  // The reason is made for the injector's log and says it all at length.
  if (verdict.state != State::kOk) {
    verdict.found = absl::StrCat(check.object,
                                 " is no bpffs: of network faults of an injector that was killed "
                                 "the dose is a lower bound");
  }
  return verdict;
}

}  // namespace faultline::cli::doctor
