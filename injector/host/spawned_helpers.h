// SPDX-License-Identifier: Apache-2.0
//
// The helper programs: started without a shell and with no descriptor of ours but those they need,
// killed by pidfd, found again by the fault's id in their arguments after a crash. One thread at a
// time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "injector/host/helpers.h"

namespace faultline {

// In which helpers end that have little to give back: so much of any tenth of a second for all of
// them, as the controller's mutex is held meanwhile, and others have deadlines.
class Moments {
 public:
  // Whether the process behind `pidfd` ends within one.
  bool EndsWithin(int pidfd);

 private:
  std::int64_t since_ns_ = 0;
  std::int64_t left_ns_ = 0;
};

class SpawnedHelpers final : public Helpers {
 public:
  struct Options {
    // Folder of the programs.
    std::string programs;
    // Where helpers report, a file for each fault; better in memory than on a disk.
    std::string report_dir = "/run/faultline";
    std::string proc = "/proc";
  };
  explicit SpawnedHelpers(Options options) : options_(std::move(options)) {}

  absl::Status Check(const std::string& program) const override;
  absl::StatusOr<std::string> Meminfo() const override;
  std::string ReportPath(const std::string& id) const override;
  absl::StatusOr<std::unique_ptr<HelperProcess>> Start(const HelperOrder& order) override;
  std::unique_ptr<ReportPage> OpenReport(const std::string& report) override;
  absl::Status RemoveReport(const std::string& report) override;
  std::vector<pid_t> Find(const std::string& id) const override;
  bool IsHelper(pid_t pid) const override;
  absl::StatusOr<std::unique_ptr<RunningHelper>> Open(pid_t pid, const std::string& id) override;

 private:
  std::string PathOf(const std::string& program) const;

  const Options options_;
  const std::shared_ptr<Moments> moments_ = std::make_shared<Moments>();
};

}  // namespace faultline
