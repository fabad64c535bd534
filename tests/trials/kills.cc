// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/kills.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/kernel/host_digest.h"
#include "tests/kernel/test_disk.h"
#include "tests/trials/site.h"
#include "tests/witness/now.h"

namespace faultline {
namespace {

constexpr int kFaults = 8;
constexpr double kFaultSeconds = 30;
// Within these the eight have started, or nearly so.
constexpr unsigned kEarlyUs = 60'000;
constexpr unsigned kLateUs = 900'000;

constexpr char kDiskPath[] = "/var/tmp";

// A fault that is one of the eight at times.
enum class On { kNoDevice, kNetwork, kDisk };
struct KindRow {
  const char* type;
  // On the second group, on which nothing stands still.
  bool second;
  // One parameter; "": none.
  const char* name;
  const char* value;
  On on = On::kNoDevice;
};

// One of each way to change a host, and each way for a process of ours to hold the change.
constexpr std::array<KindRow, 11> kKinds{{
    {"cpu.limit", false, "cpus", "0.5"},
    {"mem.limit", false, "bytes", "64MiB"},
    {"io.limit", false, "read", "1MiB", On::kDisk},
    {"net.loss", false, "loss", "50%", On::kNetwork},
    {"net.delay", false, "delay", "20ms", On::kNetwork},
    {"process.pause", false, "", ""},
    {"mem.leak", true, "bytes", "4MiB"},
    {"cpu.load", true, "cpus", "0.1"},
    {"net.rate", true, "rate", "10mbit", On::kNetwork},
    {"process.kill", true, "signal", "USR1"},
    {"sham", true, "mechanism", "link"},
}};

class KillRounds {
 public:
  KillRounds(std::unique_ptr<TrialSite> site, std::unique_ptr<TestCgroup> second,
             std::vector<KindRow> kinds, unsigned seed)
      : site_(std::move(site)),
        second_(std::move(second)),
        kinds_(std::move(kinds)),
        random_(seed),
        before_(Digest()) {}

  absl::Status Run(Kills* kills) {
    const std::vector<v1::FaultSpec> specs = Specs();
    int acked = 0;
    absl::Status refused;
    std::jthread caller([this, &specs, &acked, &refused] {
      for (const v1::FaultSpec& spec : specs) {
        refused = site_->injector().Inject(spec).status();
        if (!refused.ok()) return;
        ++acked;
      }
    });
    const unsigned span = kills->kills / 2 % 2 == 0 ? kEarlyUs : kLateUs;
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % span));
    const std::int64_t kill_ns = witness::NowNs();
    site_->injector().End(SIGKILL);
    caller.join();
    // By the death; nothing else refuses it.
    if (!refused.ok() && !absl::IsUnavailable(refused) && !absl::IsCancelled(refused)) {
      return refused;
    }
    for (int i = 0; i < acked; ++i) ++acked_[specs[static_cast<std::size_t>(i)].type()];
    ++kills->kills;
    kills->acked += acked;
    if (acked < kFaults) ++kills->early;
    if (kills->kills % 2 == 0 && site_->injector().Undo() != 0) {
      return absl::InternalError("--undo failed: " + site_->injector().Log());
    }
    if (absl::Status status = site_->injector().Start(); !status.ok()) return status;
    Check(kill_ns, specs, acked, kills);
    return absl::OkStatus();
  }

  // A line for each kind that was never in force when its injector was killed.
  std::string NeverAcked() const {
    std::string text;
    for (const KindRow& kind : kinds_) {
      if (acked_.count(kind.type) == 0) absl::StrAppend(&text, kind.type, "\n");
    }
    return text;
  }

 private:
  std::string Digest() const {
    return absl::StrCat(site_->Digest(), HostDigest(*second_, site_->HelperWord()));
  }

  v1::FaultSpec Make(const KindRow& row) {
    v1::FaultSpec spec = site_->Spec(row.type, kFaultSeconds);
    if (row.second) spec.mutable_target()->set_cgroup(second_->path());
    if (*row.name != '\0') (*spec.mutable_parameters())[row.name] = row.value;
    if (row.on == On::kNetwork) {
      (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    }
    if (row.on == On::kDisk) (*spec.mutable_parameters())["device"] = TestFile::DiskOf(kDiskPath);
    return spec;
  }

  // Eight of those that there are, others and in another order each time.
  std::vector<v1::FaultSpec> Specs() {
    std::shuffle(kinds_.begin(), kinds_.end(), random_);
    std::vector<v1::FaultSpec> specs;
    for (int i = 0; i < kFaults; ++i) specs.push_back(Make(kinds_[static_cast<std::size_t>(i)]));
    return specs;
  }

  // The host is as before, and what the journal knows of the faults has ended.
  void Check(std::int64_t kill_ns, const std::vector<v1::FaultSpec>& specs, int acked,
             Kills* kills) {
    std::string residue;
    if (const std::string now = Digest(); now != before_) {
      residue = absl::StrCat("before:\n", before_, "after:\n", now);
    }
    kills->slowest_s = std::max(kills->slowest_s,
                                static_cast<double>(witness::NowNs() - kill_ns) / witness::kSecond);
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const v1::FaultState state = site_->injector().Find(specs[i].id());
      const bool known = state.phase() != v1::PHASE_UNSPECIFIED;
      if (known && state.phase() < v1::PHASE_UNDONE) residue += state.ShortDebugString();
      if (!known && static_cast<int>(i) < acked) {
        absl::StrAppend(&residue, specs[i].type(), " was acknowledged and is forgotten\n");
      }
    }
    if (residue.empty()) return;
    if (kills->residues++ == 0) kills->first_residue = residue;
  }

  const std::unique_ptr<TrialSite> site_;
  const std::unique_ptr<TestCgroup> second_;
  std::vector<KindRow> kinds_;
  std::mt19937 random_;
  const std::string before_;
  // Of each kind, how many had been acknowledged when the injector was killed.
  std::map<std::string, int> acked_;
};

// Those that this host can have.
absl::StatusOr<std::vector<KindRow>> KindsHere(TrialSite* site, Kills* kills) {
  std::vector<KindRow> kinds;
  for (const KindRow& kind : kKinds) {
    absl::Status status = site->Check(kind.type);
    if (status.ok() && kind.on == On::kDisk && TestFile::DiskOf(kDiskPath).empty()) {
      status = absl::UnimplementedError(
          absl::StrCat(kind.type, ": ", kDiskPath, " is on no block device"));
    }
    if (status.ok()) {
      kinds.push_back(kind);
    } else if (absl::IsUnimplemented(status)) {
      absl::StrAppend(&kills->left_out, status.message(), "\n");
    } else {
      return status;
    }
  }
  if (kinds.size() >= kFaults) return kinds;
  return absl::UnimplementedError(
      absl::StrCat("this host has less than eight faults:\n", kills->left_out));
}

}  // namespace

std::vector<std::string> KillTypes() {
  std::vector<std::string> types;
  for (const KindRow& kind : kKinds) types.emplace_back(kind.type);
  return types;
}

absl::StatusOr<Kills> KillUnderFaults(int kills, unsigned seed) {
  absl::StatusOr<std::unique_ptr<TrialSite>> site =
      TrialSite::Create({"--max-faults", absl::StrCat(kFaults)});
  if (!site.ok()) return site.status();
  absl::StatusOr<std::unique_ptr<TestCgroup>> second = TestCgroup::Create("trial2");
  if (!second.ok()) return second.status();
  Kills result;
  absl::StatusOr<std::vector<KindRow>> kinds = KindsHere(site->get(), &result);
  if (!kinds.ok()) return kinds.status();
  if (absl::Status status = (*site)->AddSleeper(); !status.ok()) return status;
  const absl::StatusOr<pid_t> deaf = (*second)->Spawn([] {
    ::signal(SIGUSR1, SIG_IGN);
    return ::pause();
  });
  if (!deaf.ok()) return deaf.status();
  // From then on the signal of process.kill ends nobody.
  witness::SleepForMs(50);
  KillRounds rounds(*std::move(site), *std::move(second), *std::move(kinds), seed);
  while (result.kills < kills) {
    if (absl::Status status = rounds.Run(&result); !status.ok()) return status;
  }
  result.never_acked = rounds.NeverAcked();
  return result;
}

}  // namespace faultline
