// SPDX-License-Identifier: Apache-2.0
//
// `faultline doctor`: whether this machine is fit for the services, and the next step where it is
// not.
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/doctor/check.h"
#include "cli/doctor/report.h"
#include "cli/interrupt.h"

namespace faultline::cli {
namespace {

using doctor::Check;
using doctor::Service;
using doctor::Site;

struct DoctorOptions {
  bool json = false;
  bool table = false;
  std::vector<std::string> services;
  std::string config_dir = "/etc/faultline";
};

doctor::Capabilities OwnCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return 0;
  return data[0].effective | static_cast<doctor::Capabilities>(data[1].effective) << 32U;
}

// Beside this program, as in a build folder, or where the packages put them.
std::map<Service, std::string> InstalledPrograms() {
  std::error_code error;
  const std::filesystem::path self =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::map<Service, std::string> programs;
  for (const Service service : {doctor::kAgent, doctor::kInjector, doctor::kCollector}) {
    const std::string name = absl::StrCat("faultline-", doctor::ServiceWords(service).front());
    for (const std::filesystem::path& folder : {self, std::filesystem::path("/usr/sbin")}) {
      const std::string path = folder / name;
      if (::access(path.c_str(), X_OK) != 0) continue;
      programs.emplace(service, path);
      break;
    }
  }
  return programs;
}

// Those that were named; otherwise those that are installed; of a machine that has none, all.
std::uint8_t ChooseServices(const std::vector<std::string>& named,
                            const std::map<Service, std::string>& programs) {
  unsigned chosen = 0;
  for (const Service service : {doctor::kAgent, doctor::kInjector, doctor::kCollector}) {
    const std::string word = doctor::ServiceWords(service).front();
    for (const std::string& each : named) {
      if (each == word) chosen |= service;
    }
    if (named.empty() && programs.count(service) == 1) chosen |= service;
  }
  return chosen == 0 ? doctor::kEveryService : static_cast<std::uint8_t>(chosen);
}

Site ThisSite(const Globals& globals, const DoctorOptions& options, doctor::Trials* trials) {
  Site site;
  utsname name{};
  if (::uname(&name) == 0) {
    site.kernel_release = name.release;
    site.machine = name.machine;
  }
  site.capabilities = OwnCapabilities();
  site.is_root = ::geteuid() == 0;
  site.programs = InstalledPrograms();
  site.services = ChooseServices(options.services, site.programs);
  site.config_dir = options.config_dir;
  site.collector = globals.collector;
  site.collector_named = globals.collector_named;
  site.tls = globals.tls;
  site.injector = globals.injector;
  site.now = absl::Now();
  site.trials = trials;
  return site;
}

int Doctor(const Globals& globals, const DoctorOptions& options) {
  Terminal& terminal = *globals.terminal;
  if (options.table) {
    terminal.out() << doctor::ChecksMarkdown();
    return kExitOk;
  }
  // What the trials' own parts would warn of is what the checks say.
  SetLogThreshold(Severity::kError);
  // Before gRPC makes threads; a trial is not left half way.
  Interrupt interrupt;
  const std::unique_ptr<doctor::Trials> trials = doctor::RealTrials();
  const Site site = ThisSite(globals, options, trials.get());
  std::vector<doctor::Finding> findings;
  for (const Check& check : doctor::Checks()) {
    if (interrupt.Within(0)) return Report(globals, absl::CancelledError("interrupted"));
    terminal.Progress(check.name);
    findings.push_back({&check, doctor::Examine(site, check)});
    if (!options.json) terminal.out() << doctor::Line(terminal, findings.back()) << std::flush;
  }
  if (options.json) {
    terminal.out() << Pretty(doctor::ToJson(findings));
  } else {
    terminal.Say(doctor::Summary(findings));
  }
  return doctor::ExitCodeOf(findings);
}

}  // namespace

void AddDoctor(CLI::App& app, Action* action) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command = app.add_subcommand(
      "doctor", "whether this machine is fit for Faultline, and what to do where it is not");
  command->add_flag("--json", options->json, "print JSON");
  command->add_option("--for", options->services, "look after these (default: what is installed)")
      ->type_name("SERVICE")
      ->delimiter(',')
      ->check(CLI::IsMember({"agent", "injector", "collector"}));
  command
      ->add_option("--config-dir", options->config_dir,
                   "folder of agent.yaml, injector.yaml and collector.yaml")
      ->type_name("DIR")
      ->capture_default_str();
  // Hidden: for docs/cli.md.
  command->add_flag("--table", options->table)->group("");
  command->callback([options, action] {
    *action = [options](const Globals& globals) { return Doctor(globals, *options); };
  });
}

}  // namespace faultline::cli
