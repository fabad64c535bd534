// SPDX-License-Identifier: Apache-2.0
#include "collector/fan_out.h"

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace faultline {
namespace {

using Results = std::vector<absl::StatusOr<v1::CommandResult>>;

// Shared by the answers that are still to come.
class Gathering {
 public:
  Gathering(std::size_t expected, std::function<void(Results)> done)
      : missing_(expected), results_(expected, absl::UnknownError("")), done_(std::move(done)) {}

  void Add(std::size_t index, absl::StatusOr<v1::CommandResult> answer) {
    Results all;
    {
      const absl::MutexLock lock(&mutex_);
      results_[index] = std::move(answer);
      if (--missing_ > 0) return;
      all = std::move(results_);
    }
    done_(std::move(all));
  }

 private:
  absl::Mutex mutex_;
  std::size_t missing_ ABSL_GUARDED_BY(mutex_);
  Results results_ ABSL_GUARDED_BY(mutex_);
  std::function<void(Results)> done_;
};

}  // namespace

void FanOutEach(const Fleet& fleet, const std::vector<NodeCommand>& commands,
                std::chrono::system_clock::time_point deadline, std::function<void(Results)> done) {
  if (commands.empty()) return done({});
  const auto gathering = std::make_shared<Gathering>(commands.size(), std::move(done));
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const auto link = fleet.Find(commands[i].node);
    if (link == nullptr) {
      gathering->Add(i, absl::UnavailableError("not connected"));
      continue;
    }
    link->Call(commands[i].command, deadline,
               [gathering, i](absl::StatusOr<v1::CommandResult> answer) {
                 gathering->Add(i, std::move(answer));
               });
  }
}

void FanOut(const Fleet& fleet, const std::vector<std::string>& nodes, const v1::Command& command,
            std::chrono::system_clock::time_point deadline, std::function<void(Answers)> done) {
  std::vector<NodeCommand> commands;
  for (const std::string& node : nodes) commands.push_back({node, command});
  FanOutEach(fleet, commands, deadline, [nodes, done = std::move(done)](Results results) {
    Answers answers;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      answers.emplace(nodes[i], std::move(results[i]));
    }
    done(std::move(answers));
  });
}

}  // namespace faultline
