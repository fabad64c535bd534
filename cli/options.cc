// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/reference.h"
#include "cli/command.h"

namespace faultline::cli {
namespace {

constexpr const char* kFooter =
    "Exit status: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 denied, 5 not possible now or here,\n"
    "124 timeout, 130 interrupted; `exec` returns the command's own.";

struct Flags {
  Globals globals;
  std::string colour = "auto";
  Action action;
};

std::unique_ptr<CLI::App> MakeApp(Flags* flags) {
  auto app = std::make_unique<CLI::App>(
      "Labelled performance-anomaly datasets from real hosts: nodes, faults, runs, datasets.",
      "faultline");
  app->set_version_flag("--version", "faultline " FAULTLINE_VERSION);
  app->footer(kFooter);
  app->require_subcommand(1);
  // Global options may stand behind the subcommand too.
  app->fallthrough();
  app->add_option("--collector", flags->globals.collector, "collector, HOST:PORT or unix:/PATH")
      ->check(CLI::Validator(CheckDialAddress, ""))
      ->each([flags](const std::string& /*address*/) { flags->globals.collector_named = true; })
      ->envname("FAULTLINE_COLLECTOR")
      ->capture_default_str();
  app->add_option("--injector", flags->globals.injector,
                  "talk to this node's injector instead, unix:/PATH")
      ->check(CLI::Validator(CheckInjectorAddress, ""));
  app->add_option(
         "--tls", flags->globals.tls.folder,
         "folder with ca.pem, cert.pem and key.pem of an operator; named, they are used on "
         "loopback too (beyond it without --tls: /etc/faultline/tls)")
      ->type_name("DIR")
      ->envname("FAULTLINE_TLS");
  app->add_option("--color,--colour", flags->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  AddStatus(*app, &flags->action);
  AddExec(*app, &flags->action);
  AddInject(*app, &flags->action);
  AddFaults(*app, &flags->action);
  AddStop(*app, &flags->action);
  AddHalt(*app, &flags->action);
  AddRelease(*app, &flags->action);
  AddRun(*app, &flags->action);
  AddExport(*app, &flags->action);
  AddTls(*app, &flags->action);
  AddDoctor(*app, &flags->action);
  AddEventsDoc(*app, &flags->action);
  AddDemo(*app, &flags->action);
  AddReference(app.get(), 1);
  return app;
}

Terminal::Features Choose(const std::string& colour, bool out_tty, bool err_tty) {
  // no-color.org: present and not empty, whatever its value. A flag beats it.
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || absl::string_view(term) == "dumb";
  const bool wanted = colour == "always" ||
                      (colour == "auto" && !dumb && (no_color == nullptr || *no_color == '\0'));
  const bool forced = colour == "always";
  return {wanted && (out_tty || forced), wanted && (err_tty || forced), err_tty && !dumb};
}

// The subcommand that was chosen, and its subcommand if it has any; the program itself if none.
const CLI::App& Chosen(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  return chosen.empty() ? app : Chosen(*chosen.front());
}

// CLI11's words, except where they miss what is wrong.
int Refuse(const CLI::App& app, const CLI::ParseError& error, Terminal* terminal) {
  const CLI::App& chosen = Chosen(app);
  std::string command = app.get_name();
  for (const CLI::App* at : app.get_subcommands()) command += " " + at->get_name();
  const std::vector<std::string> unknown = app.remaining(true);
  if (chosen.get_require_subcommand_min() > 0 && !unknown.empty() &&
      !absl::StartsWith(unknown.front(), "-")) {
    terminal->Error(absl::StrCat("there is no subcommand \"", unknown.front(), "\" of ", command));
  } else {
    terminal->Error(error.what());
  }
  terminal->Say(absl::StrCat("`", command, " --help` explains"));
  return kExitUsage;
}

// The last thing: data that never arrived was not delivered, whatever the command thinks.
int Delivered(int code, std::ostream& out, Terminal* terminal) {
  errno = 0;
  out.flush();
  if (out) return code;
  const int error = errno;
  terminal->Error(
      absl::StrCat("the output could not be written",
                   error == 0 ? "" : absl::StrCat(": ", std::system_category().message(error))));
  return code == kExitOk ? kExitFailed : code;
}

}  // namespace

int Report(const Globals& globals, const absl::Status& result) {
  if (result.ok()) return kExitOk;
  const absl::Status status = Plain(result, globals.address());
  globals.terminal->Error(status.message().empty() ? status.ToString()
                                                   : std::string(status.message()));
  const std::string next = NextStep(status, {globals.address(), !globals.injector.empty(),
                                             NeedsTls(globals.address(), globals.tls)});
  if (!next.empty()) globals.terminal->Say(next);
  return ExitCodeOf(status);
}

absl::Status NeedsCollector(const Globals& globals, absl::string_view what) {
  if (globals.injector.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " live in the collector; leave --injector out"));
}

int Main(int argc, const char* const* argv, std::ostream& out, std::ostream& err, bool out_tty,
         bool err_tty) {
  Flags flags;
  const std::unique_ptr<CLI::App> app = MakeApp(&flags);
  try {
    app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    Terminal terminal(out, err, Choose(flags.colour, out_tty, err_tty));
    if (error.get_exit_code() != 0) return Refuse(*app, error, &terminal);
    // --help and --version.
    return Delivered(app->exit(error, out, err), out, &terminal);
  }
  Terminal terminal(out, err, Choose(flags.colour, out_tty, err_tty));
  flags.globals.terminal = &terminal;
  return Delivered(flags.action(flags.globals), out, &terminal);
}

}  // namespace faultline::cli
