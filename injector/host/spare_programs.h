// SPDX-License-Identifier: Apache-2.0
//
// BPF programs of network faults that are in the kernel before somebody asks for them: to load one
// is the longest part of such a fault's start, and the next one of a series has not to wait for it.
// None stays for longer than a while after the last fault. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/bpf_object.h"
#include "base/clock.h"
#include "bpf/fault.h"

namespace faultline {

class SparePrograms {
 public:
  // What makes one spare as good as another.
  struct Kind {
    std::string name;
    fault_filters filters{};
    bool operator==(const Kind& other) const;
  };
  // An object with the program in the kernel.
  using Load = std::function<absl::StatusOr<std::unique_ptr<BpfObject>>(
      const std::string& name, const fault_filters& filters)>;
  static constexpr std::int64_t kKeptNs = 60 * kNsPerSecond;
  // A fault has one on each device.
  static constexpr size_t kMost = 8;

  explicit SparePrograms(Load load, std::int64_t kept_ns = kKeptNs)
      : load_(std::move(load)), kept_ns_(kept_ns) {}
  ~SparePrograms();
  SparePrograms(const SparePrograms&) = delete;
  SparePrograms& operator=(const SparePrograms&) = delete;

  // For the caller, and no longer a spare. Null: there is none of that kind.
  std::unique_ptr<BpfObject> Take(const Kind& kind);
  // Returns at once; one is loaded soon, in place of those of that name with other filters, unless
  // there are kMost. One that cannot be loaded is none: who asks for it is told why.
  void Prepare(Kind kind);
  // `object`, which was loaded and not used, is one again.
  void GiveBack(Kind kind, std::unique_ptr<BpfObject> object);

 private:
  struct Spare {
    Kind kind;
    std::unique_ptr<BpfObject> object;
    // CLOCK_BOOTTIME.
    std::int64_t until_ns = 0;
  };

  void Run();
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ending_ || !wanted_.empty(); }
  // Until the first one's time is over.
  absl::Duration Rest() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void DropExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Add(Kind kind, std::unique_ptr<BpfObject> object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsFull() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return spares_.size() + wanted_.size() + (loading_ ? 1 : 0) >= kMost;
  }
  // False: there can be no thread now, so there are no spares either.
  bool HasThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Load load_;
  const std::int64_t kept_ns_;
  absl::Mutex mutex_;
  std::vector<Spare> spares_ ABSL_GUARDED_BY(mutex_);
  std::deque<Kind> wanted_ ABSL_GUARDED_BY(mutex_);
  // One that is neither wanted any more nor a spare yet.
  bool loading_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  // From the first spare on.
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
