// SPDX-License-Identifier: Apache-2.0
//
// Roots of every kind that a device may have, on the fake machine: the plane and the faults that
// need it leave them alone, in words, or bring them back. foreign_state_test.cc does it for real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bpf/fault.h"
#include "injector/host/net.h"
#include "injector/journal.h"
#include "injector/planes.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

constexpr int kEth0 = 2;

struct Row {
  Qdisc root;
  // Why it gets no plane; empty: it gets one.
  const char* refused;
};

const std::vector<Row>& Rows() {
  static const std::vector<Row> rows{
      {{"noqueue", 0}, ""},
      {{"pfifo_fast", 0}, ""},
      {{"fq_codel", 0}, ""},
      {{"fq", 0}, ""},
      {{"mq", 0}, "several queues (mq)"},
      {{"mq", 0x80000}, "somebody's own (mq 8:0)"},
      {{"pfifo", 0x10000}, "somebody's own (pfifo 1:0)"},
      // The default's kind, but made and perhaps tuned by somebody.
      {{"fq_codel", 0x80010000}, "somebody's own (fq_codel 8001:0)"},
      {{"htb", 0x10000}, "somebody's own (htb 1:0)"},
      {{"prio", 0x10000}, "somebody's own (prio 1:0)"},
  };
  return rows;
}

TEST(ForeignRoot, GetsThePlaneAndComesBack_OrIsLeftAlone) {
  for (const Row& row : Rows()) {
    SCOPED_TRACE(row.root.kind);
    ControllerWorld world;
    world.host.classes.clear();
    world.host.roots[kEth0] = row.root;
    const std::string before = world.host.Digest();
    const NetKernel net = world.host.Get().net;
    const absl::StatusOr<v1::Change> plane = SetUpPlane(net, {"eth0"});
    const bool stands = *row.refused == '\0';
    ASSERT_EQ(plane.ok(), stands) << plane.status();
    if (!stands) {
      EXPECT_EQ(plane.status().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_THAT(std::string(plane.status().message()), HasSubstr(row.refused));
      EXPECT_EQ(world.host.Digest(), before);
    }
    const std::string beneath = world.host.Digest();
    for (const char* type : {"net.rate", "net.delay"}) {
      const auto started =
          world.controller->Start(ControllerWorld::Spec(type, std::string(type).substr(4)));
      ASSERT_EQ(started.ok(), stands) << started.status();
      if (started.ok()) {
        EXPECT_TRUE(world.controller->Stop(started->spec().id()).ok());
      } else {
        EXPECT_THAT(std::string(started.status().message()), HasSubstr(row.refused));
      }
      EXPECT_EQ(world.host.Digest(), beneath);
    }
    EXPECT_EQ(RemovePlane(net, "eth0"), absl::OkStatus());
    EXPECT_EQ(world.host.Digest(), before);
  }
}

// Whose owner allows it loses its queues to the plane, and gets them back.
TEST(ForeignRoot, OfSeveralQueues_IsMergedOnlyWhereThatIsAllowed) {
  ControllerWorld world;
  world.host.classes.clear();
  world.host.roots[kEth0] = {"mq", 0};
  world.host.queues = {{"fq_codel", 0}, {"fq_codel", 0}};
  world.host.default_kind = "fq_codel";
  const std::string before = world.host.Digest();
  const NetKernel net = world.host.Get().net;
  const absl::Status refused = SetUpPlane(net, {"eth0"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("start faultline-injector with --plane-mq-device eth0"));
  EXPECT_EQ(world.host.Digest(), before);
  const auto plane = SetUpPlane(net, {"eth0", true});
  ASSERT_TRUE(plane.ok()) << plane.status();
  EXPECT_EQ(plane->before(), "mq of 2 fq_codel");
  // Fair still.
  EXPECT_EQ(world.host.leaves[FAULT_DEFAULT_CLASS], "fq_codel");
  ASSERT_TRUE(world.controller->Start(ControllerWorld::Spec("net.rate", "a")).ok());
  ASSERT_TRUE(world.controller->Stop("a").ok());
  EXPECT_EQ(RemovePlane(net, "eth0"), absl::OkStatus());
  EXPECT_EQ(world.host.Digest(), before);
}

// What the kernel gave it once is not what it would give it now.
TEST(ForeignRoot, OfAnotherDefaultThanTodays_IsLeftAlone) {
  ControllerWorld world;
  const NetKernel net = world.host.Get().net;
  world.host.default_kind = "fq";
  for (const char* kind : {"pfifo_fast", "mq"}) {
    world.host.roots[kEth0] = {kind, 0};
    world.host.queues = {{"fq", 0}, {"pfifo_fast", 0}};
    const std::string before = world.host.Digest();
    const absl::Status refused = SetUpPlane(net, {"eth0", true}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_THAT(
        std::string(refused.message()),
        HasSubstr("device eth0 has pfifo_fast of the kernel's, whose default is fq by now"));
    EXPECT_EQ(world.host.Digest(), before);
    const auto started =
        world.controller->Start(ControllerWorld::Spec("net.rate", std::string(kind, 2)));
    EXPECT_THAT(std::string(started.status().message()), HasSubstr("by now"));
  }
  // One without a queue has no default.
  world.host.roots[kEth0] = {"noqueue", 0};
  world.host.classes.clear();
  EXPECT_TRUE(SetUpPlane(net, {"eth0"}).ok());
}

// What was there before is known to who finds the plane standing, and told where it does not come
// back.
TEST(ForeignRoot, WhoseDefaultChangesUnderThePlane_IsToldOf) {
  ControllerWorld world;
  const absl::StatusOr<std::unique_ptr<Journal>> journal =
      Journal::Open(world.JournalPath() + ".planes");
  ASSERT_TRUE(journal.ok()) << journal.status();
  const NetKernel net = world.host.Get().net;
  world.host.roots[kEth0] = {"fq_codel", 0};
  for (int start = 0; start < 2; ++start) {
    Planes(net, {{"eth0"}}).SetUp(**journal);
    const auto standing = (*journal)->LoadStanding();
    ASSERT_TRUE(standing.ok()) << standing.status();
    ASSERT_EQ(standing->size(), 1U);
    EXPECT_EQ(standing->front().before(), "fq_codel");
  }
  const v1::Change change = (*journal)->LoadStanding()->front();
  const auto said_at_removal = [&] {
    ::testing::internal::CaptureStderr();
    const LeverOr plane = RecoverPlane(net, change);
    EXPECT_TRUE(plane.ok() && (*plane)->Restore().ok());
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said_at_removal(), "");
  ASSERT_TRUE(SetUpPlane(net, {"eth0"}).ok());
  world.host.default_roots[kEth0] = {"fq", 0};
  EXPECT_THAT(said_at_removal(),
              HasSubstr("eth0 has fq without its plane and had fq_codel before"));
}

}  // namespace
}  // namespace faultline
