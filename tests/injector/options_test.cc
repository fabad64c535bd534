// SPDX-License-Identifier: Apache-2.0
#include "injector/options.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace faultline {
namespace {

class InjectorOptionsTest : public testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  ~InjectorOptionsTest() override { std::remove(path_.c_str()); }

  // With `task` and the file; the exit status is in exit_code_.
  std::optional<InjectorOptions> Parse(const std::string& task = "") {
    std::vector<std::string> words{"faultline-injector", "--config", path_};
    if (!task.empty()) words.push_back(task);
    std::vector<char*> argv;
    argv.reserve(words.size());
    for (std::string& word : words) argv.push_back(word.data());
    exit_code_ = 0;
    return ParseInjectorOptions(static_cast<int>(argv.size()), argv.data(), &exit_code_);
  }

  const std::string path_ = testing::TempDir() + "injector_options_test.yaml";
  int exit_code_ = 0;
};

// The services that undo, and the removal of the package, read the file that the injector reads.
TEST_F(InjectorOptionsTest, WhatUndoesBearsABrokenFile_TheServiceDoesNot) {
  for (const char* text : {"", "enabled: true\nmax-fautls: 3\nmax-faults: 7\n", "a: [\n"}) {
    if (text[0] == '\0') {
      std::remove(path_.c_str());
    } else {
      Write(text);
    }
    for (const char* task : {"--undo", "--keep", "--remove-planes"}) {
      const std::optional<InjectorOptions> options = Parse(task);
      ASSERT_TRUE(options.has_value()) << task << " " << text;
      EXPECT_EQ(options->state_dir, "/var/lib/faultline/injector");
    }
    EXPECT_FALSE(Parse().has_value()) << text;
    EXPECT_EQ(exit_code_, 2);
  }
  Write("max-fautls: 3\nmax-faults: 7\n");
  EXPECT_EQ(Parse("--undo")->max_faults, 7);
}

// What undoes, and the removal of the package, must find what the service left.
TEST_F(InjectorOptionsTest, PlacesAreNoMatterOfTheFile) {
  for (const char* place : {"state-dir", "run-dir", "bpffs", "helper", "group"}) {
    Write(std::string(place) + ": /elsewhere\n");
    EXPECT_FALSE(Parse().has_value()) << place;
    EXPECT_EQ(exit_code_, 2);
  }
  Write("max-faults: 7\n");
  EXPECT_EQ(Parse()->max_faults, 7);
}

}  // namespace
}  // namespace faultline
