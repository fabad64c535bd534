// SPDX-License-Identifier: Apache-2.0
//
// What a type of fault is: one row in table.cc and one file that makes it. A fault only plans
// (which levers, in which order) and measures; the controller applies, verifies, times and undoes
// it, so that every type gets the same life cycle, journal and proof.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/faults.pb.h"
#include "injector/host/host.h"

namespace faultline {

// How a parameter is written and what it means. Bounds are in `unit`.
struct Parameter {
  enum class Kind : std::uint8_t { kPercent, kDuration, kBytes, kRate, kNumber, kChoice, kText };
  const char* name;
  Kind kind;
  // "%", "ns", "By", "bit/s", "CPU", "".
  const char* unit;
  double minimum;
  double maximum;
  // Null: it must be given. For kChoice `choices` lists what is allowed, separated by '|'.
  const char* default_value;
  const char* choices;
  const char* meaning;
};

// `value` of a parameter as people write it, e.g. "8MiB".
std::string Amount(const Parameter& parameter, double value);

// The parameters of one request, parsed, bounded and with defaults. A name that the row does not
// have is a programming error.
class Parameters {
 public:
  // InvalidArgument with a sentence that names the parameter, what is wrong and what is allowed.
  static absl::StatusOr<Parameters> Parse(absl::Span<const Parameter> row,
                                          const v1::FaultSpec& spec);
  // In the row's unit.
  double Number(absl::string_view name) const;
  std::int64_t Integer(absl::string_view name) const;
  const std::string& Text(absl::string_view name) const;
  // Whether it is as the row has it.
  bool IsDefault(absl::string_view name) const;
  // With every default filled in, as the spec reports it.
  void WriteTo(v1::FaultSpec* spec) const;

 private:
  struct Value {
    std::string name;
    std::string text;
    double number = 0;
    bool is_default = false;
  };
  const Value& Find(absl::string_view name) const;
  std::vector<Value> values_;
};

// What a fault knows when it plans.
struct Request {
  const v1::FaultSpec& spec;
  const Parameters& parameters;
  // Resolved control group.
  std::string cgroup;
  // When it begins and ends, CLOCK_BOOTTIME.
  std::int64_t start_ns = 0;
  std::int64_t deadline_ns = 0;
  Shape shape = {};
  // Peers that no network fault meets.
  std::vector<v1::PeerFilter> exempt = {};
  // Other faults that are in force at a time when it will be.
  absl::Span<const v1::FaultState* const> beside = {};
};

class Fault {
 public:
  virtual ~Fault() = default;

  // Appends the levers in the order of applying; undo goes backwards. Reads only. `notes` are
  // sentences that a person should read before starting it.
  virtual absl::Status Plan(Host& host, const Request& request,
                            std::vector<std::unique_ptr<Lever>>* levers,
                            std::vector<std::string>* notes) = 0;

  // What the controller steps through, where it follows the shape (Follower).
  virtual Shape StepsOf(const Request& request) const { return request.shape; }

  // Whether it is its own effect when the target's group goes, or comes again: then that ends no
  // fault. Its levers' Verify decides alone.
  virtual bool EndsTarget() const { return false; }

  // After Plan, by a fault whose dose is what the target's own counters grow by: what they said
  // before. Journaled, for Resume.
  virtual std::vector<v1::Dose> Baseline() const { return {}; }

  // Right before Apply of a fault that was planned some time ago: what Baseline tells is of now.
  virtual void Refresh(Host& /*host*/) {}

  // Right before the controller brings its levers to `level` of the shape (Follower): what the
  // target's own counters grow by at 0, between two pulses, is no dose. `now_ns` is CLOCK_BOOTTIME.
  virtual void BeforeLevel(Host& /*host*/, double /*level*/, std::int64_t /*now_ns*/) {}

  // Instead of Plan, for a fault of a process that died: takes what `state` last said, so that
  // Measure can go on. A fault that only sums up its levers needs nothing.
  virtual void Resume(const v1::FaultState& /*state*/, const Parameters& /*parameters*/) {}

  // What it has done so far, from the levers or from the kernel's own counters. Callable from
  // verified to undone, and after Resume with recovered levers. `now_ns` is CLOCK_BOOTTIME.
  virtual Evidence Measure(Host& host, absl::Span<const std::unique_ptr<Lever>> levers,
                           std::int64_t now_ns) = 0;
};

// Who makes the dose follow a shape.
enum class Follower : std::uint8_t {
  // The controller: Lever::SetLevel of each lever at every step.
  kController,
  // The fault's kernel programs, which get the shape when they are loaded (LossSpec::shape).
  kProgram,
  // Its helper, which gets the shape as arguments (LeakSpec::shape).
  kHelper,
};

// A row.
struct FaultType {
  const char* name;
  const char* meaning;
  absl::Span<const Parameter> parameters;
  // Kinds of target it takes, separated by '|': "cgroup|pid".
  const char* targets;
  // Takes peer filters.
  bool peers;
  // A sham has zero dose and is never labelled 1.
  bool sham;
  // Shapes that it takes beside constant, separated by '|': "ramp|pulse"; none: "".
  const char* shapes = "";
  Follower follower = Follower::kController;
  // The controller takes a ramp in steps, whoever follows pulses.
  bool ramp_in_steps = false;
  // No fault at all (v1::FaultState.hold); also a sham, for whoever does not know holds.
  bool hold = false;
  // What it needs on for its target on cgroup v2: a run has them held on its targets.
  absl::Span<const char* const> controllers = {};
  // Primary dose and its unit.
  const char* dose;
  const char* dose_unit;
  // BPF programs count it, or when it happened: after a death of the injector that is exact only
  // where there is a bpffs.
  bool ledger;
  // Columns of the cgroup table that show it, best first; "host:column" for the host's.
  absl::Span<const char* const> symptoms;
  std::unique_ptr<Fault> (*make)();
  // Whether this host can, by trying; the reason if not.
  absl::Status (*probe)(Host& host);
};

// Who follows a ramp, or else a pulse.
Follower FollowerOf(const FaultType& type, bool ramp);
// The shortest ramp, or else pulse and pause, that the row takes, ns.
std::int64_t LeastShapeNs(const FaultType& type, bool ramp);

// Every type, in the order of the docs.
absl::Span<const FaultType> FaultTypes();
// Null: there is none of that name.
const FaultType* FindFaultType(absl::string_view name);

}  // namespace faultline
