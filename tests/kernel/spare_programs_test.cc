// SPDX-License-Identifier: Apache-2.0
//
// Programs of network faults that are loaded ahead, in this kernel.
#include "injector/host/spare_programs.h"

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>

#include "absl/time/clock.h"
#include "bpf/fault_loss.skel.h"
#include "injector/host/link.h"
#include "injector/host/net_levers.h"
#include "injector/host/net_rule.h"
#include "tests/kernel/net_test.h"

namespace faultline {
namespace {

// What the kernel says of program `id`; nothing: there is none.
std::optional<bpf_prog_info> InfoOf(std::uint32_t id) {
  const int fd = bpf_prog_get_fd_by_id(id);
  if (fd < 0) return std::nullopt;
  bpf_prog_info info{};
  std::uint32_t size = sizeof(info);
  const int result = bpf_obj_get_info_by_fd(fd, &info, &size);
  close(fd);
  if (result != 0) return std::nullopt;
  return info;
}

SparePrograms::Kind OfPort(std::uint16_t port, const char* name = "loss_in") {
  SparePrograms::Kind kind;
  kind.name = name;
  kind.filters.filter_count = 1;
  kind.filters.filters[0].port_first = port;
  kind.filters.filters[0].port_last = port;
  return kind;
}

// Whether `true_now` is so within a while.
template <typename Check>
bool Eventually(const Check& true_now) {
  for (int i = 0; i < 500; ++i) {
    if (true_now()) return true;
    SleepMs(10);
  }
  return false;
}

class Spares : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: BPF programs are loaded";
  }

  SparePrograms::Load Loader() {
    return [this](const std::string& name, const fault_filters& filters) {
      absl::StatusOr<std::unique_ptr<BpfObject>> object = LoadLoss(name, filters);
      ++loads_;
      return object;
    };
  }
  absl::StatusOr<std::unique_ptr<BpfObject>> LoadLoss(const std::string& name,
                                                      const fault_filters& filters) {
    absl::StatusOr<std::unique_ptr<BpfObject>> object =
        BpfObject::Open("fault_loss", SkeletonBytes<fault_loss_bpf>());
    if (!object.ok()) return object;
    absl::Status status = (*object)->LoadOnly(name);
    if (status.ok()) status = (*object)->SetGlobal("filters", filters);
    if (status.ok()) status = (*object)->Load();
    if (!status.ok()) return status;
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(bpf_program__fd((*object)->Program(name).value()), &info, &size) ==
        0)
      id_ = info.id;
    return object;
  }

  bool AwaitLoads(int count) {
    return Eventually([&] { return loads_ == count; });
  }

  std::atomic<int> loads_ = 0;
  // Of the last one that was loaded.
  std::atomic<std::uint32_t> id_ = 0;
};

TEST_F(Spares, AreTakenOnce_ByWhoWantsJustThat) {
  SparePrograms spares(Loader());
  EXPECT_EQ(spares.Take(OfPort(80)), nullptr);
  spares.Prepare(OfPort(80));
  std::unique_ptr<BpfObject> spare;
  EXPECT_TRUE(Eventually([&] {
    EXPECT_EQ(spares.Take(OfPort(81)), nullptr);
    EXPECT_EQ(spares.Take(OfPort(80, "loss_out")), nullptr);
    spare = spares.Take(OfPort(80));
    return spare != nullptr;
  }));
  EXPECT_TRUE(InfoOf(id_).has_value());
  EXPECT_EQ(spares.Take(OfPort(80)), nullptr);
  // As after a dry run.
  spares.GiveBack(OfPort(80), std::move(spare));
  EXPECT_EQ(spares.Take(OfPort(81)), nullptr);
  EXPECT_NE(spares.Take(OfPort(80)), nullptr);
  EXPECT_EQ(loads_, 1);
}

TEST_F(Spares, ThoseWithOtherFiltersMakeRoom) {
  SparePrograms spares(Loader());
  spares.Prepare(OfPort(80));
  spares.Prepare(OfPort(80));
  ASSERT_TRUE(AwaitLoads(2));
  const std::uint32_t second = id_;
  spares.Prepare(OfPort(81));
  std::unique_ptr<BpfObject> spare;
  EXPECT_TRUE(Eventually([&] { return (spare = spares.Take(OfPort(81))) != nullptr; }));
  EXPECT_EQ(spares.Take(OfPort(80)), nullptr);
  EXPECT_TRUE(Eventually([&] { return !InfoOf(second).has_value(); }));
}

// Asked for while one is being loaded, which is neither waited for nor there.
TEST_F(Spares, AreNoMoreThanSoMany) {
  std::atomic<bool> begun = false;
  SparePrograms spares([this, &begun](const std::string& name, const fault_filters& filters) {
    begun = true;
    SleepMs(50);
    ++loads_;
    return LoadLoss(name, filters);
  });
  spares.Prepare(OfPort(80));
  ASSERT_TRUE(Eventually([&] { return begun.load(); }));
  for (size_t i = 0; i < 3 * SparePrograms::kMost; ++i) spares.Prepare(OfPort(80));
  ASSERT_TRUE(AwaitLoads(SparePrograms::kMost));
  SleepMs(300);
  EXPECT_EQ(loads_, static_cast<int>(SparePrograms::kMost));
  for (size_t i = 0; i < SparePrograms::kMost; ++i) EXPECT_NE(spares.Take(OfPort(80)), nullptr);
  EXPECT_EQ(spares.Take(OfPort(80)), nullptr);
}

TEST_F(Spares, LeaveTheKernelAfterAWhile_AndWithTheirOwner) {
  std::uint32_t last = 0;
  {
    SparePrograms spares(Loader(), kNsPerSecond / 2);
    spares.Prepare(OfPort(80));
    ASSERT_TRUE(AwaitLoads(1));
    const std::uint32_t first = id_;
    EXPECT_TRUE(Eventually([&] { return !InfoOf(first).has_value(); }));
    EXPECT_EQ(spares.Take(OfPort(80)), nullptr);
  }
  {
    SparePrograms spares(Loader());
    spares.Prepare(OfPort(80));
    ASSERT_TRUE(AwaitLoads(2));
    last = id_;
    EXPECT_TRUE(InfoOf(last).has_value());
  }
  EXPECT_TRUE(Eventually([&] { return !InfoOf(last).has_value(); }));
}

TEST_F(Spares, OneThatCannotBeLoaded_IsNone) {
  SparePrograms spares(Loader());
  spares.Prepare(OfPort(80, "nonsense"));
  spares.Prepare(OfPort(80));
  EXPECT_TRUE(Eventually([&] { return spares.Take(OfPort(80)) != nullptr; }));
  EXPECT_EQ(spares.Take(OfPort(80, "nonsense")), nullptr);
}

// The second fault of a series: its program was in the kernel before it was asked for, and does
// what the second one asks, with its own deadline, draws and counts.
class Series : public NetTest {
 protected:
  // The program that the kernel runs on `hook`, and that it takes a second time.
  struct Run {
    bool ahead = false;
    std::uint32_t id = 0;
  };
  Run RunOnce(const ProgramSpec& spec) {
    Run run;
    const std::int64_t asked_ns = BootNs();
    const auto program = Net().programs->Load(spec);
    EXPECT_TRUE(program.ok()) << program.status();
    if (!program.ok()) return run;
    EXPECT_EQ((*program)->Attach(), absl::OkStatus());
    run.id = (*program)->id();
    const std::optional<bpf_prog_info> info = InfoOf(run.id);
    EXPECT_TRUE(info.has_value());
    run.ahead = info.has_value() && static_cast<std::int64_t>(info->load_time) < asked_ns;
    return run;
  }
};

class SeriesOf : public Series, public ::testing::WithParamInterface<const char*> {
 protected:
  ProgramSpec Spec() const {
    ProgramSpec spec;
    spec.name = GetParam();
    if (spec.name == "loss_out") {
      spec.hook = {Hook::Kind::kTcxEgress, TestNetwork::kHereDevice, "", ""};
      spec.cgroup = group_->path();
      return spec;
    }
    const bool in = spec.name == "loss_in";
    spec.hook = {in ? Hook::Kind::kCgroupIngress : Hook::Kind::kCgroupEgress, group_->path(), "",
                 ""};
    return spec;
  }
};

TEST_P(SeriesOf, TheSecondIsLoadedAhead) {
  ProgramSpec spec = Spec();
  if (spec.hook.kind == Hook::Kind::kTcxEgress) {
    const absl::Status tcx = Net().programs->HoldTcx(TestNetwork::kHereDevice);
    if (absl::IsUnimplemented(tcx)) GTEST_SKIP() << tcx;
    ASSERT_EQ(tcx, absl::OkStatus());
  }
  const Run first = RunOnce(spec);
  EXPECT_FALSE(first.ahead);
  Run second;
  EXPECT_TRUE(Eventually([&] {
    second = RunOnce(spec);
    return second.ahead;
  }));
  EXPECT_NE(second.id, first.id) << "one that counted is not used again";
  // A dry run in between takes nothing away.
  EXPECT_TRUE(Eventually([&] {
    { EXPECT_TRUE(Net().programs->Load(spec).ok()); }
    return RunOnce(spec).ahead;
  }));
  // Other packets, another program.
  spec.filters.exempt_count = 1;
  EXPECT_FALSE(RunOnce(spec).ahead);
}

INSTANTIATE_TEST_SUITE_P(Of, SeriesOf,
                         ::testing::Values("loss_in", "loss_out", "loss_mark", "steer"),
                         [](const auto& each) { return std::string(each.param); });

TEST_F(Series, EachHasItsOwnRule) {
  const Receiver target = UdpReceiver(group_.get(), false);
  const int sender = UdpSender(nullptr, true, TestNetwork::kHere, target.port);
  LossSpec spec;
  spec.fault_id = "test";
  spec.cgroup = group_->path();
  spec.inbound = true;
  constexpr std::uint32_t kCount = 200;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    // Of every other one the deadline is over when it begins to lose.
    const bool over = seed % 2 == 0;
    spec.seed = seed;
    spec.loss_ppm = 150'000 * static_cast<std::uint32_t>(seed);
    spec.deadline_ns = over ? BootNs() - 1 : BootNs() + 60 * kNsPerSecond;
    absl::StatusOr<Levers> levers = MakeLoss(Net(), spec);
    ASSERT_EQ(levers.status(), absl::OkStatus());
    ApplyAll(*levers);
    EXPECT_EQ(SendNumbered(sender, kCount), 0);
    std::int64_t drawn = 0;
    for (std::uint32_t n = 0; n < kCount; ++n) {
      drawn += !over && fault_draw(StreamSeed(seed, 0), n) < spec.loss_ppm ? 1 : 0;
    }
    EXPECT_EQ(ReceiveNumbers(target.fd, 50).size(), static_cast<size_t>(kCount - drawn));
    EXPECT_EQ(DoseOf(*levers, "packets_dropped"), drawn);
    RestoreAll(*levers);
    levers->clear();
    SleepMs(100);
  }
}

}  // namespace
}  // namespace faultline
