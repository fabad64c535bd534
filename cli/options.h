// SPDX-License-Identifier: Apache-2.0
//
// The command line of `faultline`: parsed here and nowhere else, the environment too. Main thread.
#pragma once

#include <iosfwd>

namespace faultline::cli {

// Parses, runs the chosen subcommand and returns the exit code. `out_tty` and `err_tty`: whether
// the streams are terminals.
int Main(int argc, const char* const* argv, std::ostream& out, std::ostream& err, bool out_tty,
         bool err_tty);

}  // namespace faultline::cli
