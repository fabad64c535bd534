// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/report.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "agent/metrics/choice.h"

namespace faultline {
namespace {

std::string WithKey(absl::string_view file, absl::string_view key) {
  return key.empty() ? std::string(file) : absl::StrCat(file, " ", key);
}

// One overload per kind of field.
struct FieldTexts {
  std::string operator()(std::monostate /*none*/) const { return ""; }
  std::string operator()(const FileField& field) const { return field.path; }
  std::string operator()(const CgroupField& field) const {
    std::vector<std::string> versions;
    if (field.v1_file != nullptr) {
      versions.push_back(absl::StrCat("cgroup v1 ", WithKey(field.v1_file, field.v1_key)));
    }
    if (field.v2_file != nullptr) {
      versions.push_back(absl::StrCat("cgroup v2 ", WithKey(field.v2_file, field.v2_key)));
    }
    return absl::StrJoin(versions, ", ");
  }
  std::string operator()(const BpfField& field) const {
    return absl::StrCat("bpf/", field.object, ".bpf.c ", field.map);
  }
  std::string operator()(const PerfField& field) const {
    return absl::StrCat("perf_event_open hardware ",
                        field.config == PERF_COUNT_HW_CPU_CYCLES ? "cycles" : "instructions");
  }
  std::string operator()(SelfField /*field*/) const { return "the agent"; }
  std::string operator()(BpfCostField field) const {
    return field == BpfCostField::kMapEntries || field == BpfCostField::kMapCapacity
               ? "the agent's BPF maps"
               : "bpf_prog_info";
  }
  std::string operator()(LabelField /*field*/) const { return "the injector"; }
};

const char* KindName(Kind kind) {
  switch (kind) {
    case Kind::kCounter:
      return "counter";
    case Kind::kGauge:
      return "gauge";
    case Kind::kHistogram:
      return "histogram";
  }
  return "";
}

const char* TableMeaning(Table table) {
  switch (table) {
    case Table::kHost:
      return "One row per tick.";
    case Table::kCpu:
      return "One row per online CPU.";
    case Table::kCgroup:
      return "One row per control group; `~other` is all that has no row of its own. What BPF "
             "counts "
             "is what the group's own tasks did; the group's files also count the groups below it.";
    case Table::kDisk:
      return "One row per whole disk.";
    case Table::kNetdev:
      return "One row per network device of the agent's network namespace.";
    case Table::kBpf:
      return "One row per BPF program (`prog:NAME`) and map (`map:NAME`) of the agent.";
    case Table::kFault:
      return "One row per active fault.";
  }
  return "";
}

constexpr absl::string_view kIntroduction =
    "# Metrics\n\n"
    "Written by `faultline-agent --metrics-doc` from agent/metrics/table.cc; change it there.\n\n"
    "A counter is the increment over the frame's window, a gauge the value at its end. A histogram "
    "is exported as\n`_p50 _p90 _p99 _count _sum`. Sources are tried from left to right; the first "
    "that works on a host is used, and\n`faultline-agent --check` says which. A value that cannot "
    "be "
    "read is null, never 0; so is the first one of each\nentity, since a counter needs two.\n";

std::string Row(const Metric& metric) {
  std::vector<std::string> sources;
  for (const Field& field : metric.fields) {
    if (std::string text = FieldText(field); !text.empty()) sources.push_back(std::move(text));
  }
  std::string meaning = metric.meaning;
  if (*metric.degraded != '\0') absl::StrAppend(&meaning, " Fallback: ", metric.degraded, ".");
  return absl::StrCat("| ", metric.id, " | `", metric.column, "` | ", metric.name, " | ",
                      metric.unit, " | ", KindName(metric.kind), " | ",
                      absl::StrJoin(sources, " → "), " | ", meaning, " |\n");
}

const char* Verdict(v1::Availability availability) {
  switch (availability) {
    case v1::AVAILABILITY_AVAILABLE:
      return "available";
    case v1::AVAILABILITY_DEGRADED:
      return "degraded";
    default:
      return "missing";
  }
}

constexpr v1::Availability kVerdicts[] = {v1::AVAILABILITY_AVAILABLE, v1::AVAILABILITY_DEGRADED,
                                          v1::AVAILABILITY_MISSING};

}  // namespace

std::string FieldText(const Field& field) { return std::visit(FieldTexts(), field); }

// What works first, so that what does not stands last, where the eye is.
std::string CapabilityReport(const v1::Schema& schema) {
  std::string report;
  for (const v1::Availability availability : kVerdicts) {
    for (const v1::TableSchema& table : schema.tables()) {
      for (const v1::Column& column : table.columns()) {
        if (column.availability() != availability) continue;
        absl::StrAppendFormat(&report, "%-9s  %-52s  ", Verdict(availability),
                              absl::StrCat(table.name(), ".", column.name()));
        // Of a missing one the reason names what was tried.
        if (availability != v1::AVAILABILITY_MISSING) absl::StrAppend(&report, column.hook());
        if (availability == v1::AVAILABILITY_DEGRADED) absl::StrAppend(&report, ": ");
        absl::StrAppend(&report, column.reason(), "\n");
      }
    }
  }
  return absl::StrCat(report, CapabilityTotals(schema), "\n");
}

std::string CapabilityTotals(const v1::Schema& schema) {
  std::vector<std::string> totals;
  for (const v1::Availability availability : kVerdicts) {
    std::ptrdiff_t count = 0;
    for (const v1::TableSchema& table : schema.tables()) {
      count += std::count_if(
          table.columns().begin(), table.columns().end(),
          [&](const v1::Column& column) { return column.availability() == availability; });
    }
    totals.push_back(absl::StrCat(count, " ", Verdict(availability)));
  }
  return absl::StrJoin(totals, ", ");
}

std::vector<std::string> Shortcomings(const v1::Schema& schema) {
  // What a line of a log has room for.
  constexpr size_t kNamed = 6;
  // By verdict and reason, so that the same host always says the same.
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> columns;
  for (const v1::TableSchema& table : schema.tables()) {
    for (const v1::Column& column : table.columns()) {
      if (column.availability() == v1::AVAILABILITY_AVAILABLE) continue;
      columns[{Verdict(column.availability()), column.reason()}].push_back(
          absl::StrCat(table.name(), ".", column.name()));
    }
  }
  std::vector<std::string> sentences;
  for (auto& [verdict, names] : columns) {
    const size_t more = names.size() - std::min(names.size(), kNamed);
    names.resize(names.size() - more);
    sentences.push_back(absl::StrCat(verdict.first, ": ", absl::StrJoin(names, ", "),
                                     more > 0 ? absl::StrCat(" and ", more, " more") : "", ": ",
                                     verdict.second));
  }
  return sentences;
}

std::string BpfDenial(const v1::Schema& schema) {
  std::set<std::string> by_bpf;
  for (const Metric& metric : Metrics()) {
    if (std::holds_alternative<BpfField>(metric.fields[0])) {
      by_bpf.insert(absl::StrCat(TableName(metric.table), ".", metric.column));
    }
  }
  std::string reason;
  for (const v1::TableSchema& table : schema.tables()) {
    for (const v1::Column& column : table.columns()) {
      if (!by_bpf.contains(absl::StrCat(table.name(), ".", column.name()))) continue;
      if (column.availability() == v1::AVAILABILITY_AVAILABLE) return "";
      if (reason.empty() && absl::StrContains(column.reason(), kForbidden)) {
        reason = column.reason();
      }
    }
  }
  return reason;
}

std::string MetricsMarkdown() {
  std::string text(kIntroduction);
  const Metric* last = nullptr;
  for (const Metric& metric : Metrics()) {
    if (last == nullptr || last->table != metric.table) {
      absl::StrAppend(&text, "\n## Table `", TableName(metric.table), "`\n\n",
                      TableMeaning(metric.table),
                      "\n\n| id | column | OpenTelemetry name or ours | unit | kind | sources | "
                      "meaning |\n|---|---|---|---|---|---|---|\n");
    }
    absl::StrAppend(&text, Row(metric));
    last = &metric;
  }
  return text;
}

}  // namespace faultline
