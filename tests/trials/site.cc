// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/site.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/kernel/host_digest.h"
#include "tests/witness/now.h"

namespace faultline {

absl::StatusOr<std::unique_ptr<TrialSite>> TrialSite::Create(
    const std::vector<std::string>& options) {
  std::unique_ptr<TrialSite> site(new TrialSite());
  site->bpffs_ = std::make_unique<TestBpffs>();
  absl::StatusOr<std::unique_ptr<TestNetwork>> network = TestNetwork::Create();
  if (!network.ok()) return network.status();
  site->network_ = *std::move(network);
  absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("trial");
  if (!group.ok()) return group.status();
  site->group_ = *std::move(group);
  // So that a busy machine does not starve what is measured.
  if (!site->group_->Write("cpu", "cpu.shares", "16384").ok()) {
    (void)site->group_->Write("cpu", "cpu.weight", "1600");
  }
  std::vector<std::string> words{"--plane-device", TestNetwork::kHereDevice, "--bpffs",
                                 site->bpffs_->path()};
  words.insert(words.end(), options.begin(), options.end());
  site->injector_.SetOptions(std::move(words));
  if (absl::Status status = site->injector_.Start(); !status.ok()) {
    return WithContext(status, site->injector_.Log());
  }
  return site;
}

TrialSite::~TrialSite() {
  if (injector_.pid() > 0) injector_.End(SIGTERM);
  for (const int fd : descriptors_) close(fd);
}

std::string TrialSite::HelperWord() const { return absl::StrCat("trial-", getpid(), "-"); }

absl::StatusOr<std::vector<v1::FaultInfo>> TrialSite::Known() {
  grpc::ClientContext context;
  v1::Capabilities capabilities;
  const grpc::Status status =
      injector_.root().GetCapabilities(&context, v1::CapabilitiesRequest(), &capabilities);
  if (!status.ok()) return FromGrpc(status);
  return std::vector<v1::FaultInfo>(capabilities.faults().begin(), capabilities.faults().end());
}

absl::StatusOr<std::vector<std::string>> TrialSite::KnownTypes() {
  const absl::StatusOr<std::vector<v1::FaultInfo>> known = Known();
  if (!known.ok()) return known.status();
  std::vector<std::string> types;
  for (const v1::FaultInfo& info : *known) {
    if (!info.hold() && info.type() != "sham") types.push_back(info.type());
  }
  return types;
}

absl::Status TrialSite::Check(const std::string& type) {
  const absl::StatusOr<std::vector<v1::FaultInfo>> known = Known();
  if (!known.ok()) return known.status();
  for (const v1::FaultInfo& info : *known) {
    if (info.type() != type) continue;
    if (info.availability() != v1::AVAILABILITY_MISSING) return absl::OkStatus();
    return absl::UnimplementedError(absl::StrCat(type, ": ", info.reason()));
  }
  return absl::UnimplementedError(absl::StrCat("the injector knows no ", type));
}

v1::FaultSpec TrialSite::Spec(const std::string& type, double seconds) {
  return MakeSpec(type, absl::StrCat(HelperWord(), ++faults_), group_->path(), seconds);
}

absl::StatusOr<v1::FaultState> TrialSite::Inject(const v1::FaultSpec& spec) {
  absl::StatusOr<v1::FaultState> started = injector_.Inject(spec);
  if (started.ok()) return started;
  return absl::InternalError(absl::StrCat("refused: ", started.status().ToString()));
}

absl::StatusOr<v1::FaultState> TrialSite::Run(const v1::FaultSpec& spec) {
  absl::StatusOr<v1::FaultState> started = Inject(spec);
  // Nothing was changed: the disk took longer for the journal than the fault was to last, or an
  // emulated machine, which has one processor, did not get to its systemd for 5 s.
  const auto nothing_yet = [&started] {
    const absl::string_view why = started.status().message();
    return absl::StrContains(why, "was over by then") ||
           absl::StrContains(why, "systemd did not answer");
  };
  for (int i = 0; i < 3 && nothing_yet(); ++i) {
    std::printf("%s begins again: %s\n", spec.type().c_str(),
                std::string(started.status().message()).c_str());
    v1::FaultSpec again = spec;
    again.set_id(absl::StrCat(spec.id(), "-again", i));
    started = Inject(again);
  }
  if (!started.ok()) return started.status();
  return End(*started);
}

absl::StatusOr<v1::FaultState> TrialSite::End(const v1::FaultState& started) {
  constexpr int kPatienceSeconds = 10;
  // Not asked before, so that the question is no part of what is measured.
  witness::SleepUntilNs(started.deadline_boottime_ns());
  v1::FaultState ended = injector_.WaitForEnd(started.spec().id(), kPatienceSeconds);
  if (ended.phase() == v1::PHASE_UNDONE) return ended;
  return absl::InternalError(absl::StrCat("a fault did not end well: ", ended.ShortDebugString()));
}

absl::StatusOr<witness::Packets::Path> TrialSite::MakePath(TestCgroup* group, bool out,
                                                           const UdpEnds& ends) {
  const absl::StatusOr<UdpPath> path = MakeUdpPath(*network_, group, out, ends);
  if (!path.ok()) return path.status();
  descriptors_.push_back(path->sender);
  descriptors_.push_back(path->receiver);
  return witness::Packets::Path{path->sender, path->receiver};
}

absl::Status TrialSite::AddSleeper() {
  return group_->Spawn([] { return ::pause(); }).status();
}

std::string TrialSite::MemoryCount() const {
  const std::string v1 = group_->Directory("memory") + "/memory.usage_in_bytes";
  return access(v1.c_str(), R_OK) == 0 ? v1 : group_->Directory("memory") + "/memory.current";
}

std::string TrialSite::QuotaFile() const {
  const std::string v1 = group_->Directory("cpu") + "/cpu.cfs_quota_us";
  return access(v1.c_str(), R_OK) == 0 ? v1 : group_->Directory("cpu") + "/cpu.max";
}

TrialSite::CpuCount TrialSite::CpuTime() const {
  const std::string v1 = group_->Directory("cpuacct") + "/cpuacct.usage";
  if (access(v1.c_str(), R_OK) == 0) return {v1, 1};
  // Its first line is usage_usec.
  return {group_->Directory("cpu") + "/cpu.stat", 1000};
}

std::string TrialSite::Digest() const {
  return absl::StrCat(HostDigest(*group_, HelperWord(),
                                 {static_cast<int>(if_nametoindex(TestNetwork::kHereDevice))}),
                      bpffs_->Empty() ? "" : "something is pinned\n");
}

std::int64_t DoseOf(const v1::FaultState& state, const std::string& name) {
  for (const v1::Dose& dose : state.dose()) {
    if (dose.name() == name) return dose.value();
  }
  return -1;
}

}  // namespace faultline
