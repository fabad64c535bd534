// SPDX-License-Identifier: Apache-2.0
//
// The manual page and the shells' completions of a program, made from the table of options that
// also makes its --help, so that there is no second text. The build asks each program for them
// through options that --help does not show: --man, --completion-bash and --completion-zsh. Pure
// functions over a parser that its owner has filled.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace faultline {

// Adds these options to a complete `app`. Given one, app.parse throws CLI::CallForVersion with
// the text, which app.exit prints. `section`: of the manual, 1 for users, 8 for administrators.
void AddReference(CLI::App* app, int section);

// roff for man(1), subcommands in the same page. A paragraph of the footer that begins with
// "Exit status: " is the section of that name, the others are notes.
std::string ManualPage(const CLI::App& app, int section);

// For bash, to be sourced.
std::string BashCompletion(const CLI::App& app);

// For zsh, a file of its $fpath named _PROGRAM.
std::string ZshCompletion(const CLI::App& app);

}  // namespace faultline
