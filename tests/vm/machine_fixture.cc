// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/machine_fixture.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

namespace fs = std::filesystem;

// An emulated machine, on a busy host.
constexpr std::int64_t kPatienceNs = 300 * kNsPerSecond;

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

void Machine::KeepJournal(const std::string& name) {
  const auto journal = guest_->Run("journalctl -b --no-pager | tail -n 1000", kPatienceNs);
  const std::string path = absl::StrCat(::testing::TempDir(), "faultline-", name, ".journal");
  std::ofstream(path) << (journal.ok() ? journal->output : journal.status().ToString());
  std::printf("the guest's journal: %s\n", path.c_str());
}

void MachineTest::SetUp() {
  if (Guest::ImageDir("amd64").empty()) {
    GTEST_SKIP() << "no image of a virtual machine: ./run vm makes it";
  }
  ASSERT_FALSE(PackageDir("amd64").empty()) << "no packages: ./run vm makes them";
}

void MachineTest::TearDown() {
  if (!HasFailure()) return;
  const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
  for (const std::unique_ptr<Machine>& machine : machines_) {
    machine->KeepJournal(absl::StrCat(info->test_suite_name(), "-", machine->guest().name()));
  }
}

Machine* MachineTest::Keep(absl::StatusOr<std::unique_ptr<Guest>> guest) {
  EXPECT_TRUE(guest.ok()) << guest.status();
  if (!guest.ok()) return nullptr;
  machines_.push_back(std::make_unique<Machine>(std::move(*guest)));
  return machines_.back().get();
}

Machine* MachineTest::Boot(Guest::Options options, const std::vector<std::string>& programs) {
  absl::StatusOr<std::string> disk = InstalledDisk(options.arch);
  if (!disk.ok()) return Keep(disk.status());
  options.base = *std::move(disk);
  if (!programs.empty()) {
    options.files = absl::StrCat(dir_.path(), "/", options.name, "-files");
    fs::create_directory(options.files);
    for (const std::string& program : programs) {
      fs::copy(absl::StrCat(BinDir(), "/", program), options.files);
    }
  }
  return Keep(Guest::Boot(options, dir_.path()));
}

Machine* MachineTest::BootBare(Guest::Options options) {
  options.files = PackageDir(options.arch);
  return Keep(Guest::Boot(options, dir_.path()));
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
