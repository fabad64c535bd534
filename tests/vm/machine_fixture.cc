// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/machine_fixture.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace faultline {
namespace {

namespace fs = std::filesystem;

// An emulated machine, on a busy host.
constexpr std::int64_t kPatienceNs = 300 * kNsPerSecond;
// A guest that hangs has no results.
constexpr std::int64_t kResultNs = 60 * kNsPerSecond;

}  // namespace

void Machine::Await(const std::string& command) {
  Do(absl::StrCat("end=$((SECONDS + 90)); while [ $SECONDS -lt $end ]; do if ", command,
                  "; then exit 0; fi; sleep 1; done; echo never; exit 1"));
}

double Machine::Now() {
  double seconds = 0;
  EXPECT_TRUE(absl::SimpleAtod(Do("cut -d ' ' -f 1 /proc/uptime | tr -d '\\n'"), &seconds));
  return seconds;
}

void Machine::Write(const std::string& path, const std::string& text) {
  Do(absl::StrCat("mkdir -p $(dirname ", path, ") && base64 -d > ", path, " <<'END'\n",
                  absl::Base64Escape(text), "\nEND"));
}

std::string Machine::Expect(const std::string& command, bool success) {
  const auto result = guest_->Run(command, kPatienceNs);
  EXPECT_TRUE(result.ok()) << command << ": " << result.status();
  if (!result.ok()) return "";
  EXPECT_EQ(result->status == 0, success) << command << "\n" << result->output;
  return result->output;
}

void Machine::KeepResults(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", guest_->name());
  std::error_code ignored;
  fs::copy(guest_->console(), path + ".console", fs::copy_options::overwrite_existing, ignored);
  const auto keep = [&](const std::string& file, const std::string& command, bool encoded) {
    const auto result = guest_->Run(command, kResultNs);
    // One that stopped answering has its files on its disk, which is read with that of the image.
    if (!result.ok()) {
      fs::copy(guest_->disk(), path + ".qcow2", fs::copy_options::overwrite_existing, ignored);
    }
    std::string text = result.ok() ? result->output : result.status().ToString();
    if (result.ok() && encoded) absl::Base64Unescape(result->output, &text);
    std::ofstream(path + file) << text;
  };
  keep(".journal", "journalctl --no-pager -o short-precise", false);
  // Keys stay where they are.
  keep(".root.tar.gz", "tar -C /root -cz --exclude='*.key' --exclude='*key.pem' . | base64 -w 0",
       true);
}

void MachineTest::SetUp() {
  if (Guest::ImageDir("amd64").empty()) {
    GTEST_SKIP() << "no image of a virtual machine: ./run vm makes it";
  }
  ASSERT_FALSE(PackageDir("amd64").empty()) << "no packages: ./run vm makes them";
}

void MachineTest::TearDown() {
  if (!HasFailure()) return;
  const std::string folder = ResultsFolder();
  for (const std::unique_ptr<Machine>& machine : machines_) machine->KeepResults(folder);
  std::printf("console, journals and results of each guest: %s\n", folder.c_str());
}

std::string MachineTest::ResultsFolder() {
  const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string folder = absl::StrCat(
      ::testing::TempDir(), "faultline-",
      absl::StrReplaceAll(absl::StrCat(info->test_suite_name(), "-", info->name()), {{"/", "-"}}));
  fs::create_directories(folder);
  return folder;
}

Machine* MachineTest::Keep(absl::StatusOr<std::unique_ptr<Guest>> guest, const std::string& name) {
  EXPECT_TRUE(guest.ok()) << guest.status();
  if (!guest.ok()) {
    // There is no machine that TearDown could ask.
    std::error_code ignored;
    fs::copy(absl::StrCat(dir_.path(), "/", name, ".console"),
             absl::StrCat(ResultsFolder(), "/", name, ".console"),
             fs::copy_options::overwrite_existing, ignored);
    return nullptr;
  }
  machines_.push_back(std::make_unique<Machine>(std::move(*guest)));
  return machines_.back().get();
}

Machine* MachineTest::Boot(Guest::Options options, const std::vector<std::string>& programs) {
  absl::StatusOr<std::string> disk = InstalledDisk(options.arch);
  if (!disk.ok()) return Keep(disk.status(), options.name);
  options.base = *std::move(disk);
  if (!programs.empty()) {
    options.files = absl::StrCat(dir_.path(), "/", options.name, "-files");
    fs::create_directory(options.files);
    for (const std::string& program : programs) {
      fs::copy(absl::StrCat(BinDir(), "/", program), options.files);
    }
  }
  return Keep(Guest::Boot(options, dir_.path()), options.name);
}

Machine* MachineTest::BootBare(Guest::Options options) {
  options.files = PackageDir(options.arch);
  return Keep(Guest::Boot(options, dir_.path()), options.name);
}

std::string MachineTest::Do(const std::string& command) {
  if (!machines_.empty()) return machines_.front()->Do(command);
  ADD_FAILURE() << "no guest for: " << command;
  return "";
}

std::string MachineTest::Fail(const std::string& command) {
  if (!machines_.empty()) return machines_.front()->Fail(command);
  ADD_FAILURE() << "no guest for: " << command;
  return "";
}

void MachineTest::Await(const std::string& command) {
  if (!machines_.empty()) return machines_.front()->Await(command);
  ADD_FAILURE() << "no guest for: " << command;
}

bool MachineTest::Long() { return std::getenv("FAULTLINE_LONG") != nullptr; }

}  // namespace faultline
