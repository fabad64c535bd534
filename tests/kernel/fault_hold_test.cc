// SPDX-License-Identifier: Apache-2.0
//
// hold.controllers by the real injector, beside a fault: it changes nothing that is on already or
// needs no turning on, as on cgroup v1, and ends with the injector.
#include "tests/kernel/fault_fixture.h"

namespace faultline {
namespace {

class HoldTest : public FaultTest {};

TEST_F(HoldTest, ChangesNothingHere_LivesBesideAFault_AndIsUndoneAfterAKill) {
  v1::FaultSpec spec = Spec("hold.controllers", "h", 24 * 3600);
  const auto held = injector_.Inject(spec);
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->phase(), v1::PHASE_VERIFIED);
  EXPECT_TRUE(held->hold());
  EXPECT_EQ(Digest(), before_);
  v1::FaultSpec limit = Spec("cpu.limit", "a", 30);
  (*limit.mutable_parameters())["cpus"] = "0.5";
  ASSERT_TRUE(injector_.Inject(limit).ok());
  EXPECT_NE(Digest(), before_);
  Kill();
  EXPECT_EQ(injector_.Undo(), 0);
  EXPECT_EQ(Digest(), before_);
  ASSERT_TRUE(injector_.Start().ok());
  for (const char* name : {"h", "a"}) {
    const v1::FaultState ended = injector_.Find(Id(name));
    EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.ShortDebugString();
    EXPECT_EQ(ended.reason(), "the injector died");
    EXPECT_EQ(ended.residue_size(), 0);
    ExpectEdgesInOrder(ended);
  }
}

}  // namespace
}  // namespace faultline
