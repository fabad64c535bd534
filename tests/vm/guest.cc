// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/guest.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/status.h"

namespace faultline {
namespace {

constexpr char kArm64[] = "arm64";
// One, of two that there could be. With two at work QEMU 7.2 keeps now and then an int3 translated
// that the kernel on the other one has just patched away again (a static key, of cpu.max), and both
// trap on it for ever. Where there can never be a second one, QEMU leaves out the memory barriers
// without which a device misses what its driver told it.
constexpr char kProcessors[] = "1,maxcpus=2";
constexpr char kMakeFilesystem[] = "/sbin/mke2fs";
constexpr std::int64_t kBootNs = 120 * kNsPerSecond;
constexpr std::int64_t kRetryNs = 100 * kNsPerMs;
// A hundred stacks over a serial line.
constexpr std::int64_t kPanicNs = 20 * kNsPerSecond;

std::int64_t NowNs() { return Clock::System().Now().boottime_ns; }

void Pause() { Clock::System().WaitUntil(NowNs() + kRetryNs, {}); }

// Whether guests of this machine's architecture may use it: tests/vm/accelerator tried.
bool HasKvm() {
  const char* const accelerator = std::getenv("FAULTLINE_VM_ACCELERATOR");
  return accelerator != nullptr && std::strcmp(accelerator, "kvm") == 0;
}

// KiB that a file system needs for `folder`: whole blocks, an inode each, and its own tables.
std::uintmax_t FilesystemKib(const std::string& folder) {
  std::uintmax_t kib = 4096;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;
    const bool file = at->is_regular_file(ignored);
    kib += 8 + (file ? std::filesystem::file_size(at->path(), ignored) * 11 / 10 / 1024 : 0);
  }
  return kib;
}

// A connection to the socket at `path`, which is the caller's.
absl::StatusOr<int> ConnectTo(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is too long for a socket"));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  const absl::Status status = ErrnoStatus(errno, absl::StrCat("connect to ", path));
  close(fd);
  return status;
}

}  // namespace

std::string Guest::ImageDir(const std::string& arch) {
  const char* const dir =
      std::getenv(arch == kArm64 ? "FAULTLINE_VM_IMAGE_ARM64" : "FAULTLINE_VM_IMAGE");
  return dir == nullptr ? "" : dir;
}

absl::StatusOr<std::unique_ptr<Guest>> Guest::Boot(const Options& options, const std::string& dir) {
  std::unique_ptr<Guest> guest(new Guest(options, dir));
  const std::string base =
      options.base.empty() ? ImageDir(options.arch) + "/disk.img" : options.base;
  std::string said;
  const int made = RunToEnd(
      {"/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, guest->disk()},
      &said);
  if (made != 0) return absl::InternalError(absl::StrCat("make a disk: ", said));
  if (!options.files.empty()) {
    if (absl::Status status = guest->MakeFilesDisk(); !status.ok()) return status;
  }
  if (absl::Status status = guest->Start(); !status.ok()) return status;
  return guest;
}

absl::Status Guest::MakeFilesDisk() const {
  std::string said;
  const int made =
      RunToEnd({kMakeFilesystem, "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d",
                options_.files, files_disk(), absl::StrCat(FilesystemKib(options_.files), "k")},
               &said);
  if (made == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("make a disk of ", options_.files, ": ", said));
}

absl::Status Guest::MountFiles() {
  const std::string command =
      absl::StrCat("udevadm settle; mount -o ro /dev/disk/by-id/virtio-files ", kFiles);
  const absl::StatusOr<Result> mounted = Run(command, 30 * kNsPerSecond);
  if (!mounted.ok()) return mounted.status();
  if (mounted->status == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("mount files in ", options_.name, ": ", mounted->output));
}

Guest::~Guest() { CutPower(); }

std::vector<std::string> Guest::Processor() const {
  if (options_.arch == kArm64) {
    // Pointers are authenticated with a hash of QEMU's own: the architecture's is slow to emulate.
    return {"/usr/bin/qemu-system-aarch64", "-accel", "tcg,thread=multi",   "-M",
            "virt,gic-version=3",           "-cpu",   "max,pauth-impdef=on"};
  }
  if (HasKvm()) return {"/usr/bin/qemu-system-x86_64", "-accel", "kvm", "-cpu", "host"};
  // The plainest that Debian runs on: what newer ones can do, SMAP and AVX above all, costs the
  // emulation a third of its speed. 6.12 does not get past a CMPXCHG16B of QEMU's.
  return {"/usr/bin/qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu",
          "qemu64,-cx16,+rdrand"};
}

std::vector<std::string> Guest::Arguments() const {
  std::vector<std::string> words = Processor();
  const std::vector<std::string> rest{
      "-smp",
      kProcessors,
      "-m",
      absl::StrCat(options_.memory_mib),
      "-nodefaults",
      "-display",
      "none",
      "-no-reboot",
      "-serial",
      "file:" + console(),
      "-kernel",
      absl::StrCat(ImageDir(options_.arch), "/vmlinuz-", options_.kernel),
      "-append",
      absl::StrCat("root=/dev/nvme0n1 rw console=", options_.arch == kArm64 ? "ttyAMA0" : "ttyS0",
                   // Warnings too, and every task's stack when Panic asks for it.
                   " quiet loglevel=5 unknown_nmi_panic panic_print=1 panic=-1"
                   // Without it the clock, as there could be two, is a device that is slow to read.
                   " tsc=reliable"
                   // Emulated code is kept by its address: were that another one in each process,
                   // all of a program were translated anew at each start.
                   " norandmaps"
                   // Nobody attacks a guest.
                   " mitigations=off init_on_alloc=0 audit=0 systemd.hostname=",
                   options_.name),
      "-drive",
      absl::StrCat("file=", disk(), ",if=none,id=disk,format=qcow2"),
      "-device",
      "nvme,drive=disk,serial=faultline",
      "-device",
      "virtio-serial-pci",
      "-chardev",
      absl::StrCat("socket,id=port,path=", socket(), ",server=on,wait=off"),
      "-chardev",
      absl::StrCat("socket,id=monitor,path=", monitor(), ",server=on,wait=off"),
      "-mon",
      "chardev=monitor,mode=readline",
      "-device",
      "virtserialport,chardev=port,name=faultline"};
  words.insert(words.end(), rest.begin(), rest.end());
  if (options_.peer.empty()) {
    words.insert(words.end(), {"-nic", "none"});
  } else {
    // Datagrams, so that either end may go and come back.
    words.insert(words.end(),
                 {"-netdev",
                  absl::StrCat("dgram,id=net,local.type=unix,local.path=", wire(options_.name),
                               ",remote.type=unix,remote.path=", wire(options_.peer)),
                  "-device",
                  absl::StrCat("virtio-net-pci,netdev=net,mac=52:54:00:00:00:",
                               options_.name < options_.peer ? "01" : "02")});
  }
  if (!options_.files.empty()) {
    // No second NVMe: which of two is nvme0 is not said.
    words.insert(
        words.end(),
        {"-drive", absl::StrCat("file=", files_disk(), ",if=none,id=files,format=raw,readonly=on"),
         "-device", "virtio-blk-pci,drive=files,serial=files"});
  }
  return words;
}

absl::Status Guest::Start() {
  unlink(socket().c_str());
  unlink(monitor().c_str());
  unlink(wire(options_.name).c_str());
  qemu_ = Child(Arguments(), {absl::StrCat(dir_, "/", options_.name, ".qemu"), -1});
  const absl::Status ready = AwaitReady(NowNs() + kBootNs);
  if (ready.ok()) return options_.files.empty() ? absl::OkStatus() : MountFiles();
  Panic();
  return WithContext(ready, absl::StrCat("boot ", options_.name, ", see ", console()));
}

absl::Status Guest::AwaitReady(std::int64_t until_ns) {
  absl::StatusOr<int> port = ConnectTo(socket());
  while (!port.ok()) {
    if (!qemu_.running()) {
      return absl::UnavailableError(
          absl::StrCat("QEMU ended: ", Slurp(absl::StrCat(dir_, "/", options_.name, ".qemu"))));
    }
    if (NowNs() > until_ns) return port.status();
    Pause();
    port = ConnectTo(socket());
  }
  port_ = *port;
  const absl::StatusOr<std::string> line = ReadLine(until_ns);
  if (!line.ok()) return line.status();
  return *line == "ready" ? absl::OkStatus() : absl::InternalError(*line);
}

absl::Status Guest::Fill(std::int64_t until_ns) {
  pollfd readable{port_, POLLIN, 0};
  const std::int64_t left_ms = (until_ns - NowNs()) / kNsPerMs;
  if (left_ms <= 0) return absl::DeadlineExceededError("the guest does not answer");
  if (poll(&readable, 1, static_cast<int>(left_ms)) < 0 && errno != EINTR) {
    return ErrnoStatus(errno, "poll");
  }
  if (readable.revents == 0) return absl::OkStatus();
  std::array<char, 65536> buffer;
  const ssize_t size = read(port_, buffer.data(), buffer.size());
  if (size <= 0) return absl::UnavailableError("the guest is off");
  received_.append(buffer.data(), static_cast<std::size_t>(size));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Guest::ReadLine(std::int64_t until_ns) {
  while (received_.find('\n') == std::string::npos) {
    if (absl::Status status = Fill(until_ns); !status.ok()) return status;
  }
  std::string line = received_.substr(0, received_.find('\n'));
  received_.erase(0, line.size() + 1);
  return line;
}

absl::StatusOr<Guest::Result> Guest::Run(const std::string& command, std::int64_t timeout_ns) {
  if (port_ < 0) return absl::UnavailableError("the guest is off, or has stopped answering");
  const absl::Status sent = Send(command);
  absl::StatusOr<Result> result = sent.ok() ? Answer(NowNs() + timeout_ns) : sent;
  // Where an answer is missing the next one would be taken for it.
  if (!result.ok()) Panic();
  return result;
}

absl::Status Guest::Send(const std::string& command) const {
  // One line of what the shell's printf %b takes, which no other program has to decode.
  const std::string request =
      absl::StrCat(absl::StrReplaceAll(command, {{"\\", "\\\\"}, {"\n", "\\n"}}), "\n");
  if (send(port_, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return absl::UnavailableError("the guest takes no command");
  }
  return absl::OkStatus();
}

absl::StatusOr<Guest::Result> Guest::Answer(std::int64_t until_ns) {
  absl::StatusOr<std::string> line = ReadLine(until_ns);
  if (!line.ok()) return line.status();
  const std::pair<std::string, std::string> words = absl::StrSplit(*line, ' ');
  Result result;
  std::size_t size = 0;
  if (!absl::SimpleAtoi(words.first, &result.status) || !absl::SimpleAtoi(words.second, &size)) {
    return absl::InternalError(absl::StrCat("the guest answered \"", *line, "\""));
  }
  while (received_.size() < size) {
    if (absl::Status status = Fill(until_ns); !status.ok()) return status;
  }
  result.output = received_.substr(0, size);
  received_.erase(0, size);
  return result;
}

void Guest::Disconnect() {
  if (port_ >= 0) close(port_);
  port_ = -1;
  received_.clear();
}

void Guest::Panic() {
  const absl::StatusOr<int> monitor_port = ConnectTo(monitor());
  if (monitor_port.ok()) {
    constexpr absl::string_view kCommand = "nmi\n";
    (void)send(*monitor_port, kCommand.data(), kCommand.size(), MSG_NOSIGNAL);
    qemu_.Wait(kPanicNs);
    close(*monitor_port);
  }
  CutPower();
}

void Guest::CutPower() {
  qemu_.Signal(SIGKILL);
  qemu_.End();
  Disconnect();
}

absl::Status Guest::PowerOff() {
  // Who would answer is stopped too.
  if (absl::Status status = Send("systemctl poweroff --no-block"); !status.ok()) return status;
  if (qemu_.Wait(120 * kNsPerSecond) < 0) {
    Panic();
    return absl::DeadlineExceededError("the guest did not power off within two minutes");
  }
  Disconnect();
  return absl::OkStatus();
}

}  // namespace faultline
