// SPDX-License-Identifier: Apache-2.0
#include "injector/host/pause_count.h"

#include "injector/host/dose.h"

namespace faultline {

void PauseCount::Begin(std::int64_t now_ns, std::int64_t error_ns) {
  if (frozen_ns_ != 0) return;
  frozen_ns_ = now_ns;
  freeze_error_ns_ = error_ns;
  empty_ns_ = 0;
}

void PauseCount::See(std::int64_t now_ns, bool stops) {
  if (frozen_ns_ == 0) return;
  if (!stops) {
    Close();
    empty_ns_ = now_ns;
    return;
  }
  if (stops_since_ns_ == 0) {
    // It came in some time since the last look.
    stops_since_ns_ = empty_ns_ == 0 ? frozen_ns_ : now_ns;
    error_ns_ = empty_ns_ == 0 ? freeze_error_ns_ : now_ns - empty_ns_;
  }
  if (first_ns_ == 0) first_ns_ = stops_since_ns_;
  last_ns_ = now_ns;
}

void PauseCount::End(std::int64_t told_ns, std::int64_t error_ns) {
  if (stops_since_ns_ != 0) {
    last_ns_ = told_ns;
    error_ns_ = error_ns;
  }
  Close();
  frozen_ns_ = 0;
}

void PauseCount::Close() {
  if (stops_since_ns_ != 0) paused_ns_ += last_ns_ - stops_since_ns_;
  stops_since_ns_ = 0;
}

Evidence PauseCount::ToEvidence() const {
  const std::int64_t now_ns = stops_since_ns_ == 0 ? 0 : last_ns_ - stops_since_ns_;
  Evidence evidence;
  evidence.dose.push_back(MakeDose("paused_ns", "ns", paused_ns_ + now_ns));
  evidence.first_touch_ns = first_ns_;
  evidence.last_touch_ns = last_ns_;
  evidence.error_ns = error_ns_;
  return evidence;
}

}  // namespace faultline
