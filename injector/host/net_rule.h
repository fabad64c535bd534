// SPDX-License-Identifier: Apache-2.0
//
// From what a person asks to what the BPF programs of the network faults are given: peer filters as
// words and masks, and a seed per program. Pure functions, any thread.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bpf/fault.h"
#include "faultline/v1/faults.pb.h"
#include "injector/faults/shape.h"

namespace faultline {

// Filters that take the packets of `peers`, but never those of `exempt`. InvalidArgument with a
// sentence that says which filter is wrong and what would be right.
absl::StatusOr<fault_filters> MakeFilters(absl::Span<const v1::PeerFilter> peers,
                                          absl::Span<const v1::PeerFilter> exempt = {});

// Has the programs follow `shape`, from `start_ns` on, CLOCK_BOOTTIME.
void SetShape(const Shape& shape, std::int64_t start_ns, fault_rule* rule);

// Each program of a fault draws from a sequence of its own: 0 is the inbound one, outbound devices
// follow from 1 in the order of the request.
std::uint64_t StreamSeed(std::uint64_t seed, std::uint32_t stream);

}  // namespace faultline
