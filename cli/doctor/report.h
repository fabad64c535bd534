// SPDX-License-Identifier: Apache-2.0
//
// What `faultline doctor` prints: a line per check, or JSON. Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/doctor/check.h"
#include "cli/exit_code.h"
#include "cli/json.h"
#include "cli/terminal.h"

namespace faultline::cli::doctor {

struct Finding {
  const Check* check = nullptr;
  Verdict verdict;
};

// "OK", "WARN", "FAIL", "SKIPPED".
absl::string_view StateWord(State state);

// "WARN     qdisc/netem  this kernel has no qdisc netem; fix: ...": one line, however long.
std::string Line(const Terminal& terminal, const Finding& finding);

// "31 checks: 28 ok, 1 warning, 0 failed, 2 skipped".
std::string Summary(const std::vector<Finding>& findings);

// {"failed": bool, "checks": [...]}; docs/cli.md has the schema.
Json ToJson(const std::vector<Finding>& findings);

// kExitFailed if something failed that a service needs.
ExitCode ExitCodeOf(const std::vector<Finding>& findings);

// The table of docs/cli.md.
std::string ChecksMarkdown();

}  // namespace faultline::cli::doctor
