// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/card.h"

#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "collector/dataset/csv.h"
#include "proto/words.h"

namespace faultline {
namespace {

void AppendHead(const v1::Run& run, bool open, std::string* card) {
  absl::StrAppend(card, "# Dataset ", run.name(), "\n\nMeasured and labelled by Faultline ",
                  FAULTLINE_VERSION, ". Every number on this page was counted by the tool.\n\n",
                  "- From ", TimeText(run.begin_realtime_ns()), " to ",
                  TimeText(run.end_realtime_ns()),
                  open ? " (the run was still open when it was exported)" : "", ".\n");
  if (!run.note().empty()) absl::StrAppend(card, "- Note: ", run.note(), "\n");
}

// Of a run that named what it is about; of others nothing was held, and nothing is said.
void AppendTargets(const v1::Run& run, std::string* card) {
  for (const v1::RunTarget& target : run.targets()) {
    absl::StrAppend(card, "- Target ", TargetText(target.target()), " on ", target.node(),
                    ": the control group controllers that faults need were held on");
    switch (target.held()) {
      case v1::HELD_ALL:
        absl::StrAppend(card, " from before the first window to after the last");
        break;
      case v1::HELD_PART:
        absl::StrAppend(card, ", but not to the end");
        break;
      case v1::HELD_UNKNOWN:
        absl::StrAppend(card, " at the begin");
        break;
      default:
        absl::StrAppend(card, " at the begin of the run, which is still open");
    }
    absl::StrAppend(card, target.remark().empty() ? "" : "; ", target.remark(), ".\n");
  }
}

void AppendNodes(const std::vector<NodeData>& nodes, std::string* card) {
  for (const NodeData& node : nodes) {
    const v1::Node& about = node.status.node();
    absl::StrAppend(card, "- Node ", node.name, ": ", about.os(), ", kernel ", about.kernel(), ", ",
                    about.arch(), ", ", about.cpus(), " CPUs, cgroups ", about.cgroup_mode(),
                    ", one window every ",
                    absl::StrFormat("%g", static_cast<double>(node.status.interval_ns()) / 1e9),
                    " s.\n");
  }
}

std::string Share(std::int64_t part, std::int64_t whole) {
  if (whole == 0) return "-";
  return absl::StrFormat("%.2f %%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

void AppendTables(const Tally& tally, std::string* card) {
  absl::StrAppend(card,
                  "\n## Tables\n\n| file | rows | samples | missing values | rows with label "
                  "1 | rows of the target |\n|---|---|---|---|---|---|\n");
  for (const TableTally& table : tally.tables) {
    absl::StrAppend(card, "| data/", table.name, ".csv | ", table.rows, " | ", table.samples, " | ",
                    table.nulls, " | ", table.labelled, " (", Share(table.labelled, table.rows),
                    ") | ", table.labelled_target, " |\n");
  }
}

void AppendLabels(const Tally& tally, std::string* card) {
  absl::StrAppend(card, "\n## Labels\n\n", tally.windows, " windows of all nodes together, ",
                  tally.windows_labelled, " with label 1 (",
                  Share(tally.windows_labelled, tally.windows),
                  ").\n\n| label_state | windows |\n|---|---|\n");
  for (int i = 0; i < kLabelStates; ++i) {
    absl::StrAppend(card, "| ", LabelStateName(static_cast<LabelState>(i)), " | ",
                    tally.states[static_cast<std::size_t>(i)], " |\n");
  }
  absl::StrAppend(
      card,
      "\nEvery label column is derived from the faults' edges (faults.csv). Cross-check "
      "against what the nodes said in each window about active faults: ",
      tally.windows_differing, " of ", tally.windows, " windows differ.\n");
}

std::string Moved(const FaultInterval& fault) {
  std::string text;
  for (const v1::Movement& movement : fault.moved) {
    absl::StrAppend(&text, text.empty() ? "" : "<br>", movement.metric(), ": ",
                    absl::StrFormat("%.4g to %.4g (%.1f MAD)", movement.quiet_median(),
                                    movement.fault_median(), movement.score()));
  }
  return text;
}

// Of what ended badly, or never began, the injector's own words.
std::string Remark(const FaultInterval& fault) {
  return fault.note.empty() || !fault.Changed() ? fault.state.reason() : fault.note;
}

// A bar would end the cell.
std::string Cell(const std::string& text) { return absl::StrReplaceAll(text, {{"|", "\\|"}}); }

void AppendFaults(const std::vector<NodeData>& nodes, std::string* card) {
  std::map<std::string, int> verdicts;
  std::string table;
  for (const NodeData& node : nodes) {
    for (const FaultInterval& fault : node.faults) {
      const std::string verdict(VerdictWord(fault.verdict));
      ++verdicts[verdict.empty() ? "no verdict" : verdict];
      absl::StrAppend(&table, "| ", fault.state.spec().type(), fault.state.sham() ? " (sham)" : "",
                      " | ", node.name, " | ", Cell(TargetText(fault.state.spec().target())), " | ",
                      TimeText(fault.state.edges().acked().realtime_ns()), " | ",
                      TimeText(fault.state.edges().undone().realtime_ns()), " | ", verdict, " | ",
                      Moved(fault), " | ", Cell(Remark(fault)), " |\n");
    }
  }
  absl::StrAppend(card, "\n## Faults\n\n");
  if (table.empty()) {
    absl::StrAppend(card, "None.\n");
    return;
  }
  for (const auto& [verdict, count] : verdicts)
    absl::StrAppend(card, "- ", verdict, ": ", count, "\n");
  absl::StrAppend(card,
                  "\n| type | node | target | acked | undone | verdict | moved most | remark |\n"
                  "|---|---|---|---|---|---|---|---|\n",
                  table);
}

void AppendGaps(const std::vector<GapRow>& gaps, std::string* card) {
  std::int64_t samples = 0;
  std::map<std::string, int> reasons;
  for (const GapRow& row : gaps) {
    samples += row.gap.samples();
    ++reasons[row.gap.reason()];
  }
  absl::StrAppend(card, "\n## Gaps\n\n", gaps.size(), " gaps with ", samples,
                  " samples that are known to be lost (gaps.csv).\n");
  for (const auto& [reason, count] : reasons) {
    absl::StrAppend(card, "- ", reason, ": ", count, "\n");
  }
}

void AppendMissing(const Layout& layout, std::string* card) {
  absl::StrAppend(card, "\n## Metrics that a node could not measure, or not as well\n\n");
  std::set<std::string> seen;
  for (const OutputTable& table : layout.tables()) {
    for (const OutputColumn& column : table.columns) {
      const v1::Column& metric = column.metric;
      if (metric.availability() != v1::AVAILABILITY_MISSING &&
          metric.availability() != v1::AVAILABILITY_DEGRADED) {
        continue;
      }
      const std::string name = absl::StrCat(table.name, ".", metric.name());
      if (!seen.insert(name).second) continue;
      absl::StrAppend(card, "- ", name, " (", AvailabilityWord(metric.availability()),
                      "): ", metric.reason(), "\n");
    }
  }
  if (seen.empty()) absl::StrAppend(card, "None.\n");
}

constexpr const char* kReading = R"(
## How to read it

An empty field is a value that was not measured or not counted; it is never 0. Times are UTC; a row
covers the window that ends at `timestamp`. docs/dataset.md of Faultline defines every column; this
is the shape:

- `data/*.csv`: `timestamp`, `node`, `entity`, one column per metric (metrics.csv says what it is),
  then `fault_active` (a fault, sham included, was in the kernel), `label` (an effective fault
  covered the whole window), `label_state`, `label_target` (1 if this entity was its target),
  `fault_id`, `fault_type`, `dose`.
- Do not train on `fault_active`, `label*`, `fault_*` or `dose`. Rows in the states transition,
  recovery and unknown are neither clean nor labelled; leave them out or judge them yourself.
- `sha256sum -c CHECKSUMS` checks the files.

pandas:

    import pandas
    rows = pandas.read_csv("data/cgroup.csv", parse_dates=["timestamp"])

polars:

    import polars
    rows = polars.read_csv("data/cgroup.csv", try_parse_dates=True, infer_schema_length=None)

DuckDB:

    SELECT entity, label_state, count(*) FROM read_csv_auto('data/cgroup.csv', sample_size=-1)
    GROUP BY ALL;
)";

}  // namespace

std::string Card(const v1::Run& run, bool open, const Layout& layout,
                 const std::vector<NodeData>& nodes, const std::vector<GapRow>& gaps,
                 const Tally& tally) {
  std::string card;
  AppendHead(run, open, &card);
  AppendTargets(run, &card);
  AppendNodes(nodes, &card);
  AppendTables(tally, &card);
  AppendLabels(tally, &card);
  AppendFaults(nodes, &card);
  AppendGaps(gaps, &card);
  AppendMissing(layout, &card);
  absl::StrAppend(&card, kReading);
  return card;
}

}  // namespace faultline
