// SPDX-License-Identifier: Apache-2.0
//
// The life of every fault: accepted -> journaled -> applied -> verified -> undoing -> undone, or
// refused, failed, interfered. Alone calls Apply and Restore, journals before it changes anything,
// reads back four times a second, ends each fault at its deadline or with its target, and at its
// start undoes what an earlier process left. What is held for a run lives the same life, and ends
// after the faults that stand on it. Thread-safe: one mutex, held while the host is
// changed. Destroying it is like a crash: nothing is undone; call EndAll before.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "faultline/v1/faults.pb.h"
#include "injector/guard.h"
#include "injector/halt.h"
#include "injector/host/host.h"
#include "injector/injection.h"
#include "injector/journal.h"

namespace faultline {

class Controller {
 public:
  struct Options {
    GuardPolicy guard;
    // Of this boot; rows of another one have nothing left to restore.
    std::string boot_id;
    // Why this host takes no faults at all; empty: it does.
    std::string disabled;
    // File that is there while a fault is open; empty: none is made. keeper.h.
    std::string open_mark;
    // Where the halt is kept.
    std::string halt_path;
    // False: the caller does what the thread would (RunDue), for tests and --undo.
    bool run_thread = true;
  };

  // Reads the journal and undoes what stands open in it, before anything else can start. `host`
  // and `clock` must outlive the controller.
  static absl::StatusOr<std::unique_ptr<Controller>> Create(Options options, Host* host,
                                                            Clock* clock,
                                                            std::unique_ptr<Journal> journal);
  ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // The calls of the Faults service; faults.proto has their contracts.
  v1::Capabilities GetCapabilities();
  absl::StatusOr<v1::Plan> Validate(const v1::FaultSpec& spec);
  absl::StatusOr<v1::FaultState> Start(const v1::FaultSpec& spec);
  absl::StatusOr<v1::FaultState> Stop(const std::string& id);
  absl::StatusOr<v1::HaltResponse> Halt(const std::string& reason);
  absl::StatusOr<v1::ReleaseResponse> Release();
  v1::ListResponse List(bool active_only);

  // Called with every state of List, then with every change of a phase or an edge, in order, under
  // the mutex: it must not block or call back.
  using Watcher = std::function<void(const v1::FaultState&)>;
  int Watch(bool active_only, Watcher watcher);
  void Unwatch(int watch);

  // Ends every fault and refuses new ones from now on; `reason` stands in their states. False: some
  // could not be undone yet.
  bool EndAll(const std::string& reason);

  // Calls `change`, with the journal, while nothing else is changed: for what stands beyond the
  // faults (planes.h). What this host can do is tried anew afterwards.
  void Maintain(const std::function<void(Journal&)>& change);

  // Faults of an earlier process that Create undid, or tried to.
  const std::vector<v1::FaultState>& recovered() const { return recovered_; }

  // What was wrong with the journal: faults that may have to be undone by hand.
  const std::vector<std::string>& complaints() const { return complaints_; }

  // Does what is due now: deadlines, read-backs, measurements, repeated attempts to undo.
  void RunDue();
  // When something is due next, CLOCK_BOOTTIME ns; kNever if nothing is.
  std::int64_t NextDue();
  static constexpr std::int64_t kNever = INT64_MAX;

 private:
  struct Active {
    std::unique_ptr<Injection> injection;
    std::int64_t next_save_ns = 0;
    std::int64_t next_verify_ns = 0;
    std::int64_t next_measure_ns = 0;
    // Of another attempt to undo; 0 while none has failed.
    std::int64_t next_undo_ns = 0;
  };

  Controller(Options options, Host* host, Clock* clock, std::unique_ptr<Journal> journal);
  void Loop(const std::stop_token& stop);
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::StatusOr<std::unique_ptr<Injection>> Prepare(const v1::FaultSpec& spec, Instant commanded)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::FaultState> Run(std::unique_ptr<Injection> injection)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refuse(const v1::FaultSpec& spec, Instant commanded, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One attempt; moves the fault to the finished ones when it is done.
  void End(Active& active, v1::Phase final, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of a hold that is to end: what still stands on it, a sentence; empty: nothing does.
  std::string WaitsFor(const Injection& injection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::FaultState> EndEach(const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::FaultState> ListLocked(bool active_only) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunDueOf(Active& active, std::int64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static std::int64_t NextDueOf(const Active& active);
  std::int64_t NextDueLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Moves what was due at `now_ns` to its next time.
  static void ScheduleNext(Active& active, std::int64_t now_ns);
  void MeasureNow(Injection& injection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropFinished() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Recover();
  void RecoverRow(v1::FaultState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseAfterReboot(v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Makes or removes the mark.
  void MarkOpen(bool open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const v1::FaultState* Find(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Save(const v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tries again to write the ends of `unclosed_`.
  absl::Status CloseRows() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SaveAndTell(const v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tell(const v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Between attempts to undo what could not be undone.
  static constexpr std::int64_t kUndoRetryNs = kNsPerSecond;

  const Options options_;
  Host* const host_;
  Clock* const clock_;
  const Guard guard_;
  std::vector<v1::FaultState> recovered_;
  std::vector<std::string> complaints_;

  absl::Mutex mutex_;
  std::unique_ptr<Journal> journal_ ABSL_GUARDED_BY(mutex_);
  HaltLatch halt_ ABSL_GUARDED_BY(mutex_);
  // By order of start; a deque keeps references valid while another is added.
  std::deque<Active> active_ ABSL_GUARDED_BY(mutex_);
  // Oldest first, bounded like the journal.
  std::deque<v1::FaultState> finished_ ABSL_GUARDED_BY(mutex_);
  // Oldest first; never journaled, because nothing was changed.
  std::deque<v1::FaultState> refused_ ABSL_GUARDED_BY(mutex_);
  // Ended, and open in the journal, which could not be written then. By order of their ends.
  std::deque<v1::FaultState> unclosed_ ABSL_GUARDED_BY(mutex_);
  // Of the next attempt to close them.
  std::int64_t next_close_ns_ ABSL_GUARDED_BY(mutex_) = kNever;
  // Set by EndAll: why nothing starts any more.
  std::string closed_ ABSL_GUARDED_BY(mutex_);
  std::map<int, Watcher> watches_ ABSL_GUARDED_BY(mutex_);
  int last_watch_ ABSL_GUARDED_BY(mutex_) = 0;
  // The mark of a predecessor counts, so that it goes.
  bool marked_ ABSL_GUARDED_BY(mutex_) = true;
  std::optional<v1::Capabilities> capabilities_ ABSL_GUARDED_BY(mutex_);
  // Requested to interrupt the thread's current wait.
  std::stop_source wake_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace faultline
