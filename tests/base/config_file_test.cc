// SPDX-License-Identifier: Apache-2.0
#include "base/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "tests/child.h"

namespace faultline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Service {
  Service() {
    app.add_option("--size", size, "how large it is, from 1 to 9")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 9).description(""));
    app.add_option("--place", places, "where; repeatable")->type_name("PATH");
    app.add_option("--number", numbers, "how many; repeatable")
        ->type_name("N")
        ->check(CLI::Range(1, 9).description(""));
    app.add_option("--home", home, "where it lives")->type_name("DIR");
    app.get_option("--home")->envname("FAULTLINE_TEST_HOME");
    app.add_flag("--loud", loud, "say more");
    app.add_flag("--task", other, "do one thing")->configurable(false);
    app.add_flag("--hidden", other, "shown to nobody")->group("")->configurable(false);
    AddConfigFile(&app, [this](const std::vector<std::string>& errors) {
      if (other) borne = errors;
      return other;
    });
  }

  std::vector<std::string> Take(const std::string& text) { return TakeConfig(&app, "f", text); }

  // The service's own way; what it would print, "" if it would go on.
  std::string Parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());
    try {
      app.parse(arguments);
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    return "";
  }

  CLI::App app{"does one thing", "service"};
  int size = 5;
  std::vector<std::string> places;
  std::vector<int> numbers;
  std::string home;
  bool loud = false;
  bool other = false;
  // By --task.
  std::vector<std::string> borne;
};

TEST(ConfigFile, GoodValues_AreTaken) {
  Service service;
  EXPECT_THAT(service.Take("# a comment\nsize: 7\nplace: [/a, '/b c']\nloud: true\n"), IsEmpty());
  EXPECT_EQ(service.size, 7);
  EXPECT_THAT(service.places, ElementsAre("/a", "/b c"));
  EXPECT_TRUE(service.loud);
  Service listed;
  EXPECT_THAT(listed.Take("place:\n  - /a\n  - /b\nloud: false\n"), IsEmpty());
  EXPECT_THAT(listed.places, ElementsAre("/a", "/b"));
  EXPECT_FALSE(listed.loud);
  Service quoted;
  EXPECT_THAT(
      quoted.Take("\xEF\xBB\xBFhome: \"/a\\\"b\"  # 'x\nplace: ['/it''s', \"/c\", /d e]  # it's\n"),
      IsEmpty());
  EXPECT_EQ(quoted.home, "/a\"b");
  EXPECT_THAT(quoted.places, ElementsAre("/it's", "/c", "/d e"));
  for (const char* nothing : {"", "# only a comment\n", "---\n"}) {
    EXPECT_THAT(Service().Take(nothing), IsEmpty()) << nothing;
  }
}

TEST(ConfigFile, EachError_IsToldWithItsLine) {
  const struct {
    const char* text;
    const char* says;
  } cases[] = {
      {"size: 10", "f:1: size: Value 10 not in range 1 to 9"},
      {"\n\nsize: many", "f:3: size: "},
      {"colour: red", "f:1: colour: no such key"},
      {"task: true", "f:1: task: no such key"},
      {"hidden: true", "f:1: hidden: no such key"},
      {"config: other", "f:1: config: no such key"},
      {"check-config: true", "f:1: check-config: no such key"},
      {"size: 1\n# b\nsize: 2", "f:3: size: was given on line 1"},
      {"size:", "f:1: size: has no value"},
      {"size: [1, 2]", "f:1: size: takes one value, not a list"},
      {"size: {a: 1}", "f:1: size: takes no keys of its own"},
      {"place: [[1]]", "f:1: place: line 1 is not one value"},
      {"place: []", "f:1: place: an empty list"},
      {"loud: maybe", "f:1: loud: is either true or false"},
      {"home: here", "f:1: home: \"here\" does not begin with a /"},
      {"home: ''", "f:1: home: \"\" does not begin with a /"},
      {"home: \"/a\n\n# y\n\nloud: \"", "f:1: home: its value goes on below this line"},
      {"home: '/a''s\nloud: true'", "f:1: home: its value goes on below"},
      {"home: /a\n  b", "f:1: home: its value goes on below"},
      {"home: |\n  /a", "f:1: home: its value goes on below"},
      {"place: [/a, \"/b\n  /c\"]", "f:1: place: its value goes on below"},
      {"[a]: 1", "f:1: a key is one word"},
      {"- size", "f:1: not lines of KEY: VALUE"},
      {"size", "f:1: not lines of KEY: VALUE"},
      {"size: 1\n---\nsize: 2", "f:3: a second document"},
      {"loud: true\nplace: [", "f:"},
      {"size: 1\n\tloud: true", "f:2: no YAML"},
      {"place: \"open", "no YAML"},
  };
  for (const auto& test : cases) {
    Service service;
    const std::vector<std::string> errors = service.Take(test.text);
    ASSERT_EQ(errors.size(), 1U) << test.text;
    EXPECT_THAT(errors[0], HasSubstr(test.says)) << test.text;
    EXPECT_EQ(service.app.get_option("--task")->count(), 0U) << test.text;
  }
}

TEST(ConfigFile, EachItemOfAList_IsCheckedAndToldWithItsLine) {
  EXPECT_THAT(
      Service().Take("number:\n  - 1\n  - 12\n  - 3\n  - x\n"),
      ElementsAre(HasSubstr("f:3: number: Value 12 not in range"), HasSubstr("f:5: number: ")));
}

TEST(ConfigFile, AllErrors_AreToldAtOnce) {
  EXPECT_THAT(Service().Take("size: 10\ncolour: red\nloud: maybe\n"),
              ElementsAre(HasSubstr("f:1:"), HasSubstr("f:2:"), HasSubstr("f:3:")));
}

TEST(ConfigFile, OneValue_IsReadFromOutside) {
  EXPECT_EQ(ConfigValue("a: 1\nb: x:2\n", "b"), "x:2");
  for (const char* none : {"", "a: 1", "b: [1]", "b:", "- b", "b: \"open", "#b: 1"}) {
    EXPECT_EQ(ConfigValue(none, "b"), std::nullopt) << none;
  }
}

class ConfigFileOnDisk : public testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  // Of its own, as the tests run side by side.
  const TempDir dir_;
  const std::string path_ = dir_.path() + "/config.yaml";
};

TEST_F(ConfigFileOnDisk, CommandLineWins) {
  Write("size: 7\nloud: true\n");
  Service service;
  EXPECT_EQ(service.Parse({"--config", path_, "--size", "3"}), "");
  EXPECT_EQ(service.size, 3);
  EXPECT_EQ(service.app.get_option("--size")->results(), std::vector<std::string>{"3"});
  EXPECT_TRUE(service.loud);
  EXPECT_TRUE(HasConfigFile(service.app));
  Service without;
  EXPECT_EQ(without.Parse({}), "");
  EXPECT_EQ(without.size, 5);
  EXPECT_FALSE(HasConfigFile(without.app));
}

TEST_F(ConfigFileOnDisk, WinsOverTheEnvironment) {
  ::setenv("FAULTLINE_TEST_HOME", "/env", 1);
  Write("home: /file\n");
  Service both;
  EXPECT_EQ(both.Parse({"--config", path_}), "");
  EXPECT_EQ(both.home, "/file");
  Service all;
  EXPECT_EQ(all.Parse({"--config", path_, "--home", "/line"}), "");
  EXPECT_EQ(all.home, "/line");
  Write("size: 3\n");
  Service without;
  EXPECT_EQ(without.Parse({"--config", path_}), "");
  EXPECT_EQ(without.home, "/env");
  ::unsetenv("FAULTLINE_TEST_HOME");
}

TEST_F(ConfigFileOnDisk, CheckConfig_SaysThatItIsGoodOrWhatIsNot) {
  Write("size: 7\n");
  EXPECT_EQ(Service().Parse({"--check-config", "--config", path_}), path_ + ": no error");
  Write("size: 70\n");
  EXPECT_THAT(Service().Parse({"--check-config", "--config", path_}), HasSubstr(path_ + ":1: "));
  EXPECT_THAT(Service().Parse({"--check-config", "--config", path_, "--size", "3"}),
              HasSubstr(path_ + ":1: "));
  EXPECT_THAT(Service().Parse({"--check-config"}), HasSubstr("--config"));
  EXPECT_THAT(Service().Parse({"--config", path_ + ".none"}), HasSubstr("No such file"));
  EXPECT_THAT(Service().Parse({"--config", testing::TempDir()}), HasSubstr("irectory"));
}

TEST_F(ConfigFileOnDisk, ErrorsThatAreBorne_LeaveWhatCouldBeRead) {
  Write("colour: red\nsize: 7\nplace: []\n");
  Service task;
  EXPECT_EQ(task.Parse({"--task", "--config", path_}), "");
  EXPECT_EQ(task.size, 7);
  EXPECT_THAT(task.places, IsEmpty());
  EXPECT_THAT(task.borne, ElementsAre(HasSubstr(":1: colour"), HasSubstr(":3: place")));
  EXPECT_THAT(Service().Parse({"--config", path_}), HasSubstr(":1: colour"));
  EXPECT_THAT(Service().Parse({"--task", "--check-config", "--config", path_}),
              HasSubstr(":1: colour"));
  Service lost;
  EXPECT_EQ(lost.Parse({"--task", "--config", path_ + ".none"}), "");
  EXPECT_EQ(lost.size, 5);
  EXPECT_THAT(lost.borne, ElementsAre(HasSubstr("No such file")));
}

TEST(ConfigFile, FlagThatNoFileMayGive_IsATask) {
  struct Case {
    std::vector<std::string> words;
    bool task;
  };
  const std::vector<Case> cases = {
      {{}, false},
      {{"--loud", "--home", "/a"}, false},
      {{"--config", "/none.yaml"}, false},
      {{"--size", "70"}, false},
      {{"--task"}, true},
      {{"--size", "70", "--task"}, true},
      {{"--colour", "--task"}, true},
      {{"--check-config", "--config", "/none.yaml"}, true},
      {{"--help"}, true},
  };
  for (const Case& test : cases) {
    Service service;
    service.Parse(test.words);
    EXPECT_EQ(HasTask(service.app), test.task) << testing::PrintToString(test.words);
  }
}

TEST(ConfigFile, Sample_SetsNothingAndNamesEachKeyOnce) {
  Service service;
  const std::string sample = SampleConfig(service.app);
  EXPECT_THAT(service.Take(sample), IsEmpty());
  EXPECT_EQ(service.size, 5);
  EXPECT_THAT(sample, HasSubstr("\n\n# how large it is, from 1 to 9\n#size: 5\n"));
  EXPECT_THAT(sample, HasSubstr("\n#place: [PATH]\n"));
  EXPECT_THAT(sample, HasSubstr("\n#loud: true\n"));
  for (const char* none : {"task", "hidden", "config:"}) {
    EXPECT_EQ(sample.find(std::string("#") + none), std::string::npos) << none;
  }
}

}  // namespace
}  // namespace faultline
