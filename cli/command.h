// SPDX-License-Identifier: Apache-2.0
//
// What the subcommands share: the global options and the one function that each file adds. Parsing
// only chooses an action; main runs it afterwards, so that nothing happens for a wrong command
// line. Main thread only.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "base/credentials.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"

namespace faultline::cli {

struct Globals {
  // HOST:PORT or unix:/PATH.
  std::string collector = "127.0.0.1:4640";
  // Whether that was given.
  bool collector_named = false;
  // Certificates of this operator; folder empty: only beyond loopback, from the usual place.
  TlsOptions tls;
  // unix:/PATH of a node's injector; set: that is who is spoken to.
  std::string injector;
  Terminal* terminal = nullptr;

  const std::string& address() const { return injector.empty() ? collector : injector; }
};

// Prints what went wrong and what to do next; returns the exit code. Prints nothing for OK.
int Report(const Globals& globals, const absl::Status& status);

// FailedPrecondition if the command needs the collector and --injector was given.
absl::Status NeedsCollector(const Globals& globals, absl::string_view what);

// The action that the command line chose; returns the exit code.
using Action = std::function<int(const Globals&)>;

// Each adds one subcommand, which sets `*action` when it was chosen.
void AddStatus(CLI::App& app, Action* action);
void AddExec(CLI::App& app, Action* action);
void AddInject(CLI::App& app, Action* action);
void AddFaults(CLI::App& app, Action* action);
void AddStop(CLI::App& app, Action* action);
void AddHalt(CLI::App& app, Action* action);
void AddRelease(CLI::App& app, Action* action);
void AddRun(CLI::App& app, Action* action);
void AddExport(CLI::App& app, Action* action);
void AddTls(CLI::App& app, Action* action);
void AddDoctor(CLI::App& app, Action* action);
void AddEventsDoc(CLI::App& app, Action* action);
void AddDemo(CLI::App& app, Action* action);

}  // namespace faultline::cli
