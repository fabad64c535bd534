// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/report.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

std::string EdgeCell(const v1::Edge& edge, std::int64_t begin_realtime_ns) {
  if (edge.boottime_ns() == 0) return "-";
  return absl::StrFormat("%.3f", static_cast<double>(edge.realtime_ns() - begin_realtime_ns) / 1e9);
}

std::string VerdictCell(const Terminal& terminal, const v1::FaultState& fault) {
  if (fault.verdict() == v1::VERDICT_EFFECTIVE) return terminal.Paint(Colour::kGood, "effective");
  if (fault.verdict() == v1::VERDICT_NO_EFFECT) return "no_effect";
  const absl::string_view word = VerdictWord(fault.verdict());
  return word.empty() ? "-" : terminal.Paint(Colour::kWarn, word);
}

struct NamedUnit {
  const char* in_name;
  const char* unit;
  // To `unit`.
  double factor;
};
constexpr NamedUnit kUnits[] = {{"_ns", "ns", 1}, {"_us", "ns", 1000}, {"_bytes", "By", 1}};

// The unit stands in the column's name: "tcp_rtt_us_p50", "block_read_bytes_per_s".
std::string ValueText(const std::string& metric, double value) {
  const bool rate = absl::EndsWith(metric, "_per_s");
  // How many there were, whatever was measured of each.
  const bool count = absl::EndsWith(metric, "_count");
  for (const NamedUnit& named : kUnits) {
    const bool named_here = absl::EndsWith(metric, named.in_name) ||
                            absl::StrContains(metric, absl::StrCat(named.in_name, "_"));
    if (!named_here || count) continue;
    return absl::StrCat(AmountText(value * named.factor, named.unit), rate ? "/s" : "");
  }
  return absl::StrCat(absl::StrFormat("%.4g", value), rate ? "/s" : "");
}

std::string MovedCell(const v1::Movement& moved) {
  return absl::StrFormat("%s  %s -> %s", moved.metric(),
                         ValueText(moved.metric(), moved.quiet_median()),
                         ValueText(moved.metric(), moved.fault_median()));
}

}  // namespace

std::string FaultReport(const Terminal& terminal, const v1::ExportSummary& summary,
                        std::int64_t begin_realtime_ns) {
  Table table({"FAULT", "COMMANDED", "ACKED", "FIRST TOUCH", "LAST TOUCH", "UNDONE", "DOSE",
               "VERDICT", "MOVED MOST (median in quiet time -> during the fault)"});
  for (const v1::FaultSummary& one : summary.faults()) {
    const v1::FaultState& fault = one.fault();
    const v1::Edges& edges = fault.edges();
    const auto cell = [&](const v1::Edge& edge) { return EdgeCell(edge, begin_realtime_ns); };
    table.Add({fault.spec().type(), cell(edges.commanded()), cell(edges.acked()),
               cell(edges.first_touch()), cell(edges.last_touch()), cell(edges.undone()),
               fault.sham() || fault.dose().empty() ? "none" : DoseText(fault.dose(0)),
               VerdictCell(terminal, fault), one.moved().empty() ? "-" : MovedCell(one.moved(0))});
    for (int i = 1; i < one.moved_size(); ++i) {
      table.Add({"", "", "", "", "", "", "", "", MovedCell(one.moved(i))});
    }
  }
  return table.Render(terminal);
}

std::string FindingReport(const Terminal& terminal, const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    absl::StrAppend(&text,
                    finding.agrees ? terminal.Paint(Colour::kGood, "ok       ")
                                   : terminal.Paint(Colour::kBad, "DISAGREES"),
                    "  ", finding.text, "\n");
  }
  return text;
}

std::string OpenHint(const std::string& dir) {
  return absl::StrCat("python3 -c 'import pandas; print(pandas.read_csv(\"", dir,
                      "/data/cgroup.csv\").groupby(\"label_state\").size())'");
}

}  // namespace faultline::cli
