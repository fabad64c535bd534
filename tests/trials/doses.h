// SPDX-License-Identifier: Apache-2.0
//
// How much of a fault was asked for, and how much a witness saw. A row for each amount.
#pragma once

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tests/trials/site.h"

namespace faultline {

struct GivenDose {
  // By the witness, in the unit of what was asked.
  double given = 0;
  // By the injector's own count, in the same unit; -1: it has none of that.
  double told = -1;
  // Share of `asked` that the two may differ by: what chance does, and at least 2 %.
  double tolerance = 0.02;
};

struct DoseRow {
  // E.g. "net.loss of 10 %".
  const char* name;
  // Of the fault table.
  const char* type;
  double asked;
  const char* unit;
  // FailedPrecondition: this machine is too slow to tell. Unimplemented: it lacks what the witness
  // needs.
  absl::StatusOr<GivenDose> (*measure)(TrialSite*, double asked);
};

absl::Span<const DoseRow> Doses();

// What a datagram takes on `path`, the middle of 300 ms of them, ms.
double MedianLatencyMs(const witness::Packets::Path& path);

// Measures of faults that have a file of their own for all their trials.
absl::StatusOr<GivenDose> MeasureLoad(TrialSite* site, double cpus);
absl::StatusOr<GivenDose> MeasureMemoryLimit(TrialSite* site, double mebibytes);
absl::StatusOr<GivenDose> MeasureReadLimit(TrialSite* site, double mebibytes_per_second);
absl::StatusOr<GivenDose> MeasureWriteLimit(TrialSite* site, double mebibytes_per_second);
absl::StatusOr<GivenDose> MeasureOperationsLimit(TrialSite* site, double reads_per_second);
absl::StatusOr<GivenDose> MeasureKills(TrialSite* site, double processes);

// `given` relative to `asked`, less 1; 0.02 is 2 % too much.
double DoseError(const DoseRow& row, const GivenDose& dose);

}  // namespace faultline
