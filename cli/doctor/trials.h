// SPDX-License-Identifier: Apache-2.0
//
// What `faultline doctor` finds out by doing it: each trial makes what it needs, looks, and takes
// it away again before it returns. Behind one interface, so that tests bring their own machine.
// What has no name in the file system (programs, links, network namespaces) ends with the process,
// whatever kills it; a control group that a killed doctor left is removed by the next one. One
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/credentials.h"
#include "faultline/v1/faults.pb.h"

namespace faultline::cli::doctor {

// What the kernel says of its own clock, adjtimex(2).
struct ClockReading {
  bool synchronised = false;
  std::int64_t max_error_us = 0;
};

struct Space {
  // For users without privilege.
  std::int64_t free_bytes = 0;
  std::int64_t total_bytes = 0;
  bool read_only = false;
  bool out_of_inodes = false;
};

// How a program ended, as shells say it, and what it printed.
struct ProgramEnd {
  int status = 0;
  std::string said;
};

struct Nodes {
  int known = 0;
  int connected = 0;
  // The caller's certificate may not ask: that it answers is all that is known.
  bool hidden = false;
};

class Trials {
 public:
  virtual ~Trials() = default;

  // Loads program `name` of bpf/attach_check.bpf.c alone, attaches it where its kind goes, sees it
  // there, and detaches it. "tcx": the link that the injector keeps on a device.
  virtual absl::Status Bpf(const std::string& name) = 0;
  // Unimplemented: this kernel has no queueing discipline `kind`, as a module neither.
  virtual absl::Status Qdisc(const std::string& kind) = 0;
  // The injector's standing plane, on a device of its own.
  virtual absl::Status Plane() = 0;
  // A hardware counter on CPU 0, which must count.
  virtual absl::Status Pmu() = 0;
  // OK: a bpffs is mounted where the injector expects it.
  virtual absl::Status Bpffs() = 0;

  virtual absl::StatusOr<ClockReading> ReadClock() = 0;
  virtual absl::StatusOr<Space> SpaceOf(const std::string& directory) = 0;
  // PermissionDenied: `user` may not open `path` for reading; NotFound: no such user or file.
  virtual absl::Status ReadAs(const std::string& user, const std::string& path) = 0;
  // Runs a program to its end, at most some seconds.
  virtual absl::StatusOr<ProgramEnd> Run(const std::vector<std::string>& argv) = 0;

  virtual absl::StatusOr<Nodes> AskCollector(const std::string& address, const TlsOptions& tls) = 0;
  virtual absl::StatusOr<v1::Capabilities> AskInjector(const std::string& address) = 0;
};

// On this machine.
std::unique_ptr<Trials> RealTrials();

// The parts of it: bpf_trial.cc, network_trial.cc and reading_trial.cc.
absl::Status TryBpf(const std::string& name);
absl::Status TryQdisc(const std::string& kind);
absl::Status TryPlane();
absl::Status TryTcx();
absl::Status TryReading(const std::string& user, const std::string& path);

}  // namespace faultline::cli::doctor
