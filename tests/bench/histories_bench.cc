// SPDX-License-Identifier: Apache-2.0
//
// A million random histories of the injector on a machine in memory (tests/injector/history.h), on
// every processor. The first that ends with anything left ends the bench, and its seed tells it
// again.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "tests/bench/figure.h"
#include "tests/injector/history.h"

namespace faultline {
namespace {

constexpr std::uint64_t kHistories = 1'000'000;
constexpr int kEvents = 16;
constexpr std::uint64_t kTellEvery = 50'000;

struct Sum {
  std::atomic<std::uint64_t> next{1};
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::int64_t> started{0};
  std::atomic<std::int64_t> crashes{0};
  std::atomic<std::int64_t> disturbed{0};
  std::mutex mutex;
  // Of the first history that went wrong.
  std::string wrong;
};

void RunSome(Sum* sum) {
  for (std::uint64_t seed = sum->next++; seed <= kHistories; seed = sum->next++) {
    History history(seed);
    const std::vector<std::string> wrong = history.Run(kEvents);
    sum->started += history.counts().started;
    sum->crashes += history.counts().crashes;
    sum->disturbed += history.counts().failed_calls + history.counts().lost_calls;
    if (const std::uint64_t done = ++sum->done; done % kTellEvery == 0) {
      LogError(done, " histories of ", kHistories);
    }
    if (wrong.empty()) continue;
    const std::lock_guard lock(sum->mutex);
    if (sum->wrong.empty()) {
      sum->wrong =
          absl::StrCat("history ", seed, " of ", kEvents, " events: ", absl::StrJoin(wrong, "; "));
    }
    sum->next = kHistories + 1;
  }
}

}  // namespace

absl::Status BenchHistories(const BenchPlace& /*place*/, Figures* figures) {
  Sum sum;
  // What each fault of each history has to say is no progress.
  SetLogThreshold(Severity::kError);
  std::vector<std::jthread> threads;
  const unsigned count = std::max(1U, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < count; ++i) threads.emplace_back([&sum] { RunSome(&sum); });
  threads.clear();
  SetLogThreshold(Severity::kInfo);
  const auto done = static_cast<double>(sum.done.load());
  Figure left{.name = "histories that left something", .unit = "1"};
  left.value = sum.wrong.empty() ? 0 : 1;
  left.reach_value = 0;
  left.note = absl::StrCat("of ", sum.done.load(), " random histories: ", sum.started.load(),
                           " faults, ", sum.crashes.load(), " deaths of the injector, ",
                           sum.disturbed.load(), " calls that failed or were lost");
  figures->push_back(std::move(left));
  figures->push_back({.name = "random histories", .value = done, .unit = "1"});
  return sum.wrong.empty() ? absl::OkStatus() : absl::InternalError(sum.wrong);
}

}  // namespace faultline
