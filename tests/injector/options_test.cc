// SPDX-License-Identifier: Apache-2.0
#include "injector/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "injector/limit_options.h"

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

  // Of this process alone: ctest runs several at once.
  const std::string path_ =
      testing::TempDir() + "injector_options_" + std::to_string(::getpid()) + ".yaml";
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
  for (const char* place : {"state-dir", "run-dir", "bpffs", "helpers", "group"}) {
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

TEST_F(InjectorOptionsTest, LimitsHaveTheirDefaults_AndTheFileSetsThem) {
  const InjectorOptions defaults = *ParseWords({});
  EXPECT_EQ(defaults.max_hour_share, 50);
  EXPECT_EQ(defaults.max_duration_ns, 3600 * kNsPerSecond);
  EXPECT_FALSE(defaults.autonomous);
  EXPECT_EQ(defaults.ssh_port, 22);
  EXPECT_EQ(defaults.memory_reserve.percent, 10);
  EXPECT_EQ(defaults.stop.disk.percent, 10);
  EXPECT_EQ(defaults.stop.memory_free.percent, 5);
  EXPECT_EQ(defaults.stop.psi_cpu, 0);
  EXPECT_EQ(defaults.stop.psi_memory, 60);
  EXPECT_EQ(defaults.stop.temperature, 90);
  EXPECT_EQ(defaults.stop.load, 0);
  EXPECT_EQ(defaults.stop.loss_ns, 0);
  Write(
      "max-hour-share: 25%\nautonomous: true\nssh-port: 0\nmemory-reserve: 256M\n"
      "disk-reserve: off\nstop-memory-free: 64MiB\nstop-psi-cpu: 95%\nstop-psi-memory: off\n"
      "stop-temperature: 75\nstop-load: 3.5\nstop-loss: 30s\nprotect-unit: [nginx.service]\n"
      "exempt: [10.0.0.0/8, '[fd00::7]:7443']\n");
  const absl::StatusOr<InjectorOptions> options = Parse();
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->max_hour_share, 25);
  EXPECT_TRUE(options->autonomous);
  EXPECT_EQ(options->ssh_port, 0);
  EXPECT_EQ(options->memory_reserve.bytes, 256 << 20);
  EXPECT_TRUE(options->stop.disk.off());
  EXPECT_EQ(options->stop.memory_free.bytes, 64 << 20);
  EXPECT_EQ(options->stop.psi_cpu, 95);
  EXPECT_EQ(options->stop.psi_memory, 0);
  EXPECT_EQ(options->stop.temperature, 75);
  EXPECT_EQ(options->stop.load, 3.5);
  EXPECT_EQ(options->stop.loss_ns, 30 * kNsPerSecond);
  EXPECT_EQ(options->protected_units, std::vector<std::string>{"nginx.service"});
  ASSERT_EQ(options->exempt.size(), 2u);
  EXPECT_EQ(options->exempt[1].cidr(), "fd00::7/128");
  EXPECT_EQ(options->config_file, path_);
}

TEST_F(InjectorOptionsTest, WrongLimits_AreTold) {
  for (const char* wrong :
       {"max-hour-share: 101%", "max-hour-share: much", "memory-reserve: 95%", "disk-reserve: x",
        "stop-memory-free: -1", "stop-psi-cpu: 0", "stop-psi-io: 200%", "stop-temperature: 5",
        "stop-load: high", "stop-loss: 1s", "protect-unit: nginx", "exempt: web:80",
        "ssh-port: 70000", "max-duration: 25h",
        "exempt: [::1, ::2, ::3, ::4, ::5, ::6, ::7, ::8, ::9]"}) {
    Write(std::string(wrong) + "\n");
    const absl::StatusOr<InjectorOptions> options = Parse();
    EXPECT_TRUE(absl::IsInvalidArgument(options.status())) << wrong;
    // What undoes bears it.
    EXPECT_TRUE(Parse("--undo").ok()) << wrong;
  }
}

// Whoever can write it decides what is done to the host.
TEST_F(InjectorOptionsTest, TheFileHasToBeRootsAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "gives files away, which needs root";
  EXPECT_TRUE(CheckOwnedByRoot("").ok());
  std::string folder = testing::TempDir() + "faultline-owned-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string file = folder + "/injector.yaml";
  std::ofstream(file) << "enabled: true\n";
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  EXPECT_TRUE(CheckOwnedByRoot(file).ok());
  ASSERT_EQ(::chmod(file.c_str(), 0666), 0);
  EXPECT_THAT(std::string(CheckOwnedByRoot(file).message()),
              testing::AllOf(testing::HasSubstr("others than root may write it"),
                             testing::HasSubstr("chmod go-w " + file)));
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  ASSERT_EQ(::chown(file.c_str(), 65534, 65534), 0);
  EXPECT_THAT(std::string(CheckOwnedByRoot(file).message()),
              testing::HasSubstr("it is not root's"));
  ASSERT_EQ(::chown(file.c_str(), 0, 65534), 0);
  EXPECT_TRUE(CheckOwnedByRoot(file).ok());
  ASSERT_EQ(::chmod(file.c_str(), 0664), 0);
  EXPECT_FALSE(CheckOwnedByRoot(file).ok());
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  // Another file could be put in its place.
  ASSERT_EQ(::chmod(folder.c_str(), 0777), 0);
  EXPECT_FALSE(CheckOwnedByRoot(file).ok());
  ASSERT_EQ(::chmod(folder.c_str(), 01777), 0);
  EXPECT_TRUE(CheckOwnedByRoot(file).ok());
  EXPECT_TRUE(absl::IsNotFound(CheckOwnedByRoot(folder + "/none")));
  // A folder too, and in other words.
  ASSERT_EQ(::chown(folder.c_str(), 65534, 65534), 0);
  EXPECT_THAT(std::string(CheckOwnedByRoot(folder, "holds the journal").message()),
              testing::HasSubstr(" holds the journal, and it is not root's"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace faultline
