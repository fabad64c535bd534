// SPDX-License-Identifier: Apache-2.0
//
// One fault of each family, told by the injector and seen by a witness at the same time: how far
// are the edges of its label from what really happened. A row for each family.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tests/trials/site.h"

namespace faultline {

// How long a fault of a trial lasts, and how long its witness is there before and after it.
constexpr double kTrialSeconds = 0.4;
constexpr std::int64_t kTrialBesideMs = 40;

// What a witness says, CLOCK_BOOTTIME ns.
struct Witnessed {
  std::int64_t begin_ns = 0;
  // The last thing that the fault did; what `last_touch` says.
  std::int64_t last_ns = 0;
  // The end of the effect; what `undone` says.
  std::int64_t end_ns = 0;
  // For how long at an edge it could not look, as others had its CPU: what it says of that edge is
  // known no better. 0 where it does not notice.
  std::int64_t blind_ns = 0;
};

struct Trial {
  v1::FaultState state;
  Witnessed seen;
  // The dose by the witness's own count and as it was told, where both count the same thing; -1: no
  // count.
  std::int64_t counted = -1;
  std::int64_t told = -1;
  // Of packets that nobody targets, on the same devices meanwhile.
  std::int64_t others_lost = 0;
};

class Family {
 public:
  virtual ~Family() = default;
  // A fault from before its start to after its end.
  virtual absl::StatusOr<Trial> Run() = 0;
};

using FamilyOr = absl::StatusOr<std::unique_ptr<Family>>;

// How far a touch may be from the witness's, ns, at p99 where nothing else runs.
struct TouchBounds {
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;
};

struct FamilyRow {
  const char* name;
  // Of the fault table.
  const char* type;
  TouchBounds bounds;
  // What the bounds are made of, and how the witness sees it.
  const char* note;
  FamilyOr (*make)(TrialSite*);
};

absl::Span<const FamilyRow> Families();

// Their makers. Unimplemented: this host lacks what the witness needs.
FamilyOr MakeLossIn(TrialSite* site);
FamilyOr MakeLossOut(TrialSite* site);
FamilyOr MakeRate(TrialSite* site);
FamilyOr MakeLimit(TrialSite* site);
FamilyOr MakePause(TrialSite* site);
FamilyOr MakeLeak(TrialSite* site);
FamilyOr MakeDelay(TrialSite* site);
FamilyOr MakeLoad(TrialSite* site);
FamilyOr MakeMemoryLimit(TrialSite* site);
FamilyOr MakeIoLimit(TrialSite* site);
FamilyOr MakeKill(TrialSite* site);

// Label minus witness, ms, of many trials.
struct EdgeErrors {
  std::vector<double> acked;
  std::vector<double> first_touch;
  std::vector<double> last_touch;
  std::vector<double> undone;
  // Dose told minus counted, where there is a count.
  std::vector<double> dose;
  std::int64_t others_lost = 0;
  // Trials that are not among them, as the witness could not look.
  int blind = 0;

  void Add(const Trial& trial);
  // A line for each edge.
  std::string ToString() const;
};

// How many trials: `usual`, or what FAULTLINE_TRIALS in the environment says.
int TrialCount(int usual);

// `count` trials of a family whose witness could look at both edges, to a millisecond: one that
// could not is made again, which depends on nothing that a label says. FailedPrecondition: it could
// not in most of ten times as many. The error of a trial that could not be made says which one it
// was.
absl::StatusOr<EdgeErrors> RunTrials(TrialSite* site, const FamilyRow& row, int count);

}  // namespace faultline
