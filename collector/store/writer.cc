// SPDX-License-Identifier: Apache-2.0
#include "collector/store/writer.h"

#include <utility>

#include "base/event.h"

namespace faultline {

Writer::Writer(std::unique_ptr<Database> database)
    : database_(std::move(database)), thread_([this] { Loop(); }) {}

Writer::~Writer() {
  {
    const absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  thread_.join();
}

void Writer::Submit(Work work, Done done) {
  const absl::MutexLock lock(&mutex_);
  queue_.push_back(Job{std::move(work), std::move(done), absl::OkStatus()});
}

void Writer::Loop() {
  while (true) {
    std::vector<Job> jobs;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](Writer* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
            return self->closing_ || !self->queue_.empty();
          },
          this));
      if (queue_.empty()) return;
      jobs.swap(queue_);
    }
    Commit(&jobs);
    for (Job& job : jobs) job.done(job.status);
  }
}

void Writer::Commit(std::vector<Job>* jobs) {
  absl::Status status = database_->Run("BEGIN IMMEDIATE");
  if (status.ok()) {
    for (Job& job : *jobs) {
      RunOne(&job);
      // A full disk or an I/O error ends the whole transaction, and earlier jobs with it.
      if (!database_->in_transaction()) {
        status = job.status;
        break;
      }
    }
    if (status.ok()) status = database_->Run("COMMIT");
    if (database_->in_transaction()) (void)database_->Run("ROLLBACK");
  }
  if (status.ok()) return;
  LogEvent(Event::kStoreFailed, {{kReasonField, status.message()}},
           "nothing was stored: ", status.ToString());
  for (Job& job : *jobs) {
    if (job.status.ok()) job.status = status;
  }
}

void Writer::RunOne(Job* job) {
  job->status = database_->Run("SAVEPOINT job");
  if (!job->status.ok()) return;
  job->status = job->work(*database_);
  if (!job->status.ok()) (void)database_->Run("ROLLBACK TO job");
  const absl::Status released = database_->Run("RELEASE job");
  if (job->status.ok()) job->status = released;
}

}  // namespace faultline
