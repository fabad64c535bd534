// SPDX-License-Identifier: Apache-2.0
//
// Counters that the kernel keeps for the target itself: what they grew by since before a fault is
// its dose. They outlive the injector, and what was journaled of them lets the next one go on. One
// thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"
#include "injector/host/lever.h"

namespace faultline {

// Value of the line "KEY NUMBER" of `text`, as cpu.stat, memory.stat and memory.events have them;
// 0: there is none.
std::int64_t CountOf(absl::string_view text, absl::string_view key);

class Growth {
 public:
  struct Counter {
    const char* name;
    const char* unit;
  };
  using Readings = std::vector<std::int64_t>;

  // The first is the fault's primary dose. `source` is what they are read from, for the sentences.
  Growth(std::vector<Counter> counters, std::string source);

  // What they say before the fault, which begins at `start_ns`.
  void Begin(Readings before, std::int64_t start_ns);
  // As Fault::Baseline and Fault::Resume.
  std::vector<v1::Dose> Baseline() const { return DoseOf(before_); }
  void Resume(const v1::FaultState& state);

  // What they say now, or why that cannot be read. True: one of them moved since the last reading.
  bool Take(const absl::StatusOr<Readings>& now, std::int64_t now_ns);
  // Time between the last two readings.
  std::int64_t gap_ns() const { return gap_ns_; }
  // What they grow by from `now` on is no dose, until Continue. A reading that fails leaves a gap,
  // which evidence() tells from then on.
  void Pause(const absl::StatusOr<Readings>& now, std::int64_t now_ns);
  void Continue(const absl::StatusOr<Readings>& now, std::int64_t now_ns);
  // The fault met something, `error_ns` before `now_ns` at the earliest.
  void Touch(std::int64_t now_ns, std::int64_t error_ns);
  // A kernel program saw what it met first and last; 0: nothing yet.
  void SetTouches(std::int64_t first_ns, std::int64_t last_ns);

  // As Fault::Measure.
  const Evidence& evidence() const { return evidence_; }

 private:
  std::vector<v1::Dose> DoseOf(const Readings& readings) const;
  // What `doses` say of each counter.
  template <typename Doses>
  Readings FromDose(const Doses& doses) const;

  std::vector<Counter> counters_;
  std::string source_;
  // Empty: it is not known.
  Readings before_;
  Readings sum_;
  bool paused_ = false;
  // Why a part was not counted; empty: all was.
  std::string lost_;
  std::int64_t last_read_ns_ = 0;
  std::int64_t gap_ns_ = 0;
  Evidence evidence_;
};

}  // namespace faultline
