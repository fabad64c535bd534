// SPDX-License-Identifier: Apache-2.0
//
// Labels and doses held against witnesses, and what others feel of our faults.
#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "tests/bench/faults_parts.h"
#include "tests/trials/deaths.h"
#include "tests/trials/doses.h"
#include "tests/trials/families.h"
#include "tests/trials/others.h"
#include "tests/trials/spread.h"
#include "tests/witness/stolen.h"

namespace faultline {
namespace {

constexpr int kEdgeTrials = 200;
constexpr int kDeaths = 100;
constexpr int kDoseTrials = 3;
constexpr int kOthersRounds = 50;
// What is promised of a label's touches on the network and on processors.
constexpr double kTouchMs = 5;
constexpr double kOthersLatencyUs = 100;

std::vector<double> Sizes(std::vector<double> values) {
  for (double& value : values) value = std::fabs(value);
  return values;
}

void AddEdges(const FamilyRow& row, const EdgeErrors& errors, double stolen, Figures* figures) {
  // Memory grows in steps and a disk is met over time: the promise is not for them.
  const bool promised = !absl::StartsWith(row.type, "mem.") && !absl::StartsWith(row.type, "io.");
  const std::optional<double> reach = promised ? std::optional(kTouchMs) : std::nullopt;
  const auto add = [&row, figures](const char* edge, const std::vector<double>& values,
                                   const std::optional<double>& most, const std::string& note) {
    AddQuantiles(absl::StrCat("label error of ", edge, ", ", row.name), Sizes(values), "ms",
                 {{0.5, 0.99}, most, note}, figures);
  };
  add("acked", errors.acked, {},
      absl::StrCat(row.note, " Signed, ms: ", ToString(SpreadOf(errors.acked), "ms"),
                   "; first touch: ", ToString(SpreadOf(errors.first_touch), "ms"),
                   "; last touch: ", ToString(SpreadOf(errors.last_touch), "ms"),
                   "; undone: ", ToString(SpreadOf(errors.undone), "ms"), ". ",
                   errors.blind == 0 ? ""
                                     : absl::StrCat(errors.blind,
                                                    " more were made again, as the witness's CPU "
                                                    "was another's at an edge. "),
                   absl::StrFormat("%.1f", 100 * stolen),
                   " % of the processors' time was stolen meanwhile."));
  add("first touch", errors.first_touch, reach, row.note);
  add("last touch", errors.last_touch, reach, row.note);
  add("undone", errors.undone, {}, "");
  if (errors.dose.empty()) return;
  const bool packets = absl::StartsWith(row.type, "net.");
  figures->push_back(
      {.name = absl::StrCat("dose told beside ", packets ? "packets lost, " : "processes ended, ",
                            row.name),
       .value = SpreadOf(Sizes(errors.dose)).max,
       .unit = packets ? "packets" : "processes",
       .reach_value = 0,
       .note = absl::StrCat("The largest difference of ", errors.dose.size(), " faults.",
                            packets ? absl::StrCat(" Of other flows through the same devices ",
                                                   errors.others_lost, " packets were lost.")
                                    : "")});
}

absl::Status AddDose(TrialSite* site, const DoseRow& row, Figures* figures) {
  std::vector<double> given;
  double tolerance = 0;
  for (int i = 0; i < std::min(TrialCount(kDoseTrials), kDoseTrials); ++i) {
    const absl::StatusOr<GivenDose> dose = row.measure(site, row.asked);
    if (absl::IsFailedPrecondition(dose.status()) || absl::IsUnimplemented(dose.status())) {
      figures->push_back(NotMeasured(absl::StrCat("dose given beside asked, ", row.name),
                                     dose.status().message()));
      return absl::OkStatus();
    }
    if (!dose.ok()) return dose.status();
    given.push_back(dose->given);
    tolerance = dose->tolerance;
  }
  const auto off = [&row](double one) { return std::fabs(one / row.asked - 1); };
  const double furthest = *std::max_element(
      given.begin(), given.end(), [&off](double one, double two) { return off(one) < off(two); });
  figures->push_back({.name = absl::StrCat("dose given beside asked, ", row.name),
                      .value = 100 * off(furthest),
                      .unit = "% of it",
                      .reach_value = 100 * tolerance,
                      .note = absl::StrFormat("given %.4f %s by the witness, %.4f in the middle of "
                                              "%d and this the furthest.",
                                              furthest, row.unit, Median(given), given.size())});
  return absl::OkStatus();
}

absl::Status AddOthers(TrialSite* site, const OthersRow& row, Figures* figures) {
  const absl::StatusOr<Disturbance> disturbance =
      MeasureDisturbance(site, row, TrialCount(kOthersRounds));
  if (!disturbance.ok()) return disturbance.status();
  const Others& during = disturbance->during;
  figures->push_back({.name = absl::StrCat("packets of others lost beside ", row.type),
                      .value = static_cast<double>(during.lost),
                      .unit = "packets",
                      .reach_value = 0,
                      .note = absl::StrCat("of ", during.sent, " while ", TrialCount(kOthersRounds),
                                           " faults began, lasted and ended.")});
  const Spread quiet = SpreadOf(disturbance->quiet.latencies_us);
  const Spread with = SpreadOf(during.latencies_us);
  figures->push_back(
      {.name = absl::StrCat("latency of others beside ", row.type, ", p99, more than without"),
       .value = with.p99 - quiet.p99,
       .unit = "us",
       .reach_value = kOthersLatencyUs,
       .note = absl::StrCat("without: ", ToString(quiet, "us"), "; with: ", ToString(with, "us"),
                            ".")});
  const Spread quiet_edges = SpreadOf(disturbance->quiet.at_edges_us);
  const Spread edges = SpreadOf(during.at_edges_us);
  figures->push_back(
      {.name = absl::StrCat("latency of others within 20 ms of a start or an end of ", row.type,
                            ", p99, more than without"),
       .value = edges.p99 - quiet_edges.p99,
       .unit = "us",
       .reach_value = kOthersLatencyUs,
       .note = absl::StrCat("without: ", ToString(quiet_edges, "us"),
                            "; with: ", ToString(edges, "us"), ".")});
  return absl::OkStatus();
}

absl::Status AddDeaths(Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (!site.ok()) return site.status();
  if (absl::Status can = (*site)->Check("net.loss"); !can.ok()) return can;
  const int count = TrialCount(kDeaths);
  LogInfo(count, " kills under net.loss");
  const absl::StatusOr<Deaths> deaths = MeasureDeaths(site->get(), count);
  if (!deaths.ok()) return deaths.status();
  constexpr char kName[] = "SIGKILL of the injector to the last packet lost, net.loss ";
  AddQuantiles(absl::StrCat(kName, "inbound"), deaths->inbound, "ms",
               {{0.5, 0.99, 1},
                {},
                absl::StrCat("by the witness, a datagram each 0.2 ms; the process itself was gone "
                             "after ",
                             ToString(SpreadOf(deaths->gone), "ms"), ".")},
               figures);
  AddQuantiles(absl::StrCat(kName, "outbound"), deaths->outbound, "ms", {{0.5, 0.99, 1}}, figures);
  figures->push_back({.name = "packets lost to a net.loss whose killed injector was gone",
                      .value = static_cast<double>(deaths->lost_after),
                      .unit = "packets",
                      .reach_value = 0,
                      .note = absl::StrCat("of ", count,
                                           " kills: the kernel ends the fault while "
                                           "it ends the process.")});
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchEdges(const BenchPlace& /*place*/, Figures* figures) {
  for (const FamilyRow& row : Families()) {
    if (!IsWanted(row.type)) continue;
    LogInfo(TrialCount(kEdgeTrials), " trials of ", row.name);
    const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
    if (!site.ok()) return site.status();
    const witness::Stolen stolen;
    const absl::StatusOr<EdgeErrors> errors = RunTrials(site->get(), row, TrialCount(kEdgeTrials));
    if (absl::IsUnimplemented(errors.status())) {
      figures->push_back(
          NotMeasured(absl::StrCat("label edges, ", row.name), errors.status().message()));
      continue;
    }
    if (!errors.ok()) return errors.status();
    AddEdges(row, *errors, stolen.Share(), figures);
  }
  return IsWanted("net.loss") ? AddDeaths(figures) : absl::OkStatus();
}

absl::Status BenchDoses(const BenchPlace& /*place*/, Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (!site.ok()) return site.status();
  for (const DoseRow& row : Doses()) {
    if (!IsWanted(row.type)) continue;
    absl::Status status = (*site)->Check(row.type);
    if (status.ok()) status = AddDose(site->get(), row, figures);
    if (absl::IsUnimplemented(status)) {
      figures->push_back(
          NotMeasured(absl::StrCat("dose given beside asked, ", row.name), status.message()));
    } else if (!status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status BenchOthers(const BenchPlace& /*place*/, Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (!site.ok()) return site.status();
  for (const OthersRow& row : OthersRows()) {
    if (!IsWanted(row.type)) continue;
    absl::Status status = (*site)->Check(row.type);
    if (status.ok()) status = AddOthers(site->get(), row, figures);
    if (absl::IsUnimplemented(status)) {
      figures->push_back(NotMeasured(absl::StrCat("others beside ", row.type), status.message()));
    } else if (!status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace faultline
