// SPDX-License-Identifier: Apache-2.0
#include "injector/host/slow_write.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <system_error>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/log.h"
#include "injector/host/text_file.h"

namespace faultline {
namespace {

// Most writes free little, and then nobody has to come back for them.
constexpr absl::Duration kMoment = absl::Milliseconds(2);

// Between two looks at one that the kernel is still at.
constexpr std::int64_t kLookNs = 2 * kNsPerMs;

// That it comes is all: both loops of the kernel look for a signal between two rounds of reclaim
// (memory_max_write of mm/memcontrol.c, mem_cgroup_resize_max of mm/memcontrol-v1.c). Of v1 the
// value is then as before; of v2 it is in force.
constexpr int kSignal = SIGUSR2;

void InstallHandler() {
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_handler = [](int /*signal*/) {};
    // Without SA_RESTART.
    return ::sigaction(kSignal, &action, nullptr) == 0;
  }();
  static_cast<void>(installed);
}

// How long its owner waits for one that the kernel does not leave: of a process that ends.
constexpr std::int64_t kPatienceNs = 2 * kNsPerSecond;

// What the thread and its owner share; the thread may outlive the owner.
struct Shared {
  bool Done() const ABSL_SHARED_LOCKS_REQUIRED(mutex) { return result.has_value(); }

  std::atomic<bool> left = false;
  absl::Mutex mutex;
  std::optional<absl::Status> result ABSL_GUARDED_BY(mutex);
};

class ThreadWrite final : public SlowWrite {
 public:
  ThreadWrite(const std::string& path, const std::string& text) {
    InstallHandler();
    thread_ = std::thread([shared = shared_, path, text] {
      sigset_t mine;
      ::sigemptyset(&mine);
      ::sigaddset(&mine, kSignal);
      ::pthread_sigmask(SIG_UNBLOCK, &mine, nullptr);
      absl::Status status =
          shared->left ? absl::CancelledError("it was not written") : WriteText(path, text);
      const absl::MutexLock lock(&shared->mutex);
      shared->result = std::move(status);
    });
    Wait();
  }
  ~ThreadWrite() override {
    // A signal that comes before the call is lost.
    const std::int64_t until_ns = Clock::System().Now().boottime_ns + kPatienceNs;
    while (!Result().has_value() && Clock::System().Now().boottime_ns < until_ns) Interrupt();
    if (Result().has_value()) {
      thread_.join();
      return;
    }
    LogError("the kernel does not leave a write that frees memory; it goes on without the thread");
    thread_.detach();
  }
  ThreadWrite(const ThreadWrite&) = delete;
  ThreadWrite& operator=(const ThreadWrite&) = delete;

  std::optional<absl::Status> Result() override {
    const absl::MutexLock lock(&shared_->mutex);
    return shared_->result;
  }

  void Interrupt() override {
    shared_->left = true;
    // Not joined yet, so it is still this thread.
    ::pthread_kill(thread_.native_handle(), kSignal);
    Wait();
  }

 private:
  void Wait() {
    const absl::MutexLock lock(&shared_->mutex);
    shared_->mutex.AwaitWithTimeout(absl::Condition(shared_.get(), &Shared::Done), kMoment);
  }

  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::thread thread_;
};

}  // namespace

absl::Status SlowWrites::Set(const std::string& value) {
  wait_ns_ = 0;
  if (now_ != nullptr && value_ != value) {
    if (absl::Status left = Leave(); !left.ok()) return left;
  }
  if (now_ == nullptr) {
    absl::StatusOr<std::unique_ptr<SlowWrite>> begun = begin_(value);
    if (!begun.ok()) return begun.status();
    now_ = *std::move(begun);
    value_ = value;
  }
  if (absl::Status same = check_(); !same.ok()) {
    now_->Interrupt();
    return same;
  }
  std::optional<absl::Status> result = now_->Result();
  if (!result.has_value()) return UnderWay();
  now_.reset();
  return *std::move(result);
}

absl::Status SlowWrites::Leave() {
  wait_ns_ = 0;
  if (now_ == nullptr) return absl::OkStatus();
  if (!now_->Result().has_value()) now_->Interrupt();
  if (!now_->Result().has_value()) return UnderWay();
  now_.reset();
  return absl::OkStatus();
}

absl::Status SlowWrites::UnderWay() {
  wait_ns_ = kLookNs;
  return absl::UnavailableError(
      absl::StrCat("the kernel still frees memory for a ", name_, " of ", value_));
}

absl::StatusOr<std::unique_ptr<SlowWrite>> BeginSlowWrite(const std::string& path,
                                                          const std::string& text) {
  try {
    return std::make_unique<ThreadWrite>(path, text);
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no thread to write ", path, " with: ", error.what(),
                     "; the service's TasksMax or the host's memory is used up"));
  }
}

bool FreesMemory(const std::string& file) {
  constexpr std::array<const char*, 3> kFiles{"memory.limit_in_bytes", "memory.max", "memory.high"};
  return std::find(kFiles.begin(), kFiles.end(), file) != kFiles.end();
}

}  // namespace faultline
