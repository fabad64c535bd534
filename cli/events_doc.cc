// SPDX-License-Identifier: Apache-2.0
//
// `faultline events-doc`, which --help does not show: prints docs/events.md.
#include <ostream>

#include "base/event.h"
#include "cli/command.h"

namespace faultline::cli {

void AddEventsDoc(CLI::App& app, Action* action) {
  app.add_subcommand("events-doc", "print docs/events.md")->group("")->callback([action] {
    *action = [](const Globals& globals) -> int {
      globals.terminal->out() << EventsMarkdown();
      return kExitOk;
    };
  });
}

}  // namespace faultline::cli
