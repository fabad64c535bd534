// SPDX-License-Identifier: Apache-2.0
//
// The agent's line to the injector of its node: a watch that tells every change of a fault at once,
// a question per tick for fresh doses, and commands passed on. Survives an injector that comes and
// goes or stands still. Thread-safe, but for States, which one thread calls; owns one thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "faultline/v1/faults.grpc.pb.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// Whether a tick saw the injector.
enum class Sight {
  kSeen,
  // It was asked and has not answered yet: it may be busy, and the next tick will tell.
  kLate,
  kLost,
  // There is none, and none left anything: it has not run since boot, or ended with all undone. So
  // no fault was in force.
  kAbsent,
};

class InjectorLink {
 public:
  // Called with every state that changed, from the link's thread and from those that Call is called
  // from.
  using OnChange = std::function<void(const v1::FaultState&)>;

  // `address` as gRPC writes it, "unix:/run/faultline/agent.sock"; empty: this node has no
  // injector, every command is answered with UNAVAILABLE.
  explicit InjectorLink(std::string address);
  ~InjectorLink();
  InjectorLink(const InjectorLink&) = delete;
  InjectorLink& operator=(const InjectorLink&) = delete;

  // Watches until Stop, which joins the thread: after it `on_change` is not called again. Stop also
  // ends the calls that are under way, and those to come at once.
  void Start(OnChange on_change);
  void Stop();

  // Waits until the first try to reach the injector has ended, either way, or the time is up.
  // Before that States knows nothing, which is not the same as an injector that does not answer.
  void AwaitFirstTry(std::int64_t timeout_ns);

  // The states known now, with doses of this moment if the injector was seen; else they stand as
  // last told. Waits a fifth of a second for the answer, and not at all while an earlier one is
  // still owed: then the injector is lost. On a Unix socket it is absent instead if neither the
  // socket nor a mark of an open fault is there, none of the two came or went since the call
  // before, and no fault is known that has not ended: a killed one leaves its socket. `behind`:
  // this process may not have run for a while, so what the watch would have told of faults that
  // came and went is asked for, too.
  std::vector<v1::FaultState> States(bool behind, Sight* sight);

  // The collector stands behind the faults that come through it, for `ttl_ns` from now on, and is
  // reached by `collector` (empty: not told). Passed on at once without waiting, and again before
  // each Start while it stands, as an injector may be a new one. One that is lost is followed by
  // another.
  void Renew(std::int64_t ttl_ns, const std::string& collector);

  // Passes a command on and returns its answer; blocks until the injector answers or its deadline
  // passes.
  v1::CommandResult Call(const v1::Command& command);

 private:
  // A List that was asked for by a tick; lives until gRPC has ended it.
  struct Question {
    grpc::ClientContext context;
    v1::ListRequest request;
    v1::ListResponse response;
    bool ok = false;
  };

  // A lease that was passed on; lives as a Question does.
  struct Renewal {
    grpc::ClientContext context;
    v1::LeaseRequest request;
    v1::LeaseResponse response;
  };

  void Watch(const std::stop_token& stop);
  // One watch from its beginning to its end; why it ended.
  grpc::Status WatchOnce(const std::stop_token& stop);
  // Asks for the states that there are now, of which a new watch tells one after the other.
  bool LearnAll();
  // Late: there is no answer by then. The question stays asked, as the answer to it says that the
  // injector is back. Lost: one is still owed, or the call failed.
  Sight Ask(bool active_only, std::chrono::steady_clock::time_point until,
            v1::ListResponse* response);
  // Updates what is known; true if `list` has all that is known as active.
  bool Take(v1::ListResponse* list);
  // Asks as States does.
  Sight AskAll(bool behind);
  // The same, once more if this process did not run meanwhile.
  Sight Refresh(bool behind);
  // What is left of the lease; unset: nothing.
  std::optional<v1::LeaseRequest> LeaseLeft();
  // Before a Start: the lease is there when that comes.
  void PassLease();
  grpc::Status Pass(grpc::ClientContext* context, const v1::Command& command,
                    v1::CommandResult* result);
  // A call that Stop ends, from here to Leave.
  void Enter(grpc::ClientContext* context);
  void Leave(grpc::ClientContext* context);
  void Settle(bool connected);
  // See States; `undisturbed`: nothing came or went.
  bool IsAbsent(bool undisturbed);
  void Learn(const v1::FaultState& state);

  const std::string address_;
  // Path of the Unix socket; empty: it is none.
  const std::string socket_;
  // Of the socket's folder, when States looked last.
  std::int64_t folder_changed_ns_;
  OnChange on_change_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Faults::Stub> stub_;
  std::mutex mutex_;
  std::map<std::string, v1::FaultState> states_ ABSL_GUARDED_BY(mutex_);
  bool connected_ ABSL_GUARDED_BY(mutex_) = false;
  // The first try has ended.
  bool tried_ ABSL_GUARDED_BY(mutex_) = false;
  std::condition_variable first_try_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  // Calls that are under way and may block whoever ends them.
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
  // The one that waits for its answer; null if none does.
  std::shared_ptr<Question> question_ ABSL_GUARDED_BY(mutex_);
  std::condition_variable answered_;
  // As the collector said last; CLOCK_BOOTTIME ns.
  std::int64_t lease_until_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string collector_ ABSL_GUARDED_BY(mutex_);
  // The one that is under way; null if none is.
  std::shared_ptr<Renewal> renewal_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace faultline
