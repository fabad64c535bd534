// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event.h"

namespace faultline {
namespace {

// A tick that comes to ask about faults this long after it was due may find that the watch on the
// injector has not been read: a process that was stopped wakes up with everything at once.
constexpr std::int64_t kBehindNs = 20 * kNsPerMs;
// Sampling is no such stop, unless it took as long as none does.
constexpr std::int64_t kStoodStillNs = 300 * kNsPerMs;

void AddEvent(v1::Batch* batch, std::int64_t boottime_ns, const std::string& kind,
              const std::string& detail) {
  v1::Event* event = batch->add_events();
  event->set_boottime_ns(boottime_ns);
  event->set_kind(kind);
  event->set_detail(detail);
}

}  // namespace

Agent::Agent(AgentParts parts, std::int64_t interval_ns)
    : parts_(std::move(parts)), schedule_(interval_ns), labels_(parts_.sampler->schema()) {}

void Agent::Run(const std::stop_token& stop) {
  window_begin_ns_ = parts_.clock->Now().boottime_ns;
  while (true) {
    const TickSchedule::Tick tick = schedule_.Next(parts_.clock->Now());
    if (!parts_.clock->WaitUntil(tick.due_boottime_ns, stop)) return;
    SampleOnce(tick);
  }
}

void Agent::SampleOnce(const TickSchedule::Tick& tick) {
  v1::Batch batch;
  batch.set_schema_id(parts_.sampler->schema().id());
  v1::Frame* frame = batch.add_frames();
  frame->set_tick(tick.index);
  frame->set_begin_boottime_ns(window_begin_ns_);
  NoteStart(&batch);
  NoteSchedule(tick, &batch);
  const std::int64_t begin_ns = parts_.clock->Now().boottime_ns;
  parts_.sampler->Sample(frame, &batch);
  const bool behind = begin_ns - tick.due_boottime_ns > kBehindNs ||
                      parts_.clock->Now().boottime_ns - begin_ns > kStoodStillNs;
  Sight sight = Sight::kLost;
  const std::vector<v1::FaultState> faults = parts_.faults(behind, &sight);
  // After the last read, so that the window holds every count that is in it.
  const Instant end = parts_.clock->Now();
  frame->set_end_boottime_ns(end.boottime_ns);
  frame->set_realtime_offset_ns(end.realtime_ns - end.boottime_ns);
  // Where none is, all is known of the faults that there are: they are over.
  labels_.Fill(faults, sight == Sight::kSeen || sight == Sight::kAbsent, frame, &batch);
  NoteInjector(sight, &batch);
  window_begin_ns_ = end.boottime_ns;
  parts_.outbox->Put(batch);
  parts_.on_batch();
}

// Between the last frame of the agent before and this there is nothing, which no counter shows.
void Agent::NoteStart(v1::Batch* batch) {
  if (started_) return;
  started_ = true;
  AddEvent(batch, window_begin_ns_, "agent_started", "the agent began to sample");
}

void Agent::NoteSchedule(const TickSchedule::Tick& tick, v1::Batch* batch) {
  if (tick.stepped_ns != 0) {
    AddEvent(batch, tick.due_boottime_ns, "clock_step",
             absl::StrCat("the wall clock stepped by ", tick.stepped_ns, " ns"));
  }
  if (tick.skipped == 0) return;
  parts_.sampler->CountSkippedTicks(tick.skipped);
  AddEvent(batch, tick.due_boottime_ns, "ticks_skipped",
           absl::StrCat(tick.skipped, " ticks were not sampled: the agent did not get to run"));
  LogEvent(Event::kTicksSkipped, {{kCountField, absl::StrCat(tick.skipped)}}, tick.skipped,
           " ticks were not sampled");
}

// Seen or absent at a tick: from its end on. Lost: from the beginning of the first window at whose
// end it was not seen on, as all that is known is that it was there, or not yet looked for, at the
// tick before. Late once and then seen it was busy, and has told what was.
void Agent::NoteInjector(Sight sight, v1::Batch* batch) {
  if (!parts_.watches_injector) return;
  const v1::Frame& frame = batch->frames(0);
  if (sight == Sight::kLate) {
    if (injector_late_ns_ == 0) injector_late_ns_ = frame.begin_boottime_ns();
    return;
  }
  const std::int64_t late_ns = std::exchange(injector_late_ns_, 0);
  if (sight == injector_) return;
  const bool first = !injector_.has_value();
  injector_ = sight;
  if (sight == Sight::kSeen) {
    AddEvent(batch, frame.end_boottime_ns(), "injector_found", "the injector answers");
    LogEvent(Event::kInjectorFound, {}, "injector: it answers");
    return;
  }
  if (sight == Sight::kAbsent) {
    AddEvent(batch, frame.end_boottime_ns(), "injector_absent",
             "no injector is there, and none left a fault");
    LogEvent(Event::kInjectorAbsent, {},
             "injector: none is there, and none left a fault: until one starts, this node takes "
             "none");
    return;
  }
  const std::string detail = first ? "the injector has not answered since the agent began"
                                   : "the injector does not answer any more";
  AddEvent(batch, late_ns != 0 ? late_ns : frame.begin_boottime_ns(), "injector_lost", detail);
  LogEvent(Event::kInjectorLost, {}, "injector: ", detail,
           "; until it does, the labels of this node are unknown");
}

}  // namespace faultline
