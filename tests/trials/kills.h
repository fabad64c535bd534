// SPDX-License-Identifier: Apache-2.0
//
// The injector killed at random moments under eight faults, others each time of all that the host
// has, on two groups, a network device and a disk, and what is left of them after the next start or
// an --undo.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace faultline {

struct Kills {
  int kills = 0;
  // Kills that came before all of the faults stood.
  int early = 0;
  // Faults that had been acknowledged, over all kills.
  int acked = 0;
  // Those of a kind that none of the kills met in force, a line each.
  std::string never_acked;
  // Kills after which the host was not as before, a fault not in a final phase, or one that had
  // been acknowledged unknown.
  int residues = 0;
  // What was found the first time.
  std::string first_residue;
  // A line for each fault that this host cannot have, with the reason.
  std::string left_out;
  // Most time from the kill to the digest of before, s.
  double slowest_s = 0;
};

// Of which eight are drawn for each kill, on a host that can have them.
std::vector<std::string> KillTypes();

absl::StatusOr<Kills> KillUnderFaults(int kills, unsigned seed);

}  // namespace faultline
