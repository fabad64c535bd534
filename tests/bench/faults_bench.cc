// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/status.h"
#include "tests/bench/faults_parts.h"
#include "tests/child.h"
#include "tests/trials/families.h"
#include "tests/trials/kills.h"

namespace faultline {
namespace {

constexpr int kFaultKills = 1000;

struct FaultsPart {
  const char* name;
  absl::Status (*run)(const BenchPlace&, Figures*);
  // Of the one fault that it measures; "": each.
  const char* type = "";
};

constexpr std::array<FaultsPart, 9> kFaultsParts{{
    {"starts", BenchStarts},
    {"edges", BenchEdges},
    {"doses", BenchDoses},
    {"others", BenchOthers},
    {"peers of net.rate", BenchNetworkPeers, "net.rate"},
    {"peers of net.delay", BenchDelayPeer, "net.delay"},
    {"peers of cpu.limit", BenchLimitPeer, "cpu.limit"},
    {"peers of cpu.load", BenchLoadPeer, "cpu.load"},
    {"peers of mem.leak", BenchLeakPeer, "mem.leak"},
}};

// All, or those that FAULTLINE_PART names, by how they begin, and FAULTLINE_FAULT leaves.
bool IsPartWanted(const FaultsPart& part) {
  const char* const wanted = std::getenv("FAULTLINE_PART");
  if (wanted != nullptr && !absl::StartsWith(part.name, wanted)) return false;
  return *part.type == '\0' || IsWanted(part.type);
}

absl::Status RunParts(const BenchPlace& place, Figures* figures) {
  if (std::none_of(kFaultsParts.begin(), kFaultsParts.end(), IsPartWanted)) {
    return absl::InvalidArgumentError(
        "FAULTLINE_PART names none of starts, edges, doses, others and peers, or peers of a "
        "FAULTLINE_FAULT that has none");
  }
  absl::Status result;
  for (const FaultsPart& part : kFaultsParts) {
    if (!IsPartWanted(part)) continue;
    LogInfo("faults: ", part.name);
    const absl::Status status = part.run(place, figures);
    if (absl::IsUnimplemented(status)) {
      figures->push_back(NotMeasured(part.name, status.message()));
    } else if (!status.ok() && result.ok()) {
      result = WithContext(status, part.name);
    }
  }
  return result;
}

absl::Status RunKills(Figures* figures) {
  const absl::StatusOr<Kills> kills = KillUnderFaults(TrialCount(kFaultKills), 4711);
  if (!kills.ok()) return kills.status();
  figures->push_back(
      {.name = "kills of the injector under eight faults after which something stayed",
       .value = static_cast<double>(kills->residues),
       .unit = "kills",
       .reach_value = 0,
       .note = absl::StrCat("of ", kills->kills, " SIGKILLs at random moments, ", kills->early,
                            " of them before all eight stood; ", kills->acked,
                            " faults had been acknowledged.")});
  figures->push_back({.name = "kills of the injector that came before all eight faults stood",
                      .value = 100.0 * kills->early / std::max(kills->kills, 1),
                      .unit = "%",
                      // Half of them are meant to hit the starts.
                      .reach_value = 75});
  figures->push_back({.name = "kill to the state of before, by the next start or --undo, slowest",
                      .value = kills->slowest_s,
                      .unit = "s",
                      .reach_value = 5});
  for (const absl::string_view line : absl::StrSplit(kills->left_out, '\n', absl::SkipEmpty())) {
    figures->push_back(NotMeasured("kills of the injector under more kinds of faults", line));
  }
  if (kills->residues > 0) LogError("the first that stayed: ", kills->first_residue);
  if (!kills->never_acked.empty()) {
    return absl::InternalError(absl::StrCat("no kill met these in force: ", kills->never_acked));
  }
  return absl::OkStatus();
}

// A site moves its thread into namespaces: they end with it. A bench that was killed left its
// groups.
template <typename Work>
absl::Status OnAThread(const Work& work) {
  for (const char* group : {"trial", "trial2"}) RemoveLeftGroups(group);
  absl::Status status;
  std::jthread([&status, &work] { status = work(); }).join();
  return status;
}

}  // namespace

bool IsWanted(absl::string_view type) {
  const char* const wanted = std::getenv("FAULTLINE_FAULT");
  return wanted == nullptr || type == wanted;
}

void AddQuantiles(const std::string& name, const std::vector<double>& values, const char* unit,
                  const Quantiles& quantiles, Figures* figures) {
  std::string note = quantiles.note;
  for (const double share : quantiles.shares) {
    const std::string what = share == 1 ? "max" : absl::StrCat("p", share * 100);
    Figure figure;
    figure.name = absl::StrCat(name, ", ", what);
    figure.value = Quantile(values, share);
    figure.unit = unit;
    // The middle says how it is, the end whether it is good enough.
    if (share > 0.5) figure.reach_value = quantiles.reach;
    // A miss is told with its reason: the note is of the first that has a verdict, or of the first.
    const bool last = &share == &quantiles.shares.back();
    if (!quantiles.reach.has_value() || figure.reach_value.has_value() || last) {
      figure.note = std::exchange(note, "");
    }
    figures->push_back(std::move(figure));
  }
}

absl::Status BenchFaults(const BenchPlace& place, Figures* figures) {
  return OnAThread([&place, figures] { return RunParts(place, figures); });
}

absl::Status BenchKills(const BenchPlace& /*place*/, Figures* figures) {
  return OnAThread([figures] { return RunKills(figures); });
}

}  // namespace faultline
