// SPDX-License-Identifier: Apache-2.0
//
// The configuration file of a service: YAML whose keys are the long names of the program's options,
// so that there is one table of settings. The command line wins over the file, and
// the file over the environment. Every error of a file
// is told at once, each with its line. Used by one thread, before there are others.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace faultline {

// Asked when a file, named by the command line that has been read, has errors. True: they are taken
// note of, what could be read of the file counts, and the program goes on.
using BearErrors = std::function<bool(const std::vector<std::string>& errors)>;

// Adds --config FILE, --check-config and --sample-config to a complete `app`, which takes the
// file's values at the end of app.parse: CLI::ConfigError holds every error of the file; after
// --check-config a good file throws CLI::CallForVersion with a sentence, which app.exit prints,
// --sample-config with SampleConfig. Without --config no file is read. Values are checked by the
// validators of their options, and paths (type DIR or FILE) begin with a /, and a value ends on the
// line that it begins on. Options that are not configurable() cannot be in a file. --check-config
// bears nothing.
void AddConfigFile(CLI::App* app, const BearErrors& bear = nullptr);

// True if `app` was given --config.
bool HasConfigFile(const CLI::App& app);

// True if `app` was given a task, a flag that no file may give, as --check-config is: the program
// then does one thing for who called it and is no service. After an error of app.parse, among what
// it had read.
bool HasTask(const CLI::App& app);

// Takes the values of `text`, the content of the file called `name`; yields its errors, each
// "NAME:LINE: what". Options that the command line gave keep their
// values; what the file says of them is checked all the same.
std::vector<std::string> TakeConfig(CLI::App* app, const std::string& name,
                                    const std::string& text);

// The one value that `text`, a file's content, gives for `key`; none: it gives no such, or is no
// YAML. For who looks at a service from outside: what is wrong in the file is the service's matter.
std::optional<std::string> ConfigValue(const std::string& text, const std::string& key);

// A file that sets nothing: every key behind a #, with its explanation and default.
std::string SampleConfig(const CLI::App& app);

}  // namespace faultline
