// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/machine_fixture.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

// Folder with the packages, from the environment (FAULTLINE_PACKAGES); empty: none were made.
std::string PackageDir() {
  const char* const dir = std::getenv("FAULTLINE_PACKAGES");
  return dir == nullptr ? "" : dir;
}

}  // namespace

void MachineTest::SetUp() {
  if (Guest::ImageDir().empty()) GTEST_SKIP() << "no image of a virtual machine: ./run vm makes it";
  ASSERT_FALSE(PackageDir().empty()) << "no packages: ./run vm makes them";
  namespace fs = std::filesystem;
  Guest::Options options;
  options.files = dir_.path() + "/files";
  fs::copy(PackageDir(), options.files);
  for (const std::string& program : programs_) {
    fs::copy(absl::StrCat(BinDir(), "/", program), options.files);
  }
  auto guest = Guest::Boot(options, dir_.path());
  ASSERT_TRUE(guest.ok()) << guest.status();
  guest_ = std::move(*guest);
}

void MachineTest::Install() {
  Do("dpkg -i /mnt/*.deb");
  Do("echo 'enabled: true' >> /etc/faultline/injector.yaml");
  Do("systemctl start nginx && systemctl restart faultline-injector");
}

std::string MachineTest::Expect(const std::string& command, bool success) {
  const auto result = guest_->Run(command, kPatienceNs);
  EXPECT_TRUE(result.ok()) << command << ": " << result.status();
  if (!result.ok()) return "";
  EXPECT_EQ(result->status == 0, success) << command << "\n" << result->output;
  return result->output;
}

std::string MachineTest::Do(const std::string& command) { return Expect(command, true); }

std::string MachineTest::Fail(const std::string& command) { return Expect(command, false); }

void MachineTest::Await(const std::string& command) {
  Do(absl::StrCat("for i in $(seq 1 300); do if ", command,
                  "; then exit 0; fi; sleep 0.2; done; echo never; exit 1"));
}

void MachineTest::TearDown() {
  if (guest_ == nullptr || !HasFailure()) return;
  const auto journal = guest_->Run("journalctl -b --no-pager | tail -n 400", kPatienceNs);
  const std::string path =
      absl::StrCat(::testing::TempDir(), "faultline-",
                   ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".journal");
  std::ofstream(path) << (journal.ok() ? journal->output : journal.status().ToString());
  std::printf("the guest's journal: %s\n", path.c_str());
}

}  // namespace faultline
