// SPDX-License-Identifier: Apache-2.0
//
// BPF programs of network faults that are loaded before somebody asks: the kernel's verifier takes
// a third of the time that such a fault needs to start, and the next one of a series has not to
// wait for it. One of each name, and none for longer than a while after the last fault: a host at
// rest shows no program. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/bpf_object.h"
#include "bpf/fault.h"

namespace faultline {

class SparePrograms {
 public:
  // An object with program `name` in the kernel, which meets what `filters` take.
  using Load = std::function<absl::StatusOr<std::unique_ptr<BpfObject>>(
      const std::string& name, const fault_filters& filters)>;
  static constexpr absl::Duration kKept = absl::Minutes(1);

  explicit SparePrograms(Load load, absl::Duration kept = kKept)
      : load_(std::move(load)), kept_(kept) {}
  ~SparePrograms();
  SparePrograms(const SparePrograms&) = delete;
  SparePrograms& operator=(const SparePrograms&) = delete;

  // For the caller, and no longer a spare. Null: there is none with just these filters.
  std::unique_ptr<BpfObject> Take(const std::string& name, const fault_filters& filters);
  // Returns at once; one is loaded soon, in place of another of that name. One that cannot be
  // loaded is none: who asks for it is told why.
  void Prepare(const std::string& name, const fault_filters& filters);

 private:
  struct Spare {
    fault_filters filters{};
    std::unique_ptr<BpfObject> object;
    absl::Time until;
  };
  struct Wanted {
    std::string name;
    fault_filters filters{};
  };

  void Run();
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ending_ || !wanted_.empty(); }
  absl::Time NextExpiry() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void DropExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Load load_;
  const absl::Duration kept_;
  absl::Mutex mutex_;
  std::map<std::string, Spare> spares_ ABSL_GUARDED_BY(mutex_);
  std::deque<Wanted> wanted_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  // From the first Prepare on.
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
