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

fault_filters OfPort(std::uint16_t port) {
  fault_filters filters{};
  filters.filter_count = 1;
  filters.filters[0].port_first = port;
  filters.filters[0].port_last = port;
  return filters;
}

class Spares : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: BPF programs are loaded";
  }

  SparePrograms::Load Loader() {
    return [this](const std::string& name, const fault_filters& filters) {
      ++loads_;
      return LoadLoss(name, filters);
    };
  }
  absl::StatusOr<std::unique_ptr<BpfObject>> LoadLoss(const std::string& name,
                                                      const fault_filters& filters) {
    absl::StatusOr<std::unique_ptr<BpfObject>> object =
        BpfObject::Open("fault_loss", SkeletonBytes<fault_loss_bpf>());
    if (!object.ok()) return object;
    bpf_program* each = nullptr;
    bpf_object__for_each_program(each, (*object)->get()) {
      bpf_program__set_autoload(each, name == bpf_program__name(each));
    }
    absl::StatusOr<bpf_program*> program = (*object)->Program(name);
    if (!program.ok()) return program.status();
    absl::Status status = (*object)->SetGlobal("filters", filters);
    if (status.ok()) status = (*object)->Load();
    if (!status.ok()) return status;
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(bpf_program__fd(*program), &info, &size) == 0) id_ = info.id;
    return object;
  }

  // Waits until the thread has loaded that many.
  void AwaitLoads(int count) {
    for (int i = 0; i < 500 && loads_ < count; ++i) SleepMs(10);
    ASSERT_EQ(loads_, count);
    // It counts before it loads.
    SleepMs(100);
  }

  std::atomic<int> loads_ = 0;
  // Of the last one that was loaded.
  std::atomic<std::uint32_t> id_ = 0;
};

TEST_F(Spares, AreTakenOnce_ByWhoWantsJustThat) {
  SparePrograms spares(Loader());
  EXPECT_EQ(spares.Take("loss_in", OfPort(80)), nullptr);
  spares.Prepare("loss_in", OfPort(80));
  AwaitLoads(1);
  EXPECT_EQ(spares.Take("loss_in", OfPort(81)), nullptr);
  EXPECT_EQ(spares.Take("loss_out", OfPort(80)), nullptr);
  const std::unique_ptr<BpfObject> spare = spares.Take("loss_in", OfPort(80));
  ASSERT_NE(spare, nullptr);
  EXPECT_TRUE(InfoOf(id_).has_value());
  EXPECT_EQ(spares.Take("loss_in", OfPort(80)), nullptr);
}

// One of each name: the kernel has no other any more.
TEST_F(Spares, ALaterOneTakesThePlaceOfTheFirst) {
  SparePrograms spares(Loader());
  spares.Prepare("loss_in", OfPort(80));
  AwaitLoads(1);
  const std::uint32_t first = id_;
  spares.Prepare("loss_in", OfPort(81));
  AwaitLoads(2);
  EXPECT_FALSE(InfoOf(first).has_value());
  EXPECT_EQ(spares.Take("loss_in", OfPort(80)), nullptr);
  EXPECT_NE(spares.Take("loss_in", OfPort(81)), nullptr);
}

TEST_F(Spares, LeaveTheKernelAfterAWhile_AndWithTheirOwner) {
  std::uint32_t last = 0;
  {
    SparePrograms spares(Loader(), absl::Seconds(1));
    spares.Prepare("loss_in", OfPort(80));
    AwaitLoads(1);
    EXPECT_TRUE(InfoOf(id_).has_value());
    for (int i = 0; i < 50 && InfoOf(id_).has_value(); ++i) SleepMs(100);
    EXPECT_FALSE(InfoOf(id_).has_value());
    EXPECT_EQ(spares.Take("loss_in", OfPort(80)), nullptr);
    spares.Prepare("loss_in", OfPort(80));
    AwaitLoads(2);
    last = id_;
    EXPECT_TRUE(InfoOf(last).has_value());
  }
  EXPECT_FALSE(InfoOf(last).has_value());
}

TEST_F(Spares, OneThatCannotBeLoaded_IsNone) {
  SparePrograms spares(Loader());
  spares.Prepare("nonsense", OfPort(80));
  spares.Prepare("loss_in", OfPort(80));
  AwaitLoads(2);
  EXPECT_EQ(spares.Take("nonsense", OfPort(80)), nullptr);
  EXPECT_NE(spares.Take("loss_in", OfPort(80)), nullptr);
}

// The second fault of a series: its program was in the kernel before it was asked for, and does
// what the second one asks, with its own deadline, draws and counts.
class SeriesOfLosses : public NetTest {
 protected:
  LossSpec Loss(std::uint32_t ppm) const {
    LossSpec spec;
    spec.fault_id = "test";
    spec.cgroup = group_->path();
    spec.inbound = true;
    spec.loss_ppm = ppm;
    spec.seed = ppm;
    spec.deadline_ns = BootNs() + 60 * kNsPerSecond;
    return spec;
  }
};

TEST_F(SeriesOfLosses, TheSecondIsLoadedAhead_AndHasItsOwnRule) {
  const Receiver target = UdpReceiver(group_.get(), false);
  const int sender = UdpSender(nullptr, true, TestNetwork::kHere, target.port);
  const Hook hook{Hook::Kind::kCgroupIngress, group_->path(), "", ""};
  int series = 0;
  for (const std::uint32_t ppm : {1'000'000U, 0U, 1'000'000U}) {
    SCOPED_TRACE(ppm);
    const std::int64_t asked_ns = BootNs();
    absl::StatusOr<Levers> levers = MakeLoss(Net(), Loss(ppm));
    ASSERT_EQ(levers.status(), absl::OkStatus());
    ApplyAll(*levers);
    const std::vector<std::uint32_t> ids = Net().programs->Attached(hook).value();
    ASSERT_EQ(ids.size(), 1U);
    const std::optional<bpf_prog_info> info = InfoOf(ids[0]);
    ASSERT_TRUE(info.has_value());
    const bool ahead = static_cast<std::int64_t>(info->load_time) < asked_ns;
    EXPECT_EQ(ahead, series > 0);
    EXPECT_EQ(SendNumbered(sender, 10), 0);
    EXPECT_EQ(ReceiveNumbers(target.fd, 20).size(), ppm == 0 ? 10U : 0U);
    EXPECT_EQ(DoseOf(*levers, "packets_dropped"), ppm == 0 ? 0 : 10);
    RestoreAll(*levers);
    levers->clear();
    ++series;
    SleepMs(300);
  }
}

}  // namespace
}  // namespace faultline
