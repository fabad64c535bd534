// SPDX-License-Identifier: Apache-2.0
#include "collector/fan_out.h"

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace faultline {
namespace {

// Shared by the answers that are still to come.
class Gathering {
 public:
  Gathering(std::size_t expected, std::function<void(Answers)> done)
      : missing_(expected), done_(std::move(done)) {}

  void Add(const std::string& node, absl::StatusOr<v1::CommandResult> answer) {
    Answers all;
    {
      const absl::MutexLock lock(&mutex_);
      answers_.emplace(node, std::move(answer));
      if (--missing_ > 0) return;
      all = std::move(answers_);
    }
    done_(std::move(all));
  }

 private:
  absl::Mutex mutex_;
  std::size_t missing_ ABSL_GUARDED_BY(mutex_);
  Answers answers_ ABSL_GUARDED_BY(mutex_);
  std::function<void(Answers)> done_;
};

}  // namespace

void FanOut(const Fleet& fleet, const std::vector<std::string>& nodes, const v1::Command& command,
            std::chrono::system_clock::time_point deadline, std::function<void(Answers)> done) {
  if (nodes.empty()) return done({});
  const auto gathering = std::make_shared<Gathering>(nodes.size(), std::move(done));
  for (const std::string& node : nodes) {
    const auto link = fleet.Find(node);
    if (link == nullptr) {
      gathering->Add(node, absl::UnavailableError("not connected"));
      continue;
    }
    link->Call(command, deadline, [gathering, node](absl::StatusOr<v1::CommandResult> answer) {
      gathering->Add(node, std::move(answer));
    });
  }
}

}  // namespace faultline
