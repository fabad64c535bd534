// SPDX-License-Identifier: Apache-2.0
//
// KERNEL -> FRAME. Owns every source of samples: opens what this host allows, says of each metric
// whether it can be measured, and fills one frame per call. Owned and called by the agent's loop
// only; one thread.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

struct SamplerOptions {
  // Roots, so that tests can bring their own files.
  std::string proc = "/proc";
  std::string sys = "/sys";
  // Load BPF programs and open perf events; off: files only.
  bool kernel = true;
  // Control groups that get a row of their own; the rest is folded into "~other". At most
  // CGROUP_SLOTS - 1.
  int max_cgroups = 64;
};

class Sampler {
 public:
  // Opens every source. A source that cannot work makes its metrics "missing", never an error; the
  // errors here are a host without /proc or a bad option.
  static absl::StatusOr<std::unique_ptr<Sampler>> Create(const SamplerOptions& options);
  virtual ~Sampler() = default;

  // Tables and columns with their verdicts; fixed from Create on. Includes the table "fault", whose
  // values the labels fill.
  virtual const v1::Schema& schema() const = 0;

  // Reads every source once. Appends one TableFrame per table (except "fault") to `frame`, the
  // entities that it refers to to `batch`, and events worth telling. Counters are the increments
  // since the call before; the first call yields nulls for them.
  virtual void Sample(v1::Frame* frame, v1::Batch* batch) = 0;

  // The loop missed `ticks` ticks: reported by the self-metric.
  virtual void CountSkippedTicks(std::int64_t ticks) = 0;
};

}  // namespace faultline
