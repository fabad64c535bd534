// SPDX-License-Identifier: Apache-2.0
//
// mem.limit and io.limit: a process of the group cannot have all of a file in memory, or waits for
// its disk.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/kernel/test_disk.h"
#include "tests/trials/doses.h"
#include "tests/trials/families.h"
#include "tests/witness/disk.h"
#include "tests/witness/memory.h"
#include "tests/witness/now.h"
#include "tests/witness/readings.h"

namespace faultline {
namespace {

constexpr int kMebi = 1 << 20;
constexpr int kFileBytes = 16 * kMebi;
constexpr int kCachedBytes = 8 * kMebi;
// No block takes so long by itself. The kernel lets through what is due each 100 ms.
constexpr std::int64_t kSlowNs = 30 * witness::kMs;
// Nor do those that it lets through at once.
constexpr std::int64_t kSliceNs = 50 * witness::kMs;
// Of a fault that is stopped when it has been measured.
constexpr double kUntilStoppedSeconds = 60;

absl::Status NoDisk() {
  return absl::UnimplementedError("/var/tmp is on no block device, which this witness reads");
}

class FileFamily : public Family {
 public:
  FileFamily(TrialSite* site, std::unique_ptr<TestFile> file)
      : site_(site), file_(std::move(file)) {}

 protected:
  const TestFile& file() const { return *file_; }

  TrialSite* const site_;

 private:
  const std::unique_ptr<TestFile> file_;
};

// It reads the file on and on, and half of it is too much: nearly each second block that it reads
// is missing and drives another one out.
class MemoryLimitFamily final : public FileFamily {
 public:
  using FileFamily::FileFamily;

  absl::Status Begin() {
    return site_->group().Spawn([this] { return cached_.Read(file().path()); }).status();
  }

  absl::StatusOr<Trial> Run() override {
    AwaitAll();
    const std::int64_t begin_ns = witness::NowNs();
    v1::FaultSpec spec = site_->Spec("mem.limit", kTrialSeconds);
    (*spec.mutable_parameters())["bytes"] = absl::StrCat(kLimitBytes);
    absl::StatusOr<v1::FaultState> ended = site_->Run(spec);
    witness::SleepForMs(kTrialBesideMs);
    if (!ended.ok()) return ended.status();
    // The shortage is over when all has been read again, which a busy disk takes its time for.
    AwaitAll();
    const witness::Shortage shortage =
        witness::ShortageOf(cached_.Since(begin_ns), kLimitBytes, kBlurBytes);
    Trial trial;
    trial.state = *std::move(ended);
    trial.seen = {shortage.begin_ns, shortage.end_ns, shortage.end_ns};
    return trial;
  }

 private:
  static constexpr int kLimitBytes = kCachedBytes / 2;
  static constexpr int kBlurBytes = kMebi / 2;

  void AwaitAll() const {
    for (int i = 0; i < 5000 && cached_.bytes() < kCachedBytes; ++i) witness::SleepForMs(1);
  }

  witness::Cached cached_;
};

// It reads the disk itself, and comes to wait as soon as there is a limit.
class IoLimitFamily final : public FileFamily {
 public:
  using FileFamily::FileFamily;

  absl::Status Begin() {
    return site_->group().Spawn([this] { return disk_.Read(file().path()); }).status();
  }

  absl::StatusOr<Trial> Run() override {
    witness::SleepForMs(kTrialBesideMs);
    const std::int64_t begin_ns = witness::NowNs();
    v1::FaultSpec spec = site_->Spec("io.limit", kSeconds);
    (*spec.mutable_parameters())["device"] = file().Disk();
    (*spec.mutable_parameters())["read"] = "4MiB";
    absl::StatusOr<v1::FaultState> ended = site_->Run(spec);
    witness::SleepForMs(kTrialBesideMs);
    if (!ended.ok()) return ended.status();
    const witness::Stall effect =
        witness::Chain(witness::LongerThan(disk_.Since(begin_ns), kSlowNs), kSlowNs, kSliceNs);
    Trial trial;
    trial.state = *std::move(ended);
    trial.seen = {effect.begin_ns, effect.end_ns, effect.end_ns};
    return trial;
  }

 private:
  // Three of the half seconds over which the fault looks whether it is met, so that a last touch
  // that stayed with the first would be seen.
  static constexpr double kSeconds = 1.6;

  witness::Disk disk_;
};

// Blocks a second that a process of the group moves by its own count.
absl::StatusOr<double> LimitedBlocks(TrialSite* site, const char* parameter,
                                     const std::string& value, bool write) {
  const TestFile file(kFileBytes / static_cast<int>(TestFile::kBlock));
  if (file.Disk().empty()) return NoDisk();
  witness::Disk disk;
  const absl::StatusOr<pid_t> mover =
      site->group().Spawn([&] { return write ? disk.Write(file.path()) : disk.Read(file.path()); });
  if (!mover.ok()) return mover.status();
  v1::FaultSpec spec = site->Spec("io.limit", kUntilStoppedSeconds);
  (*spec.mutable_parameters())["device"] = file.Disk();
  (*spec.mutable_parameters())[parameter] = value;
  const absl::StatusOr<v1::FaultState> started = site->Inject(spec);
  witness::SleepForMs(300);
  const std::int64_t begin_ns = witness::NowNs();
  witness::SleepForMs(2000);
  const double blocks = witness::BlocksPerSecond(disk.Since(begin_ns), kSlowNs);
  const absl::Status stopped = site->injector().Stop(spec.id()).status();
  site->group().Empty();
  if (!started.ok()) return started.status();
  if (!stopped.ok()) return stopped;
  return blocks;
}

absl::StatusOr<GivenDose> MeasureBytes(TrialSite* site, const char* parameter, double mebibytes,
                                       bool write) {
  const absl::StatusOr<double> blocks =
      LimitedBlocks(site, parameter, absl::StrCat(mebibytes, "MiB"), write);
  if (!blocks.ok()) return blocks.status();
  return GivenDose{*blocks * witness::Disk::kBlock / kMebi};
}

template <typename T>
FamilyOr MakeOnFile(TrialSite* site, int bytes) {
  auto file = std::make_unique<TestFile>(bytes / static_cast<int>(TestFile::kBlock));
  if (file->Disk().empty()) return NoDisk();
  auto family = std::make_unique<T>(site, std::move(file));
  if (absl::Status status = family->Begin(); !status.ok()) return status;
  return family;
}

}  // namespace

FamilyOr MakeMemoryLimit(TrialSite* site) {
  return MakeOnFile<MemoryLimitFamily>(site, kCachedBytes);
}
FamilyOr MakeIoLimit(TrialSite* site) { return MakeOnFile<IoLimitFamily>(site, kFileBytes); }

// The most that the group has while a process of it wants twice as much.
absl::StatusOr<GivenDose> MeasureMemoryLimit(TrialSite* site, double mebibytes) {
  const int bytes = static_cast<int>(mebibytes) * kMebi;
  const TestFile file(2 * bytes / static_cast<int>(TestFile::kBlock));
  if (file.Disk().empty()) return NoDisk();
  witness::Cached cached;
  const absl::StatusOr<pid_t> reader =
      site->group().Spawn([&] { return cached.Read(file.path()); });
  if (!reader.ok()) return reader.status();
  for (int i = 0; i < 5000 && cached.bytes() < bytes + bytes / 2; ++i) witness::SleepForMs(1);
  v1::FaultSpec spec = site->Spec("mem.limit", kUntilStoppedSeconds);
  (*spec.mutable_parameters())["bytes"] = absl::StrCat(bytes);
  const absl::StatusOr<v1::FaultState> started = site->Inject(spec);
  witness::Reader usage(site->MemoryCount());
  witness::SleepForMs(500);
  // Nine tenths of the time: the kernel tries a charge on the counter before it refuses it
  // (page_counter_try_charge, mm/page_counter.c), so that some readings are up to 64 pages too
  // high.
  const std::int64_t most = witness::MostFor(usage.Finish(), 0.9);
  const absl::Status stopped = site->injector().Stop(spec.id()).status();
  site->group().Empty();
  if (!started.ok()) return started.status();
  if (!stopped.ok()) return stopped;
  return GivenDose{static_cast<double>(most) / kMebi};
}

absl::StatusOr<GivenDose> MeasureReadLimit(TrialSite* site, double mebibytes_per_second) {
  return MeasureBytes(site, "read", mebibytes_per_second, false);
}

absl::StatusOr<GivenDose> MeasureWriteLimit(TrialSite* site, double mebibytes_per_second) {
  return MeasureBytes(site, "write", mebibytes_per_second, true);
}

absl::StatusOr<GivenDose> MeasureOperationsLimit(TrialSite* site, double reads_per_second) {
  const absl::StatusOr<double> blocks =
      LimitedBlocks(site, "read_ops", absl::StrCat(reads_per_second), false);
  if (!blocks.ok()) return blocks.status();
  return GivenDose{*blocks};
}

}  // namespace faultline
