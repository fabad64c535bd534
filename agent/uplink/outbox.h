// SPDX-License-Identifier: Apache-2.0
//
// Batches between the loop that makes them and the stream that sends them, bounded in bytes. A
// batch stays until the collector acknowledged it. When the bound is reached the frames of the
// oldest go; a gap record takes their place, so that every sequence is either sent or accounted
// for. What the batch said of faults and of the sampling stays: nobody says it again. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// `batch` compressed, ready to be sent and stored as it is.
v1::EncodedBatch Encode(const v1::Batch& batch, const std::string& epoch, std::uint64_t sequence);

class Outbox {
 public:
  // `epoch`: 16 random bytes of this start. `max_bytes` bounds the payloads held.
  Outbox(std::string epoch, size_t max_bytes);

  // Takes a batch and gives it the next sequence.
  void Put(const v1::Batch& batch);

  // The next batch after `sent` (0: the oldest held); nullopt if there is none.
  std::optional<v1::EncodedBatch> After(std::uint64_t sent) const;

  // Everything up to `sequence` is durable at the collector.
  void Acknowledge(std::uint64_t sequence);

  // The collector will never take `sequence`: a gap record takes its place, under the same number,
  // and is held until it is acknowledged. True: it is to be sent. False: nothing of it is held any
  // more, or what the collector refused is that record itself, which its Ack will end.
  bool Reject(std::uint64_t sequence, absl::string_view reason);

  // A new stream: what was refused on the last one may be refused again, as the collector forgets.
  void ForgetRefusals();

  const std::string& epoch() const { return epoch_; }
  // Batches that are not acknowledged.
  size_t size() const;
  // Batches that became gaps so far.
  std::uint64_t lost() const;

 private:
  struct Held {
    v1::EncodedBatch encoded;
    // What takes the batch's place when its frames go: one gap, which ends at the batch's sequence,
    // and its faults and events.
    v1::Batch record;
    // The record has taken its place.
    bool lost = false;
    // The collector has refused what the record stands for.
    bool rejected = false;
  };

  void DropOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BecomeGap(Held* held, absl::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts the record, as it is now, in the place of what is held.
  void Replace(Held* held) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string epoch_;
  const size_t max_bytes_;
  mutable std::mutex mutex_;
  std::deque<Held> held_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace faultline
