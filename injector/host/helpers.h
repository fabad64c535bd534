// SPDX-License-Identifier: Apache-2.0
//
// HelperProcess programs that a fault runs inside its target, as the levers need them.
// spawned_helpers.h has the real ones, the tests have their own. One thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace faultline {

// What a helper said of itself, as of one moment; hold.h has the meanings.
struct HelperReport {
  std::int64_t held_bytes = 0;
  std::int64_t burnt_ns = 0;
  std::int64_t group_mcpus = 0;
  std::int64_t first_touch_ns = 0;
  std::int64_t last_touch_ns = 0;
  std::int64_t step_ns = 0;
  std::int64_t closing_ns = 0;
  std::int64_t closed_ns = 0;
};

// Where it is said. Outlives the helper.
class ReportPage {
 public:
  virtual ~ReportPage() = default;
  virtual HelperReport Read() const = 0;
};

// One that runs, whoever started it.
class RunningHelper {
 public:
  virtual ~RunningHelper() = default;
  virtual pid_t pid() const = 0;
  // False: it is gone with all that it held.
  virtual bool Running() const = 0;
  // Tells it to end and waits a moment for that, the first time, or has it killed. Unavailable: it
  // is still there (it gives back much memory, or cannot run); to be called again.
  virtual absl::Status End(bool kill) = 0;
};

// One of ours. It ends when this object does, whatever ends the object.
class HelperProcess : public RunningHelper {
 public:
  // Also after its end.
  virtual HelperReport Report() const = 0;
  // Lets it begin.
  virtual absl::Status Go() = 0;
};

// What is started.
struct HelperOrder {
  // Of kHelperPrograms.
  std::string program;
  std::vector<std::string> arguments;
  // Where it reports.
  std::string report;
  // A file that is open for it to read, as it could not find the way there itself; "": none.
  std::string feed;
};

class Helpers {
 public:
  virtual ~Helpers() = default;

  // OK if `program` is there. FailedPrecondition: it is not.
  virtual absl::Status Check(const std::string& program) const = 0;
  // Text of /proc/meminfo.
  virtual absl::StatusOr<std::string> Meminfo() const = 0;

  // Where the helper of fault `id` reports.
  virtual std::string ReportPath(const std::string& id) const = 0;
  // Starts one, which waits for Go.
  virtual absl::StatusOr<std::unique_ptr<HelperProcess>> Start(const HelperOrder& order) = 0;
  // What one of a predecessor's reports; null if there is none.
  virtual std::unique_ptr<ReportPage> OpenReport(const std::string& report) = 0;
  // OK where there is none.
  virtual absl::Status RemoveReport(const std::string& report) = 0;

  // Running helpers of fault `id`, whoever started them.
  virtual std::vector<pid_t> Find(const std::string& id) const = 0;
  // Whether process `pid` is a helper of any fault.
  virtual bool IsHelper(pid_t pid) const = 0;
  // Process `pid`, which somebody else started, who is gone: that has told it to end. NotFound: it
  // is no helper of fault `id` any more.
  virtual absl::StatusOr<std::unique_ptr<RunningHelper>> Open(pid_t pid, const std::string& id) = 0;
};

}  // namespace faultline
