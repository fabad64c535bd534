// SPDX-License-Identifier: Apache-2.0
//
// `faultline exec`: a command in a control group of its own. We stay outside the group as its
// parent: signals are passed on, its exit status is ours, and the group goes when it is empty.
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/cgroup_exec.h"
#include "cli/command.h"

namespace faultline::cli {
namespace {

// As env(1) and shells say it.
constexpr int kExitCannotRun = 126;
constexpr int kExitNoProgram = 127;

struct ExecOptions {
  std::string name;
  std::vector<std::string> command;
};

// Passes signals on until the command has ended.
int Follow(Process& process, int signals) {
  for (;;) {
    signalfd_siginfo info{};
    if (::read(signals, &info, sizeof(info)) != sizeof(info)) continue;
    if (info.ssi_signo == SIGCHLD) {
      const std::optional<int> status = process.Poll();
      if (status) return ShellStatus(*status);
    } else if (info.ssi_code != SI_KERNEL) {
      // What the terminal sends goes to the whole process group, so the command has it already.
      process.Signal(static_cast<int>(info.ssi_signo));
    }
  }
}

// Blocks what Follow reads; `before` gets the mask that the command starts with.
int BlockSignals(sigset_t* before) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH}) {
    sigaddset(&set, signal);
  }
  ::sigprocmask(SIG_BLOCK, &set, before);
  return ::signalfd(-1, &set, SFD_CLOEXEC);
}

int Exec(const Globals& globals, const ExecOptions& options) {
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return Report(globals, tree.status());
  const absl::StatusOr<std::unique_ptr<ExecGroup>> group = ExecGroup::Create(*tree, options.name);
  if (!group.ok()) return Report(globals, group.status());
  for (const std::string& note : (*group)->notes()) globals.terminal->Say("note: " + note);

  SpawnSpec spec;
  spec.argv = options.command;
  const int signals = BlockSignals(&spec.mask);
  if (signals < 0) return Report(globals, ErrnoStatus(errno, "make a signalfd"));
  absl::StatusOr<Process> process = (*group)->Start(spec);
  if (!process.ok()) {
    globals.terminal->Error(process.status().message());
    if (absl::IsNotFound(process.status())) return kExitNoProgram;
    if (absl::IsPermissionDenied(process.status())) return kExitCannotRun;
    return ExitCodeOf(process.status());
  }
  if ((*group)->systemd()) {
    globals.terminal->Say("note: systemd keeps the control group: " + (*group)->path());
  }
  const int code = Follow(*process, signals);
  const absl::Status removed = (*group)->Remove(absl::Seconds(1));
  if (!removed.ok()) globals.terminal->Say(absl::StrCat("note: ", removed.message()));
  ::close(signals);
  return code;
}

}  // namespace

void AddExec(CLI::App& app, Action* action) {
  auto options = std::make_shared<ExecOptions>();
  CLI::App* command =
      app.add_subcommand("exec", "run a command in a control group of its own, in every hierarchy");
  command
      ->add_option("--cgroup", options->name,
                   "the group is /NAME, gone when the command ended; under systemd scope "
                   "faultline-NAME.scope, whose path is printed")
      ->required();
  command->add_option("COMMAND", options->command, "after --, with its arguments")->required();
  command->callback([options, action] {
    *action = [options](const Globals& globals) { return Exec(globals, *options); };
  });
}

}  // namespace faultline::cli
