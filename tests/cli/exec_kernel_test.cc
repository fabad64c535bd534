// SPDX-License-Identifier: Apache-2.0
//
// `faultline exec` for real: the command is in the group in every hierarchy, and nothing stays.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/systemd.h"
#include "cli/cgroup_exec.h"
#include "tests/child.h"

namespace faultline::cli {
namespace {

struct Ended {
  int status = -1;
  std::string out;
};

// Runs this build's `faultline` with `words`, at most 20 s.
Ended Faultline(std::vector<std::string> words) {
  std::array<int, 2> pipe{};
  EXPECT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  SpawnSpec spec;
  words.insert(words.begin(), FAULTLINE_PROGRAM);
  spec.argv = std::move(words);
  spec.out = pipe[1];
  spec.no_input = true;
  absl::StatusOr<Process> process = Process::Spawn(spec);
  EXPECT_TRUE(process.ok() && process->AwaitExec().ok());
  ::close(pipe[1]);
  Ended run;
  std::array<char, 4096> buffer{};
  for (ssize_t size = 0; (size = ::read(pipe[0], buffer.data(), buffer.size())) > 0;) {
    run.out.append(buffer.data(), static_cast<size_t>(size));
  }
  ::close(pipe[0]);
  const std::optional<int> status = process->Wait(absl::Seconds(20));
  if (status) run.status = ShellStatus(*status);
  process->End(absl::Seconds(1));
  return run;
}

// What does not depend on who owns the tree.
class SpawnTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "changing the user needs root";
  }
};

class ExecTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "making control groups needs root";
    if (SystemdRuns()) GTEST_SKIP() << "systemd owns the tree here; exec makes a scope instead";
    absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
    ASSERT_TRUE(tree.ok()) << tree.status();
    tree_ = *std::move(tree);
    name_ = absl::StrCat("faultline-test-", ::getpid(), "-exec");
  }

  // Directories of the group that exist.
  std::vector<std::string> Left() const {
    std::vector<std::string> left;
    for (const CgroupTree::Hierarchy& hierarchy : tree_->hierarchies()) {
      const std::string dir = CgroupTree::Directory(hierarchy, "/" + name_);
      if (::access(dir.c_str(), F_OK) == 0) left.push_back(dir);
    }
    return left;
  }

  std::optional<CgroupTree> tree_;
  std::string name_;
};

TEST_F(ExecTest, Command_IsInTheGroupInEveryHierarchy) {
  const Ended run = Faultline(
      {"exec", "--cgroup", name_, "--", "/bin/sh", "-c", "cat /proc/self/cgroup; exit 7"});
  EXPECT_EQ(run.status, 7);
  std::map<std::uint32_t, std::string> paths;
  for (absl::string_view line : absl::StrSplit(run.out, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    paths[static_cast<std::uint32_t>(std::stoul(parts[0]))] = parts[2];
  }
  int checked = 0;
  for (const CgroupTree::Hierarchy& hierarchy : tree_->hierarchies()) {
    if (!hierarchy.controllers.empty() && hierarchy.controllers[0].rfind("name=", 0) == 0) continue;
    EXPECT_EQ(paths[hierarchy.id], "/" + name_) << hierarchy.mount;
    ++checked;
  }
  EXPECT_GT(checked, 0);
  EXPECT_EQ(Left(), std::vector<std::string>());
}

TEST_F(ExecTest, NestedName_IsMadeAndGone) {
  const Ended run = Faultline({"exec", "--cgroup", name_ + "/inner", "--", "/bin/sh", "-c",
                               "grep -c inner /proc/self/cgroup"});
  EXPECT_EQ(run.status, 0);
  EXPECT_GT(std::stoi(run.out), 0);
  EXPECT_EQ(Left(), std::vector<std::string>());
}

TEST_F(ExecTest, Signals_ArePassedOnAndTheGroupGoes) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  SpawnSpec spec;
  spec.argv = {FAULTLINE_PROGRAM,
               "exec",
               "--cgroup",
               name_,
               "--",
               "/bin/sh",
               "-c",
               "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"};
  spec.out = pipe[1];
  absl::StatusOr<Process> process = Process::Spawn(spec);
  ASSERT_TRUE(process.ok() && process->AwaitExec().ok());
  ::close(pipe[1]);
  std::array<char, 16> buffer{};
  ASSERT_GT(::read(pipe[0], buffer.data(), buffer.size()), 0);
  process->Signal(SIGUSR1);
  const std::optional<int> status = process->Wait(absl::Seconds(10));
  process->End(absl::Seconds(1));
  ::close(pipe[0]);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(ShellStatus(*status), 9);
  EXPECT_EQ(Left(), std::vector<std::string>());
}

TEST_F(ExecTest, DeathBySignal_IsToldAsShellsDo) {
  EXPECT_EQ(Faultline({"exec", "--cgroup", name_, "--", "/bin/sh", "-c", "kill -KILL $$"}).status,
            128 + SIGKILL);
  EXPECT_EQ(Faultline({"exec", "--cgroup", name_, "--", "/nonexistent"}).status, 127);
  EXPECT_EQ(Faultline({"exec", "--cgroup", name_, "--", "/proc/version"}).status, 126);
  EXPECT_EQ(Left(), std::vector<std::string>());
}

TEST_F(ExecTest, GroupInUse_IsRefused) {
  auto group = ExecGroup::Create(*tree_, name_);
  ASSERT_TRUE(group.ok()) << group.status();
  SpawnSpec spec;
  spec.argv = {"sleep", "30"};
  absl::StatusOr<Process> sleeper = (*group)->Start(spec);
  ASSERT_TRUE(sleeper.ok()) << sleeper.status();
  EXPECT_EQ(Faultline({"exec", "--cgroup", name_, "--", "true"}).status, 5);
  EXPECT_TRUE(absl::IsFailedPrecondition((*group)->Remove(absl::ZeroDuration())));
  sleeper->End(absl::Seconds(1));
  EXPECT_TRUE((*group)->Remove(absl::Seconds(2)).ok());
  EXPECT_EQ(Left(), std::vector<std::string>());
}

// What lives in a group in any hierarchy makes it somebody's; what is empty is a leftover.
TEST_F(ExecTest, ExistingGroup_IsRefusedUnlessEmptyEverywhere) {
  const auto exec = [&](const std::string& name) {
    return Faultline({"exec", "--cgroup", name, "--", "true"}).status;
  };
  for (const CgroupTree::Hierarchy& hierarchy : tree_->hierarchies()) {
    const std::string dir = CgroupTree::Directory(hierarchy, "/" + name_);
    ASSERT_EQ(::mkdir(dir.c_str(), 0755), 0) << dir;
    ASSERT_EQ(::mkdir((dir + "/inner").c_str(), 0755), 0) << dir;
    EXPECT_EQ(exec(name_), 5) << hierarchy.mount;
    EXPECT_EQ(Left(), std::vector<std::string>{dir});
    EXPECT_EQ(::rmdir((dir + "/inner").c_str()), 0);
    EXPECT_EQ(exec("/" + name_), 0) << hierarchy.mount;
    EXPECT_EQ(Left(), std::vector<std::string>{dir});
    EXPECT_EQ(::rmdir(dir.c_str()), 0);
  }
}

TEST_F(ExecTest, NamesOfNoGroup_AreUsageErrors) {
  for (const char* name : {"", "/", "cgroup.procs", "cgroup.procs/x", "//x", "a/../b"}) {
    EXPECT_EQ(Faultline({"exec", "--cgroup", name, "--", "true"}).status, 2) << name;
  }
}

TEST_F(SpawnTest, Child_DiesWithTheThreadThatMadeIt_AndKeepsItsCapabilities) {
  // A grandchild bound to the child: when the child is killed, it goes too, though it changed user.
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const pid_t middle = ::fork();
  if (middle == 0) {
    SpawnSpec spec;
    spec.argv = {"/bin/sh", "-c",
                 "grep -h -E 'CapAmb|CapBnd|^Uid' /proc/self/status; exec sleep 30"};
    spec.out = pipe[1];
    // CAP_NET_RAW (13) stands for any.
    spec.identity = Identity{65534, 65534, 1U << 13U};
    spec.parent_death_signal = SIGKILL;
    absl::StatusOr<Process> process = Process::Spawn(spec);
    if (!process.ok() || !process->AwaitExec().ok()) ::_exit(1);
    ::close(pipe[1]);
    for (;;) ::pause();
  }
  ::close(pipe[1]);
  std::string said;
  std::array<char, 512> buffer{};
  while (said.find("CapAmb") == std::string::npos) {
    const ssize_t size = ::read(pipe[0], buffer.data(), buffer.size());
    ASSERT_GT(size, 0);
    said.append(buffer.data(), static_cast<size_t>(size));
  }
  EXPECT_NE(said.find("Uid:\t65534\t65534"), std::string::npos) << said;
  EXPECT_NE(said.find("CapAmb:\t0000000000002000"), std::string::npos) << said;
  EXPECT_NE(said.find("CapBnd:\t0000000000002000"), std::string::npos) << said;
  ::kill(middle, SIGKILL);
  // End of file: the only writer, the grandchild, has ended.
  const absl::Time start = absl::Now();
  while (::read(pipe[0], buffer.data(), buffer.size()) > 0) {
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(middle, &status, 0);
}

// As a checkout in /root, which only root may enter.
TEST_F(SpawnTest, AnotherUser_RunsAProgramInAFolderThatIsClosedToIt) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0700), 0);
  SpawnSpec spec;
  spec.argv = {dir.path() + "/true"};
  std::filesystem::copy_file("/bin/true", spec.argv[0]);
  spec.identity = Identity{65534, 65534, 0};
  absl::StatusOr<Process> process = Process::Spawn(spec);
  ASSERT_TRUE(process.ok());
  EXPECT_TRUE(process->AwaitExec().ok());
  EXPECT_EQ(process->Wait(absl::Seconds(10)), 0);
}

}  // namespace
}  // namespace faultline::cli
