// SPDX-License-Identifier: Apache-2.0
#include "injector/host/spare_programs.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

namespace faultline {
namespace {

std::int64_t NowNs() { return Clock::System().Now().boottime_ns; }

}  // namespace

bool SparePrograms::Kind::operator==(const Kind& other) const {
  // It has no padding.
  return name == other.name && std::memcmp(&filters, &other.filters, sizeof(filters)) == 0;
}

SparePrograms::~SparePrograms() {
  std::thread thread;
  {
    const absl::MutexLock lock(&mutex_);
    ending_ = true;
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

std::unique_ptr<BpfObject> SparePrograms::Take(const Kind& kind) {
  const absl::MutexLock lock(&mutex_);
  const auto found = std::find_if(spares_.begin(), spares_.end(),
                                  [&kind](const Spare& spare) { return spare.kind == kind; });
  if (found == spares_.end()) return nullptr;
  std::unique_ptr<BpfObject> object = std::move(found->object);
  spares_.erase(found);
  return object;
}

void SparePrograms::Prepare(Kind kind) {
  const absl::MutexLock lock(&mutex_);
  if (IsFull() || !HasThread()) return;
  wanted_.push_back(std::move(kind));
}

void SparePrograms::GiveBack(Kind kind, std::unique_ptr<BpfObject> object) {
  const absl::MutexLock lock(&mutex_);
  if (IsFull() || !HasThread()) return;
  Add(std::move(kind), std::move(object));
}

bool SparePrograms::HasThread() {
  if (ending_) return false;
  if (thread_.joinable()) return true;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error&) {
    // The service's TasksMax, or the machine's, is used up.
    return false;
  }
  return true;
}

void SparePrograms::Run() {
  while (true) {
    Kind kind;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &SparePrograms::HasWork), Rest());
      if (ending_) return;
      DropExpired();
      if (wanted_.empty()) continue;
      kind = std::move(wanted_.front());
      wanted_.pop_front();
      loading_ = true;
    }
    absl::StatusOr<std::unique_ptr<BpfObject>> object = load_(kind.name, kind.filters);
    const absl::MutexLock lock(&mutex_);
    loading_ = false;
    if (object.ok()) Add(std::move(kind), *std::move(object));
  }
}

void SparePrograms::Add(Kind kind, std::unique_ptr<BpfObject> object) {
  const auto other = [&kind](const Spare& spare) {
    return spare.kind.name == kind.name && !(spare.kind == kind);
  };
  spares_.erase(std::remove_if(spares_.begin(), spares_.end(), other), spares_.end());
  spares_.push_back({std::move(kind), std::move(object), NowNs() + kept_ns_});
}

absl::Duration SparePrograms::Rest() const {
  if (spares_.empty()) return absl::InfiniteDuration();
  std::int64_t next_ns = spares_.front().until_ns;
  for (const Spare& spare : spares_) next_ns = std::min(next_ns, spare.until_ns);
  return absl::Nanoseconds(std::max<std::int64_t>(0, next_ns - NowNs()));
}

void SparePrograms::DropExpired() {
  const std::int64_t now_ns = NowNs();
  const auto expired = [now_ns](const Spare& spare) { return spare.until_ns <= now_ns; };
  spares_.erase(std::remove_if(spares_.begin(), spares_.end(), expired), spares_.end());
}

}  // namespace faultline
