// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/reference.h"

namespace faultline {
namespace {

// A flag: to be given or not.
bool TakesNothing(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

// One command of the program: the program itself or a subcommand at any depth.
struct Command {
  const CLI::App* app;
  // "faultline run start".
  std::string path;
  // Its own, and those of the commands above where these may stand behind it.
  std::vector<const CLI::Option*> options;
  std::vector<const CLI::App*> subcommands;
};

void Collect(const CLI::App& app, const std::string& path,
             const std::vector<const CLI::Option*>& inherited, std::vector<Command>* commands) {
  Command command{&app, path, {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional() && !option->get_group().empty()) {
      command.options.push_back(option);
    }
  }
  std::vector<const CLI::Option*> handed_on;
  if (app.get_fallthrough()) {
    // --help and --version mean the command they stand behind.
    for (const CLI::Option* option : command.options) {
      if (!TakesNothing(*option)) handed_on.push_back(option);
    }
    handed_on.insert(handed_on.end(), inherited.begin(), inherited.end());
  }
  command.options.insert(command.options.end(), inherited.begin(), inherited.end());
  command.subcommands =
      app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  const std::vector<const CLI::App*> below = command.subcommands;
  commands->push_back(std::move(command));
  for (const CLI::App* sub : below) {
    Collect(*sub, absl::StrCat(path, " ", sub->get_name()), handed_on, commands);
  }
}

std::vector<Command> CommandsOf(const CLI::App& app) {
  std::vector<Command> commands;
  Collect(app, app.get_name(), {}, &commands);
  return commands;
}

std::vector<std::string> NamesOf(const CLI::Option& option) {
  return absl::StrSplit(option.get_name(false, true), ',', absl::SkipEmpty());
}

// A command by its name and by every other that it goes by.
std::vector<std::string> NamesOf(const CLI::App& command) {
  std::vector<std::string> names = {command.get_name()};
  for (const std::string& alias : command.get_aliases()) names.push_back(alias);
  return names;
}

// The words that the option allows, "" for any: CLI::IsMember describes itself as ...{a,b,c}.
std::string ChoicesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const auto open = type.rfind('{');
  const auto close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return "";
  return absl::StrReplaceAll(type.substr(open + 1, close - open - 1), {{",", " "}});
}

bool TakesFile(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type == "FILE" || type == "PATH";
}

bool TakesFolder(const CLI::Option& option) { return option.get_type_name() == "DIR"; }

std::string ProgramOf(const Command& command) {
  return command.path.substr(0, command.path.find(' '));
}

// Prints what the first argument of a command may be, where the program alone knows that: it is
// asked, when somebody completes, by the command's own --list, a table with a heading. "" for
// commands without one. A program that does not answer is not waited for.
std::string ListCall(const Command& command, absl::string_view program) {
  if (command.app->get_option_no_throw("--list") == nullptr) return "";
  const absl::string_view words = absl::StripPrefix(command.path, ProgramOf(command));
  return absl::StrCat("timeout 2 ", program, words, " --list 2>/dev/null | sed \"1d;s/ .*//\"");
}

std::string FunctionName(absl::string_view path) {
  return absl::StrCat("_", absl::StrReplaceAll(path, {{" ", "__"}, {"-", "_"}}));
}

// Within single quotes of a shell.
std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// Within an argument of zsh's _arguments.
std::string ZshText(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"\\", "\\\\"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"\n", " "}});
}

std::string ZshValue(const CLI::Option& option) {
  if (TakesNothing(option)) return "";
  const std::string choices = ChoicesOf(option);
  std::string action = " ";
  if (TakesFile(option)) action = "_files";
  if (TakesFolder(option)) action = "_files -/";
  if (!choices.empty()) action = absl::StrCat("(", choices, ")");
  return absl::StrCat(":", choices.empty() ? ZshText(option.get_type_name()) : "value", ":",
                      action);
}

std::string BashValues(const Command& command) {
  std::string cases;
  for (const CLI::Option* option : command.options) {
    if (TakesNothing(*option)) continue;
    const std::string choices = ChoicesOf(*option);
    std::string reply = ":";
    if (TakesFile(*option)) reply = "mapfile -t COMPREPLY < <(compgen -f -- \"$current\")";
    if (TakesFolder(*option)) reply = "mapfile -t COMPREPLY < <(compgen -d -- \"$current\")";
    if (!choices.empty()) {
      reply = absl::StrCat("mapfile -t COMPREPLY < <(compgen -W ", Quoted(choices),
                           " -- \"$current\")");
    }
    absl::StrAppend(&cases, "        ", absl::StrJoin(NamesOf(*option), "|"), ") ", reply,
                    "; return ;;\n");
  }
  if (cases.empty()) return "";
  return absl::StrCat("      case $previous in\n", cases, "      esac\n");
}

std::string BashWords(const Command& command) {
  std::vector<std::string> words;
  for (const CLI::App* sub : command.subcommands) {
    for (const std::string& name : NamesOf(*sub)) words.push_back(name);
  }
  for (const CLI::Option* option : command.options) {
    for (const std::string& name : NamesOf(*option)) words.push_back(name);
  }
  return absl::StrJoin(words, " ");
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  const std::vector<Command> commands = CommandsOf(app);
  const std::string function = FunctionName(app.get_name());
  std::string deeper;
  std::string replies;
  for (const Command& command : commands) {
    for (const CLI::App* sub : command.subcommands) {
      const std::string path = absl::StrCat(command.path, " ", sub->get_name());
      for (const std::string& name : NamesOf(*sub)) {
        absl::StrAppend(&deeper, "      ", Quoted(absl::StrCat(command.path, " ", name)),
                        ") path=", Quoted(path), " ;;\n");
      }
    }
    std::string words = Quoted(BashWords(command));
    if (const std::string list = ListCall(command, "\"${COMP_WORDS[0]}\""); !list.empty()) {
      absl::StrAppend(&words, "\" $([[ $current == -* ]] || ", list, ")\"");
    }
    absl::StrAppend(&replies, "    ", Quoted(command.path), ")\n", BashValues(command),
                    "      mapfile -t COMPREPLY < <(compgen -W ", words, " -- \"$current\") ;;\n");
  }
  const std::string walk =
      deeper.empty() ? ""
                     : absl::StrCat("  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n",
                                    "    case \"$path $word\" in\n", deeper, "    esac\n  done\n");
  return absl::StrCat("# Made from the options of ", app.get_name(), ".\n", function, "() {\n",
                      "  local word path=", app.get_name(),
                      " current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n",
                      "  COMPREPLY=()\n", walk, "  case $path in\n", replies, "  esac\n}\n",
                      "complete -F ", function, " ", app.get_name());
}

namespace {

std::string ZshOption(const CLI::Option& option) {
  const std::string repeat = option.get_items_expected_max() > 1 ? "*" : "";
  std::string specs;
  for (const std::string& name : NamesOf(option)) {
    absl::StrAppend(&specs, "    ",
                    Quoted(absl::StrCat(repeat, name, "[", ZshText(option.get_description()), "]",
                                        ZshValue(option))),
                    " \\\n");
  }
  return specs;
}

std::string ZshFunction(const Command& command) {
  std::string text = absl::StrCat(FunctionName(command.path), "() {\n");
  if (!command.subcommands.empty()) {
    absl::StrAppend(&text, "  local state line\n  local -a commands\n  commands=(\n");
    for (const CLI::App* sub : command.subcommands) {
      for (const std::string& name : NamesOf(*sub)) {
        absl::StrAppend(&text, "    ",
                        Quoted(absl::StrCat(name, ":", ZshText(sub->get_description()))), "\n");
      }
    }
    absl::StrAppend(&text, "  )\n");
  }
  absl::StrAppend(&text, "  _arguments ", command.subcommands.empty() ? "" : "-C ", "\\\n");
  for (const CLI::Option* option : command.options) absl::StrAppend(&text, ZshOption(*option));
  const std::string list = ListCall(command, ProgramOf(command));
  if (!list.empty()) {
    absl::StrAppend(&text, "    ", Quoted(absl::StrCat("1:argument:{compadd - $(", list, ")}")),
                    " \\\n");
  }
  if (command.subcommands.empty()) {
    absl::StrAppend(&text, "    '*:argument: '\n");
  } else {
    absl::StrAppend(&text, "    '1: :->command' '*:: :->rest'\n  case $state in\n",
                    "    command) _describe command commands ;;\n    rest)\n",
                    "      case ${line[1]} in\n");
    for (const CLI::App* sub : command.subcommands) {
      absl::StrAppend(&text, "        ", absl::StrJoin(NamesOf(*sub), "|"), ") ",
                      FunctionName(absl::StrCat(command.path, " ", sub->get_name())), " ;;\n");
    }
    absl::StrAppend(&text, "      esac ;;\n  esac\n");
  }
  return absl::StrCat(text, "}\n");
}

}  // namespace

std::string ZshCompletion(const CLI::App& app) {
  std::string text = absl::StrCat("#compdef ", app.get_name(), "\n# Made from the options of ",
                                  app.get_name(), ".\n");
  for (const Command& command : CommandsOf(app)) absl::StrAppend(&text, ZshFunction(command));
  return absl::StrCat(text, FunctionName(app.get_name()), " \"$@\"");
}

}  // namespace faultline
