// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/outbox.h"

#include <zstd.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "base/event.h"
#include "base/log.h"

namespace faultline {
namespace {

// Level 3 is zstd's default: beyond it the agent pays CPU for a percent of size.
constexpr int kCompression = 3;

// Events of batches that were lost. They are rare: a step of the clock, an injector that went.
constexpr int kMaxEvents = 1024;

std::int64_t CountSamples(const v1::Batch& batch) {
  std::int64_t samples = 0;
  for (const v1::Frame& frame : batch.frames()) {
    for (const v1::TableFrame& table : frame.tables()) {
      for (const v1::ColumnFrame& column : table.columns()) {
        // Nulls alone: the bits are there, the values are not.
        if (column.values().empty()) continue;
        samples += column.values_size();
        for (const char byte : column.nulls()) {
          samples -= __builtin_popcount(static_cast<unsigned char>(byte));
        }
      }
    }
  }
  return samples;
}

v1::Batch RecordOf(const v1::Batch& batch) {
  v1::Batch record;
  record.set_schema_id(batch.schema_id());
  *record.mutable_faults() = batch.faults();
  *record.mutable_events() = batch.events();
  v1::Gap* const gap = record.add_gaps();
  gap->set_samples(CountSamples(batch));
  if (batch.frames().empty()) return record;
  gap->set_begin_boottime_ns(batch.frames(0).begin_boottime_ns());
  gap->set_end_boottime_ns(batch.frames(batch.frames_size() - 1).end_boottime_ns());
  return record;
}

// Of each fault only its newest state stays, of the events the newest.
void Prepend(const v1::Batch& earlier, v1::Batch* record) {
  v1::Gap* const gap = record->mutable_gaps(0);
  gap->set_first_sequence(earlier.gaps(0).first_sequence());
  gap->set_samples(gap->samples() + earlier.gaps(0).samples());
  if (earlier.gaps(0).begin_boottime_ns() != 0) {
    gap->set_begin_boottime_ns(earlier.gaps(0).begin_boottime_ns());
  }
  std::set<std::string> newer;
  for (const v1::FaultState& fault : record->faults()) newer.insert(fault.spec().id());
  for (const v1::FaultState& fault : earlier.faults()) {
    if (newer.count(fault.spec().id()) == 0) *record->add_faults() = fault;
  }
  auto* const events = record->mutable_events();
  const int own = events->size();
  events->MergeFrom(earlier.events());
  std::rotate(events->begin(), events->begin() + own, events->end());
  const int surplus = events->size() - kMaxEvents;
  if (surplus > 0) events->DeleteSubrange(0, surplus);
}

}  // namespace

v1::EncodedBatch Encode(const v1::Batch& batch, const std::string& epoch, std::uint64_t sequence) {
  const std::string plain = batch.SerializeAsString();
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(),
                                                                   ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kCompression);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::string packed(ZSTD_compressBound(plain.size()), '\0');
  const size_t size =
      ZSTD_compress2(context.get(), packed.data(), packed.size(), plain.data(), plain.size());
  // Cannot fail with a buffer of the bound's size.
  if (ZSTD_isError(size) != 0) Bug("zstd refused to compress a batch");
  packed.resize(size);
  v1::EncodedBatch encoded;
  encoded.set_epoch(epoch);
  encoded.set_sequence(sequence);
  encoded.set_decoded_bytes(static_cast<std::uint32_t>(plain.size()));
  encoded.set_payload(std::move(packed));
  return encoded;
}

Outbox::Outbox(std::string epoch, size_t max_bytes)
    : epoch_(std::move(epoch)), max_bytes_(max_bytes) {}

void Outbox::Put(const v1::Batch& batch) {
  Held held;
  held.record = RecordOf(batch);
  const std::lock_guard lock(mutex_);
  held.encoded = Encode(batch, epoch_, ++last_sequence_);
  v1::Gap* const gap = held.record.mutable_gaps(0);
  gap->set_epoch(epoch_);
  gap->set_first_sequence(last_sequence_);
  gap->set_last_sequence(last_sequence_);
  bytes_ += held.encoded.payload().size();
  held_.push_back(std::move(held));
  while (bytes_ > max_bytes_ && held_.size() > 2) DropOldest();
}

void Outbox::Replace(Held* held) {
  bytes_ -= held->encoded.payload().size();
  held->encoded = Encode(held->record, epoch_, held->encoded.sequence());
  bytes_ += held->encoded.payload().size();
}

void Outbox::BecomeGap(Held* held, absl::string_view reason) {
  held->record.mutable_gaps(0)->set_reason(std::string(reason));
  held->lost = true;
  ++lost_;
  Replace(held);
}

// The front turns into a gap record; if it already is one, the next batch's loss is added to it, so
// that one record stands for the whole range and has the range's last sequence.
void Outbox::DropOldest() {
  if (!held_.front().lost) {
    // Said once for each time that the collector is away.
    LogEvent(Event::kGap,
             {{kSequenceField, absl::StrCat(held_.front().encoded.sequence())},
              {kReasonField, "buffer_full"}},
             "the buffer is full: from batch ", held_.front().encoded.sequence(),
             " on the oldest samples are dropped and counted as a gap");
    BecomeGap(&held_.front(), "buffer_full");
    return;
  }
  const Held front = std::move(held_.front());
  held_.pop_front();
  bytes_ -= front.encoded.payload().size();
  Held& next = held_.front();
  if (!next.lost) BecomeGap(&next, "buffer_full");
  next.rejected = false;
  Prepend(front.record, &next.record);
  Replace(&next);
}

std::optional<v1::EncodedBatch> Outbox::After(std::uint64_t sent) const {
  const std::lock_guard lock(mutex_);
  const auto next = std::find_if(held_.begin(), held_.end(), [sent](const Held& held) {
    return held.encoded.sequence() > sent;
  });
  if (next == held_.end()) return std::nullopt;
  return next->encoded;
}

void Outbox::Acknowledge(std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  while (!held_.empty() && held_.front().encoded.sequence() <= sequence) {
    bytes_ -= held_.front().encoded.payload().size();
    held_.pop_front();
  }
}

bool Outbox::Reject(std::uint64_t sequence, absl::string_view reason) {
  const std::lock_guard lock(mutex_);
  // The first that reaches as far: a record of a full buffer may have swallowed the sequence.
  const auto held = std::find_if(held_.begin(), held_.end(), [sequence](const Held& candidate) {
    return candidate.encoded.sequence() >= sequence;
  });
  const bool holds = held != held_.end() && held->record.gaps(0).first_sequence() <= sequence;
  if (!holds) return false;
  if (held->rejected) {
    LogWarning("the collector refuses batch ", sequence, " once more: ", reason);
    return false;
  }
  LogEvent(Event::kGap, {{kSequenceField, absl::StrCat(sequence)}, {kReasonField, reason}},
           "the collector refuses batch ", sequence, " for ever: ", reason,
           "; it is counted as a gap");
  if (!held->lost) BecomeGap(&*held, "rejected");
  held->rejected = true;
  return true;
}

void Outbox::ForgetRefusals() {
  const std::lock_guard lock(mutex_);
  for (Held& held : held_) held.rejected = false;
}

size_t Outbox::size() const {
  const std::lock_guard lock(mutex_);
  return held_.size();
}

std::uint64_t Outbox::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

}  // namespace faultline
