// SPDX-License-Identifier: Apache-2.0
//
// The demo's story on a stage that stands: programs and load are started, a run is opened, five
// faults happen with quiet time between, the dataset is written and judged. Main thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/client.h"
#include "cli/demo/stage.h"
#include "cli/demo/witness.h"
#include "cli/terminal.h"

namespace faultline::cli {

// Seconds of each part; the whole stays under two minutes.
struct DemoPhases {
  int baseline = 14;
  int fault = 10;
  int quiet = 8;
};

class Demo {
 public:
  Demo(Terminal* terminal, Stage* stage, const DemoPhases& phases, std::string out)
      : terminal_(*terminal), stage_(*stage), phases_(phases), out_(std::move(out)) {}

  // Sets the scene, plays the script, writes the dataset.
  absl::Status Play();
  // Report and checks; false: something disagrees.
  absl::StatusOr<bool> Judge();

 private:
  absl::Status SetUp();
  absl::Status AwaitNode();
  absl::Status Run();
  absl::Status RunFault(const v1::FaultSpec& spec);
  absl::StatusOr<v1::FaultState> Look(const std::string& id);
  // Lets `seconds` pass with an eye on the kernel's counters.
  absl::Status Pass(const std::string& what, double seconds);
  absl::Status Watch(const std::string& what);
  absl::Status Export();
  void Step(absl::string_view line) { terminal_.Say(absl::StrCat("- ", line)); }

  Terminal& terminal_;
  Stage& stage_;
  const DemoPhases phases_;
  const std::string out_;
  std::unique_ptr<Client> client_;
  std::optional<Witness> witness_;
  std::int64_t begin_realtime_ns_ = 0;
  std::int64_t end_realtime_ns_ = 0;
  v1::ExportSummary summary_;
};

}  // namespace faultline::cli
