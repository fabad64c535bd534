// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "base/log.h"
#include "cli/options.h"

int main(int argc, char** argv) {
  // A reader that went away is a failed write, not a death in the middle of a fault.
  std::signal(SIGPIPE, SIG_IGN);
  faultline::KeepGrpcQuiet();
  return faultline::cli::Main(argc, argv, std::cout, std::cerr, ::isatty(STDOUT_FILENO) == 1,
                              ::isatty(STDERR_FILENO) == 1);
}
