// SPDX-License-Identifier: Apache-2.0
#include "cli/fault_view.h"

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/parse.h"
#include "cli/timing.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

std::string PhaseCell(const Terminal& terminal, const v1::FaultState& fault) {
  if (const std::string unknown = UnknownText(fault); !unknown.empty()) {
    return terminal.Paint(Colour::kBad, unknown);
  }
  const absl::string_view word = PhaseWord(fault.phase());
  switch (fault.phase()) {
    case v1::PHASE_VERIFIED:
      return terminal.Paint(Colour::kWarn, word);
    case v1::PHASE_REFUSED:
    case v1::PHASE_FAILED:
    case v1::PHASE_INTERFERED:
      return terminal.Paint(Colour::kBad, word);
    default:
      return std::string(word);
  }
}

// What is held for a run stands in the same lists.
std::string TypeCell(const v1::FaultState& fault) {
  return absl::StrCat(fault.spec().type(), fault.hold() ? " (no fault)" : "");
}

std::string PrimaryDose(const v1::FaultState& fault) {
  return fault.dose().empty() ? "-" : DoseText(fault.dose(0));
}

std::vector<std::string> Shapes(const v1::FaultInfo& info) {
  std::vector<std::string> shapes{"constant"};
  shapes.insert(shapes.end(), info.shapes().begin(), info.shapes().end());
  return shapes;
}

std::string Bound(double value, absl::string_view unit) { return AmountText(value, unit); }

std::string ParameterLine(const v1::ParameterInfo& parameter) {
  const std::string value =
      parameter.default_value().empty() ? "required" : "default " + parameter.default_value();
  std::string bounds;
  const bool bounded = parameter.kind() != "choice" && parameter.kind() != "text";
  if (bounded && (parameter.minimum() != 0 || parameter.maximum() != 0)) {
    bounds = absl::StrCat(", ", Bound(parameter.minimum(), parameter.unit()), " to ",
                          Bound(parameter.maximum(), parameter.unit()));
  }
  return absl::StrFormat("  %-12s %s (%s, %s%s)\n", parameter.name(), parameter.meaning(),
                         parameter.kind(), value, bounds);
}

}  // namespace

std::string UnknownText(const v1::FaultState& fault) {
  if (fault.unknown_since_realtime_ns() == 0) return "";
  return absl::StrCat("unknown since ", ClockText(fault.unknown_since_realtime_ns()));
}

std::string AvailabilityCell(const Terminal& terminal, v1::Availability availability) {
  Colour colour = Colour::kBad;
  if (availability == v1::AVAILABILITY_AVAILABLE) colour = Colour::kGood;
  if (availability == v1::AVAILABILITY_DEGRADED) colour = Colour::kWarn;
  return terminal.Paint(colour, AvailabilityWord(availability));
}

Table FaultsTable(const Terminal& terminal, const FaultList& faults) {
  Table table(
      {"ID", "TYPE", "TARGET", "NODE", "PHASE", "STARTED (UTC)", "LASTS", "DOSE", "REASON"});
  for (const v1::FaultState& fault : faults) {
    table.Add({fault.spec().id(), TypeCell(fault), TargetText(fault.spec().target()),
               fault.node().empty() ? "-" : fault.node(), PhaseCell(terminal, fault),
               IsToCome(fault) ? absl::StrCat("at ", ClockText(StartRealtime(fault)))
                               : ClockText(fault.edges().acked().realtime_ns()),
               DurationText(fault.spec().duration_ns()), PrimaryDose(fault), fault.reason()});
  }
  return table;
}

Table TypesTable(const v1::Capabilities& capabilities) {
  Table table({"TYPE", "STATE", "TARGETS", "SHAPES", "WHAT IT DOES"});
  for (const v1::FaultInfo& info : capabilities.faults()) {
    std::string meaning = info.meaning();
    if (!info.reason().empty()) absl::StrAppend(&meaning, " [", info.reason(), "]");
    table.Add({info.type(), std::string(AvailabilityWord(info.availability())),
               absl::StrJoin(info.targets(), ", "), absl::StrJoin(Shapes(info), ", "), meaning});
  }
  return table;
}

std::string AllowedText(const v1::Limits& limits) {
  if (limits.max_faults() == 0) return "";
  return absl::StrCat("at most ", limits.max_faults(), " faults at a time, ",
                      DurationText(limits.max_duration_ns()), " each, ", limits.max_hour_share(),
                      " % of any hour together");
}

std::string LimitsText(const v1::Limits& limits) {
  if (limits.max_faults() == 0) return "";
  std::string text = absl::StrCat("limits: ", AllowedText(limits), "\n");
  const auto add = [&text](absl::string_view what, const auto& list, absl::string_view between) {
    if (!list.empty()) absl::StrAppend(&text, what, absl::StrJoin(list, between), "\n");
  };
  add("protected: ", limits.protected_(), ", ");
  add("no network fault meets: ", limits.exempt(), ", ");
  add("every fault ends when: ", limits.stop_when(), "; ");
  absl::StrAppend(&text, limits.autonomous()
                             ? "faults that came through the collector go on without it\n"
                             : "faults that came through the collector end within 15 s of its "
                               "loss\n");
  return text;
}

std::string TypeHelp(const Terminal& terminal, const v1::FaultInfo& info) {
  std::string text =
      absl::StrCat(terminal.Paint(Colour::kBold, info.type()), ": ", info.meaning(), "\n\n",
                   AvailabilityCell(terminal, info.availability()), " on this node");
  if (!info.reason().empty()) absl::StrAppend(&text, ": ", info.reason());
  absl::StrAppend(&text, "\ntargets: ", absl::StrJoin(info.targets(), ", "),
                  info.peers() ? "; takes --peer" : "",
                  "\nshapes: ", absl::StrJoin(Shapes(info), ", "), "\ndose: ", info.dose(), "\n");
  if (!info.symptoms().empty()) {
    absl::StrAppend(&text, "shows in: ", absl::StrJoin(info.symptoms(), ", "), "\n");
  }
  absl::StrAppend(&text, info.parameters().empty() ? "no parameters\n" : "parameters:\n");
  for (const v1::ParameterInfo& parameter : info.parameters()) {
    absl::StrAppend(&text, ParameterLine(parameter));
  }
  return text;
}

std::string FaultLine(const Terminal& terminal, const v1::FaultState& fault) {
  std::string line =
      absl::StrCat(fault.spec().id(), "  ", TypeCell(fault), "  ",
                   TargetText(fault.spec().target()), "  ", PhaseCell(terminal, fault));
  if (IsToCome(fault)) absl::StrAppend(&line, ", begins at ", ClockText(StartRealtime(fault)));
  if (!fault.dose().empty()) absl::StrAppend(&line, "  ", DoseText(fault.dose(0)));
  if (!fault.reason().empty()) absl::StrAppend(&line, "  ", fault.reason());
  return line;
}

std::string EdgesText(const v1::FaultState& fault) {
  const v1::Edges& edges = fault.edges();
  const std::int64_t start = edges.commanded().boottime_ns();
  const std::array<std::pair<const char*, const v1::Edge*>, 5> all{
      {{"commanded", &edges.commanded()},
       {"acked", &edges.acked()},
       {"first touch", &edges.first_touch()},
       {"last touch", &edges.last_touch()},
       {"undone", &edges.undone()}}};
  std::string text;
  for (const auto& [name, edge] : all) {
    if (edge->boottime_ns() == 0) continue;
    absl::StrAppendFormat(&text, "%-12s %s UTC  +%.3f s", name, ClockText(edge->realtime_ns()),
                          static_cast<double>(edge->boottime_ns() - start) / 1e9);
    // Below the digits that are shown there is nothing to add.
    if (edge->error_ns() >= 500'000) {
      absl::StrAppend(&text, " (within ", DurationText(edge->error_ns()), ")");
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

std::string PlanText(const v1::Plan& plan) {
  std::string text;
  for (const v1::Change& change : plan.changes()) {
    absl::StrAppend(&text, change.kind(), " ", change.object());
    if (!change.attribute().empty()) absl::StrAppend(&text, " ", change.attribute());
    absl::StrAppend(&text, ": ", change.before().empty() ? "(none)" : change.before(), " -> ",
                    change.after().empty() ? "(none)" : change.after());
    if (!change.steps().empty()) {
      absl::StrAppend(&text, " in ", change.steps_size() + 1, " steps from ", change.steps(0));
    }
    text += "\n";
  }
  for (const std::string& note : plan.notes()) absl::StrAppend(&text, "note: ", note, "\n");
  return text;
}

}  // namespace faultline::cli
