// SPDX-License-Identifier: Apache-2.0
//
// What the store takes: a batch that was decoded and checked against its schema, reduced to what
// the catalogue needs of it. The samples stay in the payload, as they came. A plain value.
#pragma once

#include <cstdint>
#include <set>

#include "faultline/v1/telemetry.pb.h"

namespace faultline {

struct CheckedBatch {
  // As received.
  v1::EncodedBatch encoded;
  // Without frames.
  v1::Batch content;
  // Window of its frames, CLOCK_REALTIME ns of the node; 0: it has none.
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  // CLOCK_REALTIME minus CLOCK_BOOTTIME at the end of its last frame.
  std::int64_t realtime_offset_ns = 0;
  // Values in it, nulls not counted.
  std::int64_t samples = 0;
  // Fault states that had no usable id and are not in `content`.
  int faults_dropped = 0;
  // Sequences of its epoch that were rejected once, and whose gap records are on their way: a hole
  // there is none to report.
  std::set<std::uint64_t> awaited;
};

}  // namespace faultline
