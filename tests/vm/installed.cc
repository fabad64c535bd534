// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/installed.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "tests/vm/guest.h"

namespace faultline {
namespace {

namespace fs = std::filesystem;

// An emulated machine, on a busy host.
constexpr std::int64_t kPatienceNs = 300 * kNsPerSecond;

// As tests/vm/install does it, for an architecture that is not this machine's: in a guest.
constexpr char kInstall[] =
    "dpkg -i /mnt/*.deb && echo 'enabled: true' >> /etc/faultline/injector.yaml && "
    "systemctl disable --now faultline-agent faultline-collector && "
    "rm -rf /var/lib/faultline-collector/* && : > /etc/machine-id";

absl::Status InstallInGuest(const std::string& arch, const std::string& disk) {
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
  // A disk of its own, whole or not at all.
  std::string said;
  if (RunToEnd({"/usr/bin/qemu-img", "convert", "-O", "raw", (*guest)->disk(), disk + ".new"},
               &said) != 0) {
    return absl::InternalError(said);
  }
  std::error_code error;
  fs::rename(disk + ".new", disk, error);
  return error ? absl::InternalError(error.message()) : absl::OkStatus();
}

absl::Status Install(const std::string& arch, const std::string& disk) {
  if (arch != "amd64") return InstallInGuest(arch, disk);
  std::string said;
  const int made = RunToEnd(
      {"/bin/bash", FAULTLINE_INSTALL, Guest::ImageDir(arch), PackageDir(arch), disk}, &said);
  return made == 0 ? absl::OkStatus() : absl::InternalError("tests/vm/install: " + said);
}

}  // namespace

std::string PackageDir(const std::string& arch) {
  const char* const dir =
      std::getenv(arch == "arm64" ? "FAULTLINE_PACKAGES_ARM64" : "FAULTLINE_PACKAGES");
  return dir == nullptr ? "" : dir;
}

absl::StatusOr<std::string> InstalledDisk(const std::string& arch) {
  const std::string dir = BinDir() + "/vm";
  fs::create_directories(dir);
  const int lock = open((dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const absl::Cleanup unlock = [lock] { close(lock); };
  flock(lock, LOCK_EX);
  std::string disk = absl::StrCat(dir, "/installed-", arch, ".img");
  const auto older_than_disk = [&disk](const std::string& source) {
    return fs::last_write_time(source) < fs::last_write_time(disk);
  };
  // Another architecture's recipe is in this program.
  const std::string recipe = arch == "amd64" ? FAULTLINE_INSTALL : "/proc/self/exe";
  if (fs::exists(disk) && older_than_disk(PackageDir(arch)) &&
      older_than_disk(Guest::ImageDir(arch)) && older_than_disk(recipe)) {
    return disk;
  }
  if (absl::Status status = Install(arch, disk); !status.ok()) return status;
  return disk;
}

// One program for many values, as an emulated machine spends a tenth of a second on starting each.
const char kDigestScript[] = R"(
digest() (
  set -o pipefail
  shopt -s nullglob
  for d in /sys/class/net/*; do
    for what in 'qdisc show dev %s' 'class show dev %s' 'filter show dev %s' 'filter show dev %s ingress' 'filter show dev %s egress'; do
      printf "$what\n" ${d##*/}
    done
  # Without counts of packets.
  done | tc -batch - | sed 's/ direct_packets_stat [0-9]*//' || echo 'tc failed'
  # Without numbers that each load draws anew.
  bpftool link | sed '/pids/d; s/^[0-9]*: *//; s/ prog [0-9]*//' || echo 'bpftool failed'
  cd /sys/fs/cgroup
  units=(system.slice)
  for unit in system.slice/*.service; do
    # Our own services come and go, and are no targets.
    case $unit in */faultline-*) ;; *) units+=($unit) ;; esac
  done
  files='/cpu.max /cpu.weight /memory.max /memory.high /io.max /io.weight /cgroup.freeze /pids.max /cgroup.subtree_control'
  values=()
  for file in $files; do values+=("${units[@]/%/$file}"); done
  grep -H . "${values[@]}" 2> /dev/null
  printf '%s\n' system.slice/*.service/*/ /sys/fs/bpf/* /sys/fs/bpf/faultline/*
  drop_ins='/run/systemd/system.control /run/systemd/transient'
  find $drop_ins 2> /dev/null | sort
  find $drop_ins -type f -exec md5sum {} + 2> /dev/null | sort
  pgrep -lx 'faultline-(hold|load)'
  true
)
)";

std::string PrepareFaults() {
  return absl::StrCat("cat > /root/digest <<'END'\n", kDigestScript, "digest 2>&1\nEND\n", R"(
cd /etc/systemd/system
for t in 1 2 3 4 5 6 7; do
  printf '[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n' > t$t.service
done
cat > d0.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link add d0 up type dummy
END
cat > faultline-injector.service.d/often.conf <<'END'
[Unit]
StartLimitIntervalSec=0
Requires=d0.service
After=d0.service
END
printf 'max-faults: 8\nplane-device: [d0]\n' >> /etc/faultline/injector.yaml
systemctl enable --now t1 t2 t3 t4 t5 t6 t7 faultline-injector
sync
)");
}

}  // namespace faultline
