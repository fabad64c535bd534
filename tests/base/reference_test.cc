// SPDX-License-Identifier: Apache-2.0
#include "base/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/config_file.h"
#include "tests/child.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAreArray;

struct Program {
  Program() {
    app.add_option("--colour", colour, "when it's [red]: never\nor always")
        ->check(CLI::IsMember({"always", "never"}))
        ->capture_default_str();
    app.add_option("--file", file, "where")->type_name("FILE")->envname("PROGRAM_FILE");
    app.add_flag("--secret", secret, "shown to nobody")->group("");
    app.fallthrough();
    CLI::App* run = app.add_subcommand("run", "spans of time")->alias("span");
    CLI::App* start = run->add_subcommand("start", "open one");
    start->add_option("NAME", name, ".dots first")->required();
    start->add_flag("--list", listed, "print the names that there are");
    AddReference(&app, 8);
  }

  // What the option prints; "" if it is none.
  std::string Printed(const std::string& option) {
    std::vector<std::string> arguments = {option};
    try {
      app.parse(arguments);
    } catch (const CLI::CallForVersion& text) {
      return text.what();
    }
    return "";
  }

  CLI::App app{"program: does one thing. And more.", "program"};
  bool secret = false;
  bool listed = false;
  std::string colour = "never";
  std::string file;
  std::string name;
};

TEST(Reference, ManualHoldsEachOptionOnce_WithDefaultAndEnvironment) {
  const std::string page = Program().Printed("--man");
  EXPECT_THAT(page, HasSubstr("program \\- does one thing\n"));
  EXPECT_THAT(page, HasSubstr("\\fB\\-\\-colour\\fR"));
  EXPECT_THAT(page, HasSubstr("Default: never.\n"));
  EXPECT_THAT(page, HasSubstr("Environment: \\fBPROGRAM_FILE\\fR.\n"));
  EXPECT_THAT(page, HasSubstr(".SS \"program run start\"\n"));
}

TEST(Reference, TextIsNoRoff) {
  const std::string page = ManualPage(Program().app, 8);
  EXPECT_THAT(page, HasSubstr("\n\\&.dots first\n"));
  EXPECT_THAT(page, HasSubstr("it\\(aqs"));
}

TEST(Reference, ManualEndsWithFilesExitStatusAndOtherPages) {
  CLI::App app{"does one thing", "faultline-agent"};
  app.add_option("--tls", "where");
  app.footer("Mind the step.\n\nExit status: 0 good, 2 not.\n\nAnd more.");
  AddConfigFile(&app);
  AddReference(&app, 8);
  const std::string page = ManualPage(app, 8);
  EXPECT_THAT(page, HasSubstr("\\fB\\-\\-sample\\-config\\fR"));
  EXPECT_THAT(page, HasSubstr(".SH FILES\n.TP\n\\fI/etc/faultline/agent.yaml\\fR\n"));
  EXPECT_THAT(page, HasSubstr("\\fI/etc/faultline/tls\\fR\n"));
  EXPECT_THAT(page, HasSubstr(".SH EXIT STATUS\n0 good, 2 not.\n.SH NOTES\nMind the step.\n"));
  EXPECT_THAT(page, HasSubstr(".SH SEE ALSO\n\\fBfaultline\\fR(1),\n"));
  EXPECT_THAT(page, Not(HasSubstr("\\fBfaultline\\-agent\\fR(8)")));
  // What has no files and no such footer has no such sections.
  const std::string other = ManualPage(Program().app, 8);
  EXPECT_THAT(other, Not(HasSubstr(".SH FILES")));
  EXPECT_THAT(other, Not(HasSubstr("EXIT STATUS")));
}

TEST(Reference, HiddenOptionsAreNowhere) {
  Program program;
  for (const std::string& text : {ManualPage(program.app, 8), BashCompletion(program.app),
                                  ZshCompletion(program.app), program.app.help()}) {
    EXPECT_THAT(text, Not(HasSubstr("secret")));
    EXPECT_THAT(text, Not(HasSubstr("completion-bash")));
  }
}

TEST(Reference, BashOffersWordsFilesAndWhatComesFromAbove) {
  const std::string script = Program().Printed("--completion-bash");
  EXPECT_THAT(script, HasSubstr("--colour) mapfile -t COMPREPLY < <(compgen -W 'always never'"));
  EXPECT_THAT(script, HasSubstr("--file) mapfile -t COMPREPLY < <(compgen -f"));
  EXPECT_THAT(script, HasSubstr("'program run start') path='program run start'"));
  EXPECT_THAT(script, HasSubstr("'program span') path='program run'"));
  EXPECT_THAT(script, HasSubstr("compgen -W '-h --help --list --colour --file'"));
}

TEST(Reference, AnArgumentIsCompletedFromTheCommandsOwnList) {
  const std::string list = " run start --list 2>/dev/null | sed \"1d;s/ .*//\"";
  EXPECT_THAT(BashCompletion(Program().app),
              HasSubstr("|| timeout 2 \"${COMP_WORDS[0]}\"" + list + ")\" -- \"$current\""));
  EXPECT_THAT(ZshCompletion(Program().app),
              HasSubstr("'1:argument:{compadd - $(timeout 2 program" + list + ")}'"));
}

TEST(Reference, ZshQuotesDescriptions) {
  const std::string script = Program().Printed("--completion-zsh");
  EXPECT_THAT(script, HasSubstr("'--colour[when it'\\''s \\[red\\]\\: never or always]"));
  EXPECT_THAT(script, HasSubstr("start) _program__run__start ;;"));
  EXPECT_THAT(script, HasSubstr("run|span) _program__run ;;"));
}

constexpr std::array kPrograms{"faultline", "faultline-agent", "faultline-injector",
                               "faultline-collector"};

// Takes the script $1 and completes the last of the words that follow, as bash does on a tab.
constexpr const char* kComplete = R"(
source "$1" || exit
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
registered=$(complete -p "$1") || exit
# complete -F FUNCTION PROGRAM
set -- $registered
"$3" || exit
printf '%s\n' "${COMPREPLY[@]}"
)";

// Each program's own completion, in a file of that name.
void WriteCompletions(const std::string& option, const std::string& folder) {
  for (const char* program : kPrograms) {
    std::string script;
    EXPECT_EQ(RunToEnd({absl::StrCat(BinDir(), "/", program), option}, &script), 0) << script;
    std::ofstream(absl::StrCat(folder, "/", program)) << script;
  }
}

// `shell` reads each file and runs nothing of it.
void ExpectNoComplaint(const std::string& shell, const std::string& folder) {
  for (const char* program : kPrograms) {
    std::string said;
    EXPECT_EQ(RunToEnd({shell, "-n", absl::StrCat(folder, "/", program)}, &said), 0) << program;
    EXPECT_EQ(said, "") << program;
  }
}

// Empty: there is none in PATH.
std::string ZshInPath() {
  const char* path = std::getenv("PATH");
  const std::vector<std::string> folders = absl::StrSplit(path == nullptr ? "" : path, ':');
  for (const std::string& folder : folders) {
    const std::string file = folder + "/zsh";
    if (::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

TEST(Reference, BashReadsEveryProgramsCompletion_AndOffersItsWords) {
  const TempDir dir;
  WriteCompletions("--completion-bash", dir.path());
  ExpectNoComplaint("/bin/bash", dir.path());
  std::filesystem::create_directory(dir.path() + "/folder");
  struct Case {
    std::vector<std::string> words;
    std::vector<std::string> offered;
  };
  const std::vector<Case> cases = {
      {{"faultline", "inj"}, {"inject"}},
      {{"faultline", "run", "st"}, {"start", "stop"}},
      {{"faultline", "run", "start", "web", "--no"}, {"--note", "--node"}},
      // By its other name.
      {{"faultline", "nodes", "--met"}, {"--metrics"}},
      // An option of the program behind a subcommand.
      {{"faultline", "tls", "init", "--colour", "a"}, {"always", "auto"}},
      {{"faultline", "--tls", dir.path() + "/f"}, {dir.path() + "/folder"}},
      {{"faultline-agent", "--buf"}, {"--buffer-bytes"}},
      {{"faultline-agent", "--completion"}, {}},
      {{"faultline-injector", "--rem"}, {"--remove-planes"}},
      {{"faultline-injector", "--undo", "--config", dir.path() + "/faultline-a"},
       {dir.path() + "/faultline-agent"}},
      {{"faultline-collector", "--ad"}, {"--address-file"}},
      // Any text may follow.
      {{"faultline-collector", "--listen", ""}, {}},
  };
  for (const Case& test : cases) {
    std::vector<std::string> argv = {"/bin/bash", "-c", kComplete, "bash",
                                     absl::StrCat(dir.path(), "/", test.words[0])};
    argv.insert(argv.end(), test.words.begin(), test.words.end());
    std::string said;
    EXPECT_EQ(RunToEnd(argv, &said), 0) << said;
    const std::vector<std::string> offered = absl::StrSplit(said, '\n', absl::SkipEmpty());
    EXPECT_THAT(offered, UnorderedElementsAreArray(test.offered))
        << testing::PrintToString(test.words);
  }
}

TEST(Reference, ZshReadsEveryProgramsCompletion) {
  const std::string zsh = ZshInPath();
  if (zsh.empty()) {
    std::cout << "there is no zsh in PATH: whether it reads the completions is not tested\n";
    return;
  }
  const TempDir dir;
  WriteCompletions("--completion-zsh", dir.path());
  ExpectNoComplaint(zsh, dir.path());
}

}  // namespace
}  // namespace faultline
