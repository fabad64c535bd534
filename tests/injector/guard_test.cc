// SPDX-License-Identifier: Apache-2.0
#include "injector/guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

v1::FaultState Changing(const char* id, const char* kind, const char* object,
                        const char* attribute) {
  v1::FaultState state;
  state.mutable_spec()->set_id(id);
  state.mutable_spec()->set_type("cpu.limit");
  v1::Change* change = state.add_changes();
  change->set_kind(kind);
  change->set_object(object);
  change->set_attribute(attribute);
  return state;
}

TEST(Guard, WantsADurationWithinTheLimit) {
  const Guard guard({.max_duration_ns = 60 * kNsPerSecond});
  v1::FaultSpec spec;
  EXPECT_THAT(
      std::string(guard.CheckDuration(spec).message()),
      HasSubstr("a duration is missing: every fault ends by itself; give one of at most 1m"));
  spec.set_duration_ns(61 * kNsPerSecond);
  EXPECT_EQ(guard.CheckDuration(spec).message(),
            "the duration is 1m1s; this host allows at most 1m");
  spec.set_duration_ns(-1);
  EXPECT_FALSE(guard.CheckDuration(spec).ok());
  spec.set_duration_ns(1);
  EXPECT_EQ(guard.CheckDuration(spec).message(),
            "the duration is 1ns; a fault lasts at least 100ms, and on this host at most 1m");
  spec.set_duration_ns(100 * kNsPerMs - 1);
  EXPECT_FALSE(guard.CheckDuration(spec).ok());
  spec.set_duration_ns(100 * kNsPerMs);
  EXPECT_TRUE(guard.CheckDuration(spec).ok());
  spec.set_duration_ns(60 * kNsPerSecond);
  EXPECT_TRUE(guard.CheckDuration(spec).ok());
}

TEST(Guard, ProtectsGroupsAndWhatHoldsThem) {
  const Guard guard({.protected_cgroups = {"/system.slice/ssh.service"},
                     .protected_homes = {"/", "/system.slice/faultline-injector.service"}});
  struct Case {
    const char* cgroup;
    bool allowed;
  };
  for (const Case& c :
       {Case{"/", false}, Case{"/system.slice", false}, Case{"/system.slice/ssh.service", false},
        Case{"/system.slice/ssh.service/session", false}, Case{"/system.slice/ssh.service2", true},
        Case{"/system.slice/faultline-injector.service", false},
        Case{"/system.slice/nginx.service", true}, Case{"/web", true}}) {
    EXPECT_EQ(guard.CheckTarget(c.cgroup).ok(), c.allowed) << c.cgroup;
  }
}

TEST(Guard, ProtectsWhatUndoesBesideTheInjector) {
  const Guard guard({.protected_homes = UndoHomes(std::vector<std::string>{"/init.scope"})});
  for (const char* unit : {"faultline-undo-keeper.service", "faultline-undo-boot.service"}) {
    const absl::Status refused = guard.CheckTarget(absl::StrCat("/system.slice/", unit));
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << unit;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("a service that undoes"));
  }
  EXPECT_FALSE(guard.CheckTarget("/system.slice").ok());
  EXPECT_TRUE(guard.CheckTarget("/system.slice/nginx.service").ok());
  EXPECT_TRUE(guard.CheckTarget("/system.slice/faultline-agent.service").ok());
}

// cgroup v1 has PID 1 in the root of most hierarchies; a container without a namespace of its own
// sees the host's paths.
TEST(Guard, FindsWhatUndoesBelowTheRootOfPid1) {
  const auto keeper = [](const char* home_of_init) {
    return UndoHomes(std::vector<std::string>{home_of_init}).back();
  };
  EXPECT_EQ(keeper("/"), "/system.slice/faultline-undo-keeper.service");
  EXPECT_EQ(keeper("/init.scope"), "/system.slice/faultline-undo-keeper.service");
  EXPECT_EQ(keeper("/docker/a/init.scope"), "/docker/a/system.slice/faultline-undo-keeper.service");
}

TEST(Guard, SaysWhatIsProtected) {
  const Guard guard({.protected_cgroups = {"/a/b"}});
  const auto says = [&](const char* cgroup) {
    const absl::Status refused = guard.CheckTarget(cgroup);
    // Nobody's privileges would help: the command line must not say "run it as root".
    EXPECT_TRUE(absl::IsFailedPrecondition(refused));
    return std::string(refused.message());
  };
  EXPECT_THAT(says("/a/b"), HasSubstr("control group /a/b is one that this host's owner protects"));
  EXPECT_THAT(says("/a/b/c"), HasSubstr("control group /a/b/c lies in /a/b, one that this"));
  EXPECT_THAT(says("/a"), HasSubstr("control group /a holds /a/b, one that this"));
}

TEST(Guard, RefusesASecondFaultOnTheSameKnob) {
  const Guard guard({});
  const v1::FaultState active = Changing("first", "cgroup_value", "/web", "cpu:cpu.max");
  const std::vector<const v1::FaultState*> others{&active};
  const auto check = [&](const char* kind, const char* object, const char* attribute) {
    return guard.CheckOthers(Changing("second", kind, object, attribute), others);
  };
  EXPECT_THAT(std::string(check("cgroup_value", "/web", "cpu:cpu.max").message()),
              HasSubstr("fault first (cpu.limit, until 00:00:00Z) already changes cpu:cpu.max of "
                        "/web; end it with `faultline stop first`"));
  EXPECT_FALSE(check("cgroup_value", "/web/worker", "cpu:cpu.max").ok());
  EXPECT_TRUE(check("cgroup_value", "/webx", "cpu:cpu.max").ok());
  EXPECT_TRUE(check("cgroup_value", "/web", "cpu:cpu.weight").ok());
  EXPECT_TRUE(check("freezer", "/web", "cgroup.freeze").ok());
}

TEST(Guard, AllowsOnlySoManyAtATime) {
  const Guard guard({.max_faults = 1});
  const v1::FaultState active = Changing("first", "cgroup_value", "/web", "cpu:cpu.max");
  const v1::FaultState next = Changing("second", "cgroup_value", "/db", "cpu:cpu.max");
  EXPECT_TRUE(guard.CheckOthers(next, {}).ok());
  EXPECT_EQ(guard.CheckOthers(next, {&active}).message(),
            "this host allows 1 faults at a time, and 1 is active: fault first (cpu.limit, until "
            "00:00:00Z); end one with `faultline stop ID`, or wait until one has ended");
}

}  // namespace
}  // namespace faultline
