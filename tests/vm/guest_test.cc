// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/guest.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/clock.h"

namespace faultline {
namespace {

class GuestTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GuestTest, BootsItsKernel_AnswersCommands_AndKeepsItsDiskOverAPowerCut) {
  if (Guest::ImageDir().empty()) GTEST_SKIP() << "no image of a virtual machine: ./run vm makes it";
  const TempDir dir;
  Guest::Options options;
  options.kernel = GetParam();
  options.files = dir.path() + "/files";
  std::filesystem::create_directory(options.files);
  std::ofstream(options.files + "/program") << "#!/bin/sh\necho from the host\n";
  std::filesystem::permissions(options.files + "/program", std::filesystem::perms::owner_all);
  auto guest = Guest::Boot(options, dir.path());
  ASSERT_TRUE(guest.ok()) << guest.status();
  const auto release =
      (*guest)->Run("uname -r; stat -fc %T /sys/fs/cgroup; systemctl is-system-running; hostname",
                    20 * kNsPerSecond);
  ASSERT_TRUE(release.ok()) << release.status();
  std::printf("%s", release->output.c_str());
  EXPECT_EQ(release->output.rfind(GetParam(), 0), 0u) << release->output;
  const auto failed =
      (*guest)->Run("echo here > /root/file; sync; echo no >&2; exit 3", 20 * kNsPerSecond);
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_EQ(failed->status, 3);
  EXPECT_EQ(failed->output, "no\n");
  const auto program = (*guest)->Run(std::string(Guest::kFiles) + "/program", 20 * kNsPerSecond);
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(program->output, "from the host\n");
  (*guest)->CutPower();
  EXPECT_FALSE((*guest)->Run("true", kNsPerSecond).ok());
  ASSERT_TRUE((*guest)->Start().ok());
  const auto kept = (*guest)->Run("cat /root/file; /mnt/program", 20 * kNsPerSecond);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->output, "here\nfrom the host\n");
  EXPECT_TRUE((*guest)->PowerOff().ok());
}

INSTANTIATE_TEST_SUITE_P(Kernels, GuestTest, ::testing::Values("5.10", "6.1", "6.12"));

}  // namespace
}  // namespace faultline
