// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

namespace faultline::cli {
namespace {

struct Result {
  int code = 0;
  std::string out;
  std::string err;
};

Result Invoke(std::vector<const char*> words, bool tty = false) {
  words.insert(words.begin(), "faultline");
  std::ostringstream out;
  std::ostringstream err;
  Result result;
  result.code = Main(static_cast<int>(words.size()), words.data(), out, err, tty, tty);
  result.out = out.str();
  result.err = err.str();
  return result;
}

// Nobody listens on a socket that does not exist.
constexpr const char* kNobody = "unix:/nonexistent/faultline.sock";

TEST(CommandLine_WrongWords, AreUsageErrors) {
  const std::vector<std::vector<const char*>> cases{
      {},
      {"frobnicate"},
      {"inject"},
      {"inject", "cpu.limit", "--target", "web", "--for", "3s"},
      {"inject", "cpu.limit", "--target", "cgroup:/web"},
      {"inject", "cpu.limit", "--target", "cgroup:/web", "--for", "3"},
      {"inject", "cpu.limit", "--target", "cgroup:/web", "--for", "3s", "quota"},
      {"inject", "cpu.limit", "--target", "cgroup:/web", "--for", "3s", "a=1", "a=2"},
      {"stop"},
      {"run"},
      {"run", "start"},
      {"export", "--run", "x"},
      {"exec", "--", "ls"},
      {"exec", "--cgroup", "x"},
      {"exec", "--cgroup", "../x", "--", "ls"},
      {"--color", "pink", "status"},
      {"--injector", "127.0.0.1:1", "status"},
      {"--injector", "", "status"},
      {"--collector", "10.0.0.1", "status"},
      {"--collector", "127.0.0.1:99999", "status"},
      {"--collector", "", "status"},
      {"--injector", kNobody, "run", "list"},
      {"faults", "--types", "--watch"},
      {"run", "bogus"},
      {"inject", "sham", "--target", "host", "--for", "3s", "--seed", "-1"},
      {"inject", "sham", "--target", "host", "--for", "3s", "--seed=-1"},
      {"inject", "sham", "--target", "host", "--for", "0s"},
      {"exec", "--cgroup", "", "--", "ls"},
  };
  for (const std::vector<const char*>& words : cases) {
    const Result result = Invoke(words);
    EXPECT_EQ(result.code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err.rfind("error: ", 0), 0U) << result.err;
  }
}

TEST(CommandLine_UnknownSubcommand, IsNamed) {
  EXPECT_NE(Invoke({"bogus"}).err.find("no subcommand \"bogus\""), std::string::npos);
  EXPECT_NE(Invoke({"run", "bogus"}).err.find("no subcommand \"bogus\" of faultline run"),
            std::string::npos);
}

TEST(CommandLine_OutputThatCannotBeWritten, IsAFailure) {
  std::ofstream full("/dev/full");
  std::ostringstream err;
  const std::vector<const char*> words{"faultline", "--help"};
  EXPECT_EQ(Main(static_cast<int>(words.size()), words.data(), full, err, false, false), 1);
  EXPECT_NE(err.str().find("could not be written"), std::string::npos) << err.str();
}

TEST(CommandLine_HelpAndVersion, GoToStdout) {
  EXPECT_EQ(Invoke({"--version"}).code, 0);
  EXPECT_NE(Invoke({"--version"}).out.find("faultline 0."), std::string::npos);
  const Result help = Invoke({"inject", "--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_NE(help.out.find("--dry-run"), std::string::npos);
  EXPECT_EQ(help.err, "");
}

TEST(CommandLine_NobodyThere, IsUnreachableWithANextStep) {
  const std::vector<std::vector<const char*>> cases{
      {"status"},
      {"nodes", "--json"},
      {"faults"},
      {"stop", "some-id"},
      {"halt"},
      {"run", "list"},
      {"inject", "cpu.limit", "--target", "cgroup:/web", "--for", "3s", "quota=20%"},
      {"inject", "--list"},
  };
  for (std::vector<const char*> words : cases) {
    words.insert(words.end(), {"--collector", kNobody});
    const Result result = Invoke(words);
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find("cannot connect to unix:/nonexistent"), std::string::npos)
        << result.err;
  }
}

TEST(CommandLine_Environment_NamesTheCollector, AndTheFlagWins) {
  ::setenv("FAULTLINE_COLLECTOR", "unix:/nonexistent/from-env.sock", 1);
  EXPECT_NE(Invoke({"status"}).err.find("from-env"), std::string::npos);
  EXPECT_EQ(Invoke({"--collector", kNobody, "status"}).err.find("from-env"), std::string::npos);
  ::unsetenv("FAULTLINE_COLLECTOR");
}

// One that was named is to be there, also where it is the default.
TEST(CommandLine_Doctor_LooksForACollectorThatWasNamed, AlsoForTheDefaultOne) {
  const auto finding = [](std::vector<const char*> words) {
    words.insert(words.end(), {"doctor", "--for", "agent", "--config-dir", "/nonexistent"});
    return Invoke(words).out;
  };
  EXPECT_NE(finding({}).find("none was named"), std::string::npos);
  EXPECT_EQ(finding({"--collector", "127.0.0.1:4640"}).find("none was named"), std::string::npos);
  ::setenv("FAULTLINE_COLLECTOR", "127.0.0.1:4640", 1);
  EXPECT_EQ(finding({}).find("none was named"), std::string::npos);
  ::unsetenv("FAULTLINE_COLLECTOR");
}

TEST(CommandLine_Colour, FollowsTerminalFlagAndNoColor) {
  ::setenv("TERM", "xterm", 1);
  const auto coloured = [](std::vector<const char*> words, bool tty) {
    words.insert(words.begin(), {"--collector", kNobody, "status"});
    return Invoke(words, tty).err.find('\033') != std::string::npos;
  };
  EXPECT_TRUE(coloured({}, true));
  EXPECT_FALSE(coloured({}, false));
  EXPECT_FALSE(coloured({"--color", "never"}, true));
  EXPECT_TRUE(coloured({"--color", "always"}, false));
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(coloured({}, true));
  EXPECT_TRUE(coloured({"--color", "always"}, true));
  ::unsetenv("NO_COLOR");
}

}  // namespace
}  // namespace faultline::cli
