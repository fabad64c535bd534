// SPDX-License-Identifier: Apache-2.0
#include "injector/protection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

// Knows where units and processes are.
struct MapOfHost {
  Protection::Lookup Lookup() {
    return {[this](absl::Span<const std::string> names) { return UnitGroups(names); },
            [this](const std::string& cgroup) { return Members(cgroup); },
            [this](const v1::Target& target) { return Resolve(target); }};
  }

  absl::StatusOr<std::vector<std::string>> UnitGroups(absl::Span<const std::string> names) {
    ++asked;
    if (!systemd) return absl::FailedPreconditionError("no systemd");
    if (!broken.ok()) return broken;
    std::vector<std::string> groups;
    for (const std::string& name : names) {
      const auto found = units.find(name);
      groups.push_back(found == units.end() ? "" : found->second);
    }
    return groups;
  }

  std::vector<pid_t> Members(const std::string& cgroup) const {
    std::vector<pid_t> members;
    for (const auto& [pid, home] : pids) {
      const bool inside = home == cgroup || absl::StartsWith(home, cgroup + "/");
      if (inside) members.push_back(std::stoi(pid));
    }
    return members;
  }

  absl::StatusOr<std::string> Resolve(const v1::Target& target) const {
    const auto found = pids.find(absl::StrCat(target.pid()));
    if (found == pids.end()) return absl::NotFoundError("it does not run");
    if (found->second == "/") return absl::InvalidArgumentError("the whole machine");
    return found->second;
  }

  bool systemd = true;
  absl::Status broken = absl::OkStatus();
  // Questions about units.
  int asked = 0;
  std::map<std::string, std::string> units;
  std::map<std::string, std::string> pids;
};

TEST(Protection, OfAUnit_IsOfItsGroup_WhatHoldsIt_AndWhatLiesInIt) {
  MapOfHost host;
  host.units = {{"ssh.service", "/system.slice/ssh.service"},
                {"nginx.service", "/web.slice/nginx.service"},
                {"dbus.service", "/"}};
  const Protection protection({"nginx.service"});
  struct Case {
    const char* cgroup;
    const char* says;
  };
  for (const Case& each :
       {Case{"/system.slice/ssh.service",
             "control group /system.slice/ssh.service is the group of unit ssh.service, which no "
             "fault may touch; name one outside"},
        Case{"/system.slice",
             "control group /system.slice holds that of unit ssh.service, "
             "/system.slice/ssh.service, which no fault may touch; name one outside"},
        Case{"/system.slice/ssh.service/a", "lies in that of unit ssh.service"},
        Case{"/web.slice", "holds that of unit nginx.service"}}) {
    const absl::Status refused = protection.Check(host.Lookup(), each.cgroup);
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << each.cgroup;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(each.says));
  }
  for (const char* free : {"/system.slice/ssh.service2", "/web.slice/other.service", "/x"}) {
    EXPECT_TRUE(protection.Check(host.Lookup(), free).ok()) << free;
  }
  EXPECT_TRUE(Protection({}).Check(host.Lookup(), "/web.slice").ok());
}

TEST(Protection, LooksUnitsUpEachTime_AndAllowsNothingBlindly) {
  MapOfHost host;
  const Protection protection({});
  EXPECT_TRUE(protection.Check(host.Lookup(), "/system.slice").ok());
  host.units["sshd.service"] = "/system.slice/sshd.service";
  EXPECT_FALSE(protection.Check(host.Lookup(), "/system.slice").ok());
  // One question, however many units there are.
  EXPECT_EQ(host.asked, 2);
  host.broken = absl::UnavailableError("systemd does not answer");
  const absl::Status blind = protection.Check(host.Lookup(), "/x");
  EXPECT_TRUE(absl::IsUnavailable(blind));
  EXPECT_THAT(std::string(blind.message()),
              HasSubstr("where the protected units run cannot be told"));
}

TEST(Protection, WithoutSystemd_GoesByProcesses) {
  std::string proc = ::testing::TempDir() + "faultline-proc-XXXXXX";
  ASSERT_NE(::mkdtemp(proc.data()), nullptr);
  const auto run = [&proc](const char* pid, const char* comm) {
    std::filesystem::create_directories(absl::StrCat(proc, "/", pid));
    std::ofstream(absl::StrCat(proc, "/", pid, "/comm")) << comm << "\n";
  };
  run("1", "init");
  run("42", "sshd");
  run("43", "systemd-journal");
  run("44", "nginx");
  std::filesystem::create_directories(proc + "/sys");
  MapOfHost host;
  host.systemd = false;
  host.pids = {{"42", "/daemons/ssh"}, {"43", "/"}, {"44", "/web"}};
  const Protection protection({}, proc);
  const absl::Status refused = protection.Check(host.Lookup(), "/daemons");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("holds that of process 42 (sshd), /daemons/ssh"));
  EXPECT_FALSE(protection.Check(host.Lookup(), "/daemons/ssh").ok());
  // Who logged in by it may have made this one.
  EXPECT_TRUE(protection.Check(host.Lookup(), "/daemons/ssh/mine").ok());
  EXPECT_TRUE(protection.Check(host.Lookup(), "/web").ok());
  std::filesystem::remove_all(proc);
}

// The injector asks before it plans.
TEST(Protection, KeepsAFaultOffAUnit) {
  ControllerWorld world;
  world.guard.protection.emplace(std::vector<std::string>{FakeUnits::kUnit});
  world.Crash();
  world.Boot();
  world.RunUnit(true);
  const std::string before = world.host.Digest();
  const auto refused = world.controller->Start(ControllerWorld::UnitSpec("cpu.limit"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  // What the target is, and once what is protected.
  EXPECT_EQ(world.host.units.asked, 2);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr(absl::StrCat("unit ", FakeUnits::kUnit)));
  EXPECT_EQ(world.host.Digest(), before);
}

}  // namespace
}  // namespace faultline
