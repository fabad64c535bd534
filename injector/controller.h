// SPDX-License-Identifier: Apache-2.0
//
// The life of every fault: accepted -> journaled -> applied -> verified -> undoing -> undone, or
// refused, failed, interfered. One that is to begin later stays accepted until shortly before
// (schedule.cc). Alone calls Apply and Restore, journals before it changes anything,
// reads back four times a second, ends each fault at its deadline or with its target, and at its
// start undoes what an earlier process left. What is held for a run lives the same life, and ends
// after the faults that stand on it. Thread-safe: one mutex, held while the host is changed, never
// while a change takes its time (Lever::wait_ns). Destroying it is like a crash: nothing is undone;
// call EndAll before.
#pragma once

#include <atomic>
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
#include "injector/hour_share.h"
#include "injector/injection.h"
#include "injector/journal.h"
#include "injector/lease.h"
#include "injector/stop_conditions.h"

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
    // Peers that no network fault meets, beside the collector.
    std::vector<v1::PeerFilter> exempt;
    // Where the collector's addresses outlive this process until the boot ends; empty: nowhere.
    std::string collector_path;
    // Where a keeper reads until when the lease stands (Lease::ReadTerm); empty: nowhere.
    std::string lease_path;
    // Leased faults go on without the collector: none is.
    bool autonomous = false;
    // When this host wants no faults; read from `readings`, which must outlive the controller.
    StopLimits stop;
    HostReadings* readings = nullptr;
    // False: the caller does what the thread would (RunDue), for tests and --undo.
    bool run_thread = true;
  };

  // Reads the journal and undoes what stands open in it, before anything else can start; what takes
  // its time is begun (Settling). `host` and `clock` must outlive the controller.
  static absl::StatusOr<std::unique_ptr<Controller>> Create(Options options, Host* host,
                                                            Clock* clock,
                                                            std::unique_ptr<Journal> journal);
  ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // By the controller's clock.
  Instant Now() const { return clock_->Now(); }

  // The calls of the Faults service; faults.proto has their contracts.
  v1::Capabilities GetCapabilities();
  // `leased`: it came through agent.sock, so a fault needs a lease and ends with it.
  absl::StatusOr<v1::Plan> Validate(const v1::FaultSpec& spec, bool leased = false);
  // Start and Stop return what is so at once, although the beginning of a fault (until then it is
  // PHASE_JOURNALED) or its end may take its time.
  absl::StatusOr<v1::FaultState> Start(const v1::FaultSpec& spec, bool leased = false);
  absl::StatusOr<v1::FaultState> Stop(const std::string& id);
  // The same for a caller who waits: `answer` is called once, at once or when what takes time is
  // over, after 5 s with what is so then. Under the mutex, like a Watcher. Not called if the
  // controller goes before; EndAll calls those that wait.
  using Answer = std::function<void(absl::StatusOr<v1::FaultState>)>;
  // `commanded`: when the caller called. Blocks, without the mutex, for up to 5 s where the host is
  // too busy to tell whether the fault is allowed (Unavailable).
  void Start(const v1::FaultSpec& spec, Instant commanded, bool leased, Answer answer);
  void Stop(const std::string& id, Answer answer);
  // A start that has not begun to be planned is refused from the call on. The second answers as
  // Stop does, when each fault has ended or after 5 s.
  absl::StatusOr<v1::HaltResponse> Halt(const std::string& reason);
  using HaltAnswer = std::function<void(absl::StatusOr<v1::HaltResponse>)>;
  void Halt(const std::string& reason, HaltAnswer answer);
  absl::StatusOr<v1::ReleaseResponse> Release();
  v1::ListResponse List(bool active_only);
  absl::StatusOr<v1::LeaseResponse> RenewLease(const v1::LeaseRequest& request);

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
  // Whether something takes its time to begin or to end, and will have done so in a moment.
  bool Settling();
  // Whether no fault and no hold is active, or being undone.
  bool Idle();
  static constexpr std::int64_t kNever = INT64_MAX;

 private:
  struct Active {
    std::unique_ptr<Injection> injection;
    std::int64_t next_save_ns = 0;
    std::int64_t next_verify_ns = 0;
    std::int64_t next_measure_ns = 0;
    // Of the next attempt to apply what takes its time; 0: nothing does.
    std::int64_t next_apply_ns = 0;
    // Of another attempt to undo; 0 while none has failed.
    std::int64_t next_undo_ns = 0;
    // That something is in the way of its undo.
    bool told_delay = false;
  };

  // A fault that has not begun.
  struct Scheduled {
    // Accepted; its row in the journal is without changes.
    v1::FaultState state;
    // Injection::process_start when it was accepted.
    std::int64_t process_start = 0;
    // Planned anew and journaled, shortly before the start; null until then.
    std::unique_ptr<Injection> ready;
    // Of the next attempt to plan it, or of the start.
    std::int64_t next_ns = 0;
    const v1::FaultState& now() const { return ready == nullptr ? state : ready->state(); }
  };

  // Somebody who waits for a fault to settle.
  struct Waiting {
    std::string id;
    Answer answer;
    // When that has been long enough.
    std::int64_t until_ns = 0;
    // For its beginning.
    bool start = false;
  };

  Controller(Options options, Host* host, Clock* clock, std::unique_ptr<Journal> journal);
  void Loop(const std::stop_token& stop);
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::StatusOr<std::unique_ptr<Injection>> Prepare(const v1::FaultSpec& spec, Instant commanded,
                                                     bool leased)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::FaultState> Run(std::unique_ptr<Injection> injection)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Journals what will be changed.
  absl::Status Record(Injection& injection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Changes the host.
  absl::StatusOr<v1::FaultState> Begin(std::unique_ptr<Injection> injection)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // As far as that comes now; what takes its time goes on at next_apply_ns. Not OK: it failed.
  absl::Status Advance(Active& active) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Faults beside one that begins at `start_ns`.
  Others OthersOf(const v1::FaultSpec& spec, bool hold, std::int64_t start_ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::FaultState> Accept(const Injection& injection)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunSchedule(std::int64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is due of one; false: it is no longer scheduled.
  bool RunScheduled(Scheduled& one, std::int64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // CheckWanted of a fault that waits for its start.
  absl::Status StillWanted(const v1::FaultState& state) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MakeReady(Scheduled& one) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It never begins: refused, because of `reason`.
  v1::FaultState Cancel(const Scheduled& one, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::FaultState> CancelAll(const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseUnbegun(v1::FaultState state, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refuse(const v1::FaultSpec& spec, Instant commanded, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One attempt to end it. What came of it is kept and told by DropFinished, which follows: faults
  // whose time is over together share a commit, and none waits for that of another.
  void End(Active& active, v1::Phase final, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The first half of that. True: it has to be kept before the second, as what is told at the end
  // rests on more than that it ended; should this process die in between, the next goes on from
  // there.
  bool BeginEnd(Injection& injection, v1::Phase final, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GoOnEnding(Active& active, bool first) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of a hold that is to end: what still stands on it, a sentence, and when that will have settled
  // (Injection::settle_ns); empty: nothing does.
  std::string WaitsFor(const Injection& injection, std::int64_t* settle_ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `again`: null, or set when the host could not tell for now; nothing was refused then.
  absl::StatusOr<v1::FaultState> StartLocked(const v1::FaultSpec& spec, Instant commanded,
                                             bool leased, bool* again)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::FaultState> StopLocked(const std::string& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether nothing but time is needed until the fault has begun or ended.
  bool Settles(const std::string& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::HaltResponse> HaltLocked(const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Now, or when it has settled.
  void AnswerTo(Answer answer, absl::StatusOr<v1::FaultState> now, bool start)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those whose fault has settled, or who waited long enough.
  void AnswerSettled() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::FaultState> EndEach(const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::FaultState> ListLocked(bool active_only) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunDueOf(Active& active, std::int64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static std::int64_t NextDueOf(const Active& active);
  std::int64_t NextDueLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Moves what was due at `now_ns` to its next time.
  static void ScheduleNext(Active& active, std::int64_t now_ns);
  // Why this host wants no fault now; empty: it takes them.
  std::string WhyStopped(std::int64_t now_ns) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // FailedPrecondition: it does not, or nobody stands behind the fault.
  absl::Status CheckWanted(const FaultType& type, bool leased, std::int64_t now_ns) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckShare(const v1::FaultState& state, const Instant& now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::PeerFilter> Exempt() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::Limits LimitsNow() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // When the lease or the stop conditions are to be looked at next.
  std::int64_t NextGuardDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends what nobody stands behind any more, and everything if a stop condition holds.
  void RunGuard(std::int64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How many faults it ended, or began to.
  int EndUnwanted(bool leased_only, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MeasureNow(Injection& injection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It has ended: keeps it among the finished ones, and what it took.
  void Finish(v1::FaultState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Keeps and tells what ended, and moves it to the finished ones.
  void DropFinished() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // In one commit.
  void KeepUnsaved() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With what else ends now; at once, if that takes long.
  void KeepLater(const v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Recover();
  void RecoverRow(v1::FaultState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseAfterReboot(v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Makes or removes the mark, by what is open.
  void UpdateMark() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MarkOpen(bool open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const v1::FaultState* Find(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Save(const v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SaveEach(absl::Span<const v1::FaultState> states) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
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
  const StopConditions stop_;
  std::vector<v1::FaultState> recovered_;
  std::vector<std::string> complaints_;

  // Has a mutex of its own.
  Lease lease_;
  // Calls of Halt that have not got the mutex yet.
  std::atomic<int> halts_ = 0;

  absl::Mutex mutex_;
  std::unique_ptr<Journal> journal_ ABSL_GUARDED_BY(mutex_);
  HaltLatch halt_ ABSL_GUARDED_BY(mutex_);
  // Of the stop conditions, while a fault is active.
  std::int64_t next_look_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  // By order of start; a deque keeps references valid while another is added.
  std::deque<Active> active_ ABSL_GUARDED_BY(mutex_);
  // By order of acceptance.
  std::deque<Scheduled> scheduled_ ABSL_GUARDED_BY(mutex_);
  // Oldest first, bounded like the journal.
  std::deque<v1::FaultState> finished_ ABSL_GUARDED_BY(mutex_);
  // By all that have ended, those too that `finished_` has no room for.
  TakenTime taken_ ABSL_GUARDED_BY(mutex_);
  // Oldest first; never journaled, because nothing was changed.
  std::deque<v1::FaultState> refused_ ABSL_GUARDED_BY(mutex_);
  // What became of faults that end, not kept and told yet; empty whenever the mutex is free.
  std::vector<v1::FaultState> unsaved_ ABSL_GUARDED_BY(mutex_);
  // Since when the first of them waits, CLOCK_BOOTTIME ns.
  std::int64_t unsaved_since_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  // Ended, and open in the journal, which could not be written then. By order of their ends.
  std::deque<v1::FaultState> unclosed_ ABSL_GUARDED_BY(mutex_);
  // Of the next attempt to close them.
  std::int64_t next_close_ns_ ABSL_GUARDED_BY(mutex_) = kNever;
  // Set by EndAll: why nothing starts any more.
  std::string closed_ ABSL_GUARDED_BY(mutex_);
  std::deque<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
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
