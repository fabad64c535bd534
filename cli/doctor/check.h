// SPDX-License-Identifier: Apache-2.0
//
// The checks of `faultline doctor`: one row of table.cc each. A row says what it is for and what it
// needs; its function looks at the site, through the site's roots and trials alone, so that a test
// can drive it to every verdict. Report, JSON and docs/cli.md follow the rows. Main thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/credentials.h"
#include "cli/doctor/trials.h"

namespace faultline::cli::doctor {

enum class State : std::uint8_t {
  kOk,
  // A part is missing, and what needs it says so itself or makes do.
  kWarn,
  // A service that is looked at cannot do its work.
  kFail,
  // Not looked at.
  kSkipped,
};

struct Verdict {
  State state = State::kOk;
  // What is there, for people.
  std::string found;
  // The next step, never empty unless kOk.
  std::string fix;
};

// The fix of what another user would see.
constexpr char kAsRoot[] = "run as root: `sudo faultline doctor`";

// Bits: whom a check is for.
enum Service : std::uint8_t { kAgent = 1, kInjector = 2, kCollector = 4 };
constexpr std::uint8_t kEveryService = kAgent | kInjector | kCollector;

// "agent", "injector", "collector" of those in `services`.
std::vector<std::string> ServiceWords(std::uint8_t services);

// A set of capabilities, bit n is capability n of capabilities(7).
using Capabilities = std::uint64_t;
constexpr Capabilities Bit(int capability) { return Capabilities{1} << capability; }
// "CAP_BPF, CAP_PERFMON"; only those that some service uses have names here, others are numbers.
std::string CapabilityWords(Capabilities capabilities);

// The machine that is looked at, and for whom.
struct Site {
  // Stands before /proc, /sys, /run and /var.
  std::string root;
  std::string kernel_release;
  // "x86_64", as uname(2) has it.
  std::string machine;
  Capabilities capabilities = 0;
  bool is_root = false;
  // Who is looked after.
  std::uint8_t services = kEveryService;
  // Where their programs are; none for what is not installed.
  std::map<Service, std::string> programs;
  std::string config_dir;
  // As of the global options; `collector_named` unless it is their default.
  std::string collector;
  bool collector_named = false;
  TlsOptions tls;
  // Socket of the injector, "unix:/PATH"; empty: in its usual place.
  std::string injector;
  absl::Time now;
  Trials* trials = nullptr;
};

struct Check {
  // "kernel", "bpf/tp_btf"; never changes, as scripts look for it.
  const char* name;
  // What it is for, one clause.
  const char* purpose;
  // Bits of Service.
  std::uint8_t services;
  // Without them it cannot be looked at.
  Capabilities capabilities;
  // How bad it is if it is not so.
  State failed;
  // What the row's function looks at: a program of attach_check.bpf.c, a qdisc, a path.
  const char* object;
  // What to do then, unless the function knows better. Where a kernel or a queueing discipline is
  // looked at, KERNEL stands for KernelStep and KIND for the object.
  const char* fix;
  Verdict (*run)(const Site& site, const Check& check);
};

// Of a row that is for one service alone: that one.
Service ServiceOf(const Check& check);

// Every check, in the order in which they are reported.
absl::Span<const Check> Checks();

// What `check` finds; kSkipped where it is for none of the site's services, or the caller lacks a
// capability.
Verdict Examine(const Site& site, const Check& check);

// The verdict on a trial: OK with `works`, otherwise check.failed with the reason.
Verdict OfTrial(const Check& check, const absl::Status& status, absl::string_view works);

// "`apt install linux-image-arm64`": what brings a kernel that is new and whole to a machine like
// the site's.
absl::string_view KernelStep(const Site& site);

// The rows' functions, by file.
// machine.cc
Verdict KernelRelease(const Site& site, const Check& check);
Verdict TypeInformation(const Site& site, const Check& check);
Verdict Lockdown(const Site& site, const Check& check);
Verdict CallerCapabilities(const Site& site, const Check& check);
Verdict PerfParanoid(const Site& site, const Check& check);
Verdict Pressure(const Site& site, const Check& check);
Verdict ControlGroups(const Site& site, const Check& check);
Verdict ClockSynchronised(const Site& site, const Check& check);
// trying.cc
Verdict BpfProgram(const Site& site, const Check& check);
Verdict QueueingDiscipline(const Site& site, const Check& check);
Verdict StandingPlane(const Site& site, const Check& check);
Verdict HardwareCounter(const Site& site, const Check& check);
Verdict LedgerFileSystem(const Site& site, const Check& check);
// services.cc
Verdict DiskSpace(const Site& site, const Check& check);
Verdict Configuration(const Site& site, const Check& check);
// connections.cc
Verdict ServiceCertificate(const Site& site, const Check& check);
Verdict OwnCertificates(const Site& site, const Check& check);
Verdict CollectorAnswers(const Site& site, const Check& check);
Verdict InjectorAnswers(const Site& site, const Check& check);

}  // namespace faultline::cli::doctor
