// SPDX-License-Identifier: Apache-2.0
#include "injector/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace faultline {
namespace {

class InjectorOptionsTest : public testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  ~InjectorOptionsTest() override { std::remove(path_.c_str()); }

  static absl::StatusOr<InjectorOptions> ParseWords(std::vector<std::string> words) {
    words.insert(words.begin(), "faultline-injector");
    std::vector<char*> argv;
    argv.reserve(words.size());
    for (std::string& word : words) argv.push_back(word.data());
    return ParseInjectorOptions(static_cast<int>(argv.size()), argv.data());
  }

  // With `task` and the file.
  absl::StatusOr<InjectorOptions> Parse(const std::string& task = "") {
    std::vector<std::string> words{"--config", path_};
    if (!task.empty()) words.push_back(task);
    return ParseWords(std::move(words));
  }

  const std::string path_ = testing::TempDir() + "injector_options_test.yaml";
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
      const absl::StatusOr<InjectorOptions> options = Parse(task);
      ASSERT_TRUE(options.ok()) << task << " " << text << " " << options.status();
      EXPECT_EQ(options->state_dir, "/var/lib/faultline/injector");
    }
    EXPECT_TRUE(absl::IsInvalidArgument(Parse().status())) << text;
  }
  Write("max-fautls: 3\nmax-faults: 7\n");
  EXPECT_EQ(Parse("--undo")->max_faults, 7);
}

// What undoes, and the removal of the package, must find what the service left.
TEST_F(InjectorOptionsTest, PlacesAreNoMatterOfTheFile) {
  for (const char* place : {"state-dir", "run-dir", "bpffs", "helper", "group"}) {
    Write(std::string(place) + ": /elsewhere\n");
    EXPECT_TRUE(absl::IsInvalidArgument(Parse().status())) << place;
  }
  Write("max-faults: 7\n");
  EXPECT_EQ(Parse()->max_faults, 7);
}

// main makes an event of what is wrong with a start.
TEST_F(InjectorOptionsTest, WrongOptionIsReturned_PrintedForATask) {
  const absl::Status start = ParseWords({"--max-faults", "0"}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(start)) << start;
  EXPECT_THAT(std::string(start.message()), testing::StartsWith("--max-faults: "));
  EXPECT_THAT(std::string(start.message()), testing::Not(testing::EndsWith("\n")));
  for (const char* task : {"--undo", "--keep", "--remove-planes", "--check-config"}) {
    testing::internal::CaptureStderr();
    const absl::Status told = ParseWords({"--max-faults", "0", task}).status();
    EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::StartsWith("--max-faults: "));
    EXPECT_TRUE(absl::IsInvalidArgument(told)) << told;
    EXPECT_EQ(told.message(), "") << task;
  }
}

}  // namespace
}  // namespace faultline
