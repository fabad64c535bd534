// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/machine_fixture.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

namespace fs = std::filesystem;

// An emulated machine, on a busy host.
constexpr std::int64_t kPatienceNs = 300 * kNsPerSecond;

// Folder with the packages, from the environment (FAULTLINE_PACKAGES, for arm64
// FAULTLINE_PACKAGES_ARM64); empty: none were made.
std::string PackageDir(const std::string& arch) {
  const char* const dir =
      std::getenv(arch == "arm64" ? "FAULTLINE_PACKAGES_ARM64" : "FAULTLINE_PACKAGES");
  return dir == nullptr ? "" : dir;
}

// What Boot promises of the disk. No machine id: each guest draws its own.
constexpr char kInstall[] =
    "dpkg -i /mnt/*.deb && echo 'enabled: true' >> /etc/faultline/injector.yaml && "
    "systemctl disable --now faultline-agent faultline-collector && "
    "rm -rf /var/lib/faultline-collector/* && : > /etc/machine-id";

absl::Status Install(const std::string& arch, const std::string& disk) {
  const TempDir dir;
  Guest::Options options;
  options.arch = arch;
  options.files = PackageDir(arch);
  absl::StatusOr<std::unique_ptr<Guest>> guest = Guest::Boot(options, dir.path());
  if (!guest.ok()) return guest.status();
  const absl::StatusOr<Guest::Result> done = (*guest)->Run(kInstall, kPatienceNs);
  if (!done.ok()) return done.status();
  if (done->status != 0) return absl::InternalError(absl::StrCat(kInstall, ": ", done->output));
  if (absl::Status status = (*guest)->PowerOff(); !status.ok()) return status;
  std::error_code error;
  // Whole or not at all; the folders may lie on two file systems.
  fs::copy_file((*guest)->disk(), disk + ".new", fs::copy_options::overwrite_existing, error);
  if (!error) fs::rename(disk + ".new", disk, error);
  return error ? absl::InternalError(error.message()) : absl::OkStatus();
}

// The disk with the packages installed, made by whoever comes first; others wait for it.
absl::StatusOr<std::string> InstalledDisk(const std::string& arch) {
  const std::string dir = BinDir() + "/vm";
  fs::create_directories(dir);
  const int lock = open((dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const absl::Cleanup unlock = [lock] { close(lock); };
  flock(lock, LOCK_EX);
  std::string disk = absl::StrCat(dir, "/installed-", arch, ".qcow2");
  const bool fresh = fs::exists(disk) &&
                     fs::last_write_time(disk) > fs::last_write_time(PackageDir(arch)) &&
                     fs::last_write_time(disk) > fs::last_write_time(Guest::ImageDir(arch));
  if (fresh) return disk;
  if (absl::Status status = Install(arch, disk); !status.ok()) return status;
  return disk;
}

}  // namespace

const char kDigestScript[] = R"(
digest() {
  # Without counts of packets.
  tc qdisc | sed 's/ direct_packets_stat [0-9]*//'
  for d in $(ls /sys/class/net); do
    tc class show dev $d
    tc filter show dev $d ingress; tc filter show dev $d egress
  done
  bpftool link | grep -v pids | sed -n 's/^[0-9]*: *//p'
  (
    cd /sys/fs/cgroup
    for f in cpu.max memory.max memory.high cgroup.freeze pids.max cgroup.subtree_control; do
      grep -H . system.slice/$f system.slice/*.service/$f 2> /dev/null
    done
    ls -d system.slice/*.service/*/ 2> /dev/null
    for d in /run/systemd/system.control /run/systemd/transient; do
      find $d -type f -exec md5sum {} + 2> /dev/null | sort
    done
  )
  pgrep -x faultline-hold
  ls /sys/fs/bpf
}
)";

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
