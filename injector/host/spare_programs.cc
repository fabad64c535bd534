// SPDX-License-Identifier: Apache-2.0
#include "injector/host/spare_programs.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"

namespace faultline {

SparePrograms::~SparePrograms() {
  std::thread thread;
  {
    const absl::MutexLock lock(&mutex_);
    ending_ = true;
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

std::unique_ptr<BpfObject> SparePrograms::Take(const std::string& name,
                                               const fault_filters& filters) {
  const absl::MutexLock lock(&mutex_);
  const auto found = spares_.find(name);
  if (found == spares_.end()) return nullptr;
  if (std::memcmp(&found->second.filters, &filters, sizeof(filters)) != 0) return nullptr;
  std::unique_ptr<BpfObject> object = std::move(found->second.object);
  spares_.erase(found);
  return object;
}

void SparePrograms::Prepare(const std::string& name, const fault_filters& filters) {
  const absl::MutexLock lock(&mutex_);
  if (ending_) return;
  wanted_.push_back({name, filters});
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
}

void SparePrograms::Run() {
  while (true) {
    Wanted wanted;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithDeadline(absl::Condition(this, &SparePrograms::HasWork), NextExpiry());
      if (ending_) return;
      DropExpired();
      if (wanted_.empty()) continue;
      wanted = std::move(wanted_.front());
      wanted_.pop_front();
    }
    absl::StatusOr<std::unique_ptr<BpfObject>> object = load_(wanted.name, wanted.filters);
    if (!object.ok()) continue;
    const absl::MutexLock lock(&mutex_);
    spares_[wanted.name] = {wanted.filters, *std::move(object), absl::Now() + kept_};
  }
}

absl::Time SparePrograms::NextExpiry() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [name, spare] : spares_) next = std::min(next, spare.until);
  return next;
}

void SparePrograms::DropExpired() {
  const absl::Time now = absl::Now();
  for (auto spare = spares_.begin(); spare != spares_.end();) {
    spare = spare->second.until <= now ? spares_.erase(spare) : std::next(spare);
  }
}

}  // namespace faultline
