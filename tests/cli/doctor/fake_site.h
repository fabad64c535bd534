// SPDX-License-Identifier: Apache-2.0
//
// A machine for the checks of `faultline doctor`: a folder that stands for its root, and trials
// that end as they are told. As made, everything is well; a test spoils what it is about. One
// thread.
#pragma once

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/authority.h"
#include "cli/credential_folder.h"
#include "cli/doctor/check.h"

namespace faultline::cli::doctor {

class FakeTrials final : public Trials {
 public:
  absl::Status Bpf(const std::string& name) override { return Asked("bpf/" + name, bpf); }
  absl::Status Qdisc(const std::string& kind) override { return Asked("qdisc/" + kind, qdisc); }
  absl::Status Plane() override { return Asked("plane", plane); }
  absl::Status Pmu() override { return Asked("pmu", pmu); }
  absl::Status Bpffs() override { return Asked("bpffs", bpffs); }
  absl::StatusOr<ClockReading> ReadClock() override { return clock; }
  absl::StatusOr<Space> SpaceOf(const std::string& directory) override {
    (void)Asked(directory, absl::OkStatus());
    return space;
  }
  absl::Status ReadAs(const std::string& user, const std::string& path) override {
    return Asked(absl::StrCat(user, " reads ", path), reading);
  }
  absl::StatusOr<ProgramEnd> Run(const std::vector<std::string>& argv) override {
    ran = argv;
    return program;
  }
  absl::StatusOr<Nodes> AskCollector(const std::string& address, const TlsOptions&) override {
    (void)Asked(address, absl::OkStatus());
    return nodes;
  }
  absl::StatusOr<v1::Capabilities> AskInjector(const std::string& address) override {
    (void)Asked(address, absl::OkStatus());
    return capabilities;
  }

  absl::Status bpf;
  absl::Status qdisc;
  absl::Status plane;
  absl::Status pmu;
  absl::Status bpffs;
  absl::Status reading;
  absl::StatusOr<ClockReading> clock = ClockReading{true, 12'000};
  absl::StatusOr<Space> space = Space{std::int64_t{20} << 30, std::int64_t{40} << 30, false, false};
  absl::StatusOr<ProgramEnd> program = ProgramEnd{0, ""};
  absl::StatusOr<Nodes> nodes = Nodes{3, 2, false};
  absl::StatusOr<v1::Capabilities> capabilities = v1::Capabilities();
  std::vector<std::string> asked;
  std::vector<std::string> ran;

 private:
  absl::Status Asked(const std::string& what, const absl::Status& answer) {
    asked.push_back(what);
    return answer;
  }
};

class DoctorTest : public ::testing::Test {
 protected:
  DoctorTest() {
    std::string pattern = ::testing::TempDir() + "faultline-doctor-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    Write("/sys/kernel/btf/vmlinux", std::string("\x9f\xeb\x01", 3));
    Write("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    Write("/proc/sys/kernel/perf_event_paranoid", "2\n");
    for (const char* file : {"cpu", "memory", "io"}) {
      Write(absl::StrCat("/proc/pressure/", file), "some avg10=0.00 avg60=0.00\n");
    }
    UseCgroups({{"cgroup2", "0", "cpuset cpu io memory pids"}});
    for (const char* service : {"agent", "injector", "collector"}) {
      Write(absl::StrCat("/etc/faultline/", service, ".yaml"), "");
    }
    Write("/run/faultline/root.sock", "");
    Write("/run/faultline/agent.sock", "");
    std::filesystem::create_directories(root_ + "/var/lib/faultline/injector");
    std::filesystem::create_directories(root_ + "/var/lib/faultline-collector");
    v1::FaultInfo* fault = trials_.capabilities->add_faults();
    fault->set_type("net.rate");
    fault->set_availability(v1::AVAILABILITY_AVAILABLE);

    site_.root = root_;
    site_.kernel_release = "6.1.0-28-amd64";
    site_.machine = "x86_64";
    site_.capabilities = ~Capabilities{0};
    site_.is_root = true;
    site_.programs = {{kAgent, "/usr/sbin/faultline-agent"},
                      {kInjector, "/usr/sbin/faultline-injector"},
                      {kCollector, "/usr/sbin/faultline-collector"}};
    site_.config_dir = root_ + "/etc/faultline";
    site_.collector = "127.0.0.1:4640";
    site_.now = absl::FromUnixSeconds(1'800'000'000);
    site_.trials = &trials_;
  }
  ~DoctorTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full, std::ios::binary) << text;
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(root_ + path); }

  struct Hierarchy {
    const char* type;
    const char* id;
    const char* controllers;
  };
  // Mounts these instead of what is mounted.
  void UseCgroups(const std::vector<Hierarchy>& hierarchies) {
    std::string mounts;
    std::string self;
    for (const Hierarchy& each : hierarchies) {
      const bool v2 = std::string(each.type) == "cgroup2";
      const std::string mount = absl::StrCat("/sys/fs/cgroup/", v2 ? "unified" : each.controllers);
      Write(mount + "/cgroup.controllers", each.controllers);
      absl::StrAppend(&mounts, "30 20 0:26 / ", root_, mount, " rw - ", each.type, " none rw,",
                      v2 ? "" : each.controllers, "\n");
      absl::StrAppend(&self, each.id, ":", v2 ? "" : each.controllers, ":/\n");
    }
    Write("/proc/self/mountinfo", mounts);
    Write("/proc/self/cgroup", self);
  }

  // A folder with a certificate of `role`, valid until `end`.
  void WriteCertificate(Role role, const std::string& name, absl::Time end) {
    absl::StatusOr<Authority> authority =
        Authority::Make({site_.now - absl::Hours(2), site_.now + absl::Hours(24 * 3650)});
    ASSERT_TRUE(authority.ok());
    const absl::StatusOr<Credential> own = authority->Pem();
    const absl::StatusOr<Credential> made =
        authority->Issue({role, name}, {site_.now - absl::Hours(1000), end});
    ASSERT_TRUE(made.ok()) << made.status();
    std::filesystem::create_directories(root_ + "/etc/faultline");
    ASSERT_TRUE(
        WriteCredentialFolder(
            root_ + "/etc/faultline/tls",
            {{"ca.pem", own->certificate}, {"cert.pem", made->certificate}, {"key.pem", made->key}},
            true)
            .ok());
  }

  static const Check& Row(absl::string_view name) {
    for (const Check& check : Checks()) {
      if (check.name == name) return check;
    }
    ADD_FAILURE() << "there is no check " << name;
    return Checks().front();
  }
  Verdict Look(absl::string_view name) { return Examine(site_, Row(name)); }

  std::string root_;
  FakeTrials trials_;
  Site site_;
};

}  // namespace faultline::cli::doctor
