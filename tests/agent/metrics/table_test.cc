// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "agent/metrics/metric.h"
#include "agent/metrics/report.h"

namespace faultline {
namespace {

TEST(Metrics, EveryRow_SaysWhatItIs) {
  for (const Metric& metric : Metrics()) {
    SCOPED_TRACE(metric.column);
    EXPECT_TRUE(metric.id[0] == 'E' || metric.id[0] == 'S');
    for (const char c : absl::string_view(metric.column)) {
      EXPECT_TRUE(absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_') << c;
    }
    EXPECT_TRUE(absl::EndsWith(metric.meaning, ".")) << metric.meaning;
    EXPECT_FALSE(absl::EndsWith(metric.degraded, ".")) << metric.degraded;
    EXPECT_FALSE(FieldText(metric.fields[0]).empty());
  }
}

// <subsystem>_<what>_<unit>: what has a base unit says so, whatever else is a count.
TEST(Metrics, EveryColumn_EndsInItsUnit) {
  for (const Metric& metric : Metrics()) {
    if (metric.table == Table::kFault) continue;
    const absl::string_view unit = metric.unit;
    const std::string suffix = unit == "ns"   ? "_ns"
                               : unit == "us" ? "_us"
                               : unit == "By" ? "_bytes"
                                              : "_count";
    EXPECT_TRUE(absl::EndsWith(metric.column, suffix)) << metric.column;
  }
}

TEST(Metrics, ExportedColumns_AreUniqueWithHistogramSuffixes) {
  std::set<std::string> seen;
  for (const Metric& metric : Metrics()) {
    const std::string column = absl::StrCat(TableName(metric.table), ".", metric.column);
    if (metric.kind != Kind::kHistogram) {
      EXPECT_TRUE(seen.insert(column).second) << column;
      continue;
    }
    for (const char* suffix : {"_p50", "_p90", "_p99", "_count", "_sum"}) {
      EXPECT_TRUE(seen.insert(column + suffix).second) << column << suffix;
    }
  }
}

TEST(Metrics, EveryMetricOfTheFirstFlow_HasARow) {
  std::set<std::string> ids;
  for (const Metric& metric : Metrics()) ids.insert(metric.id);
  for (const char* id : {"E1",  "E2",  "E3",  "E4",  "E5",  "E14", "E15", "E16", "E20", "E21",
                         "E34", "E35", "E36", "E38", "E39", "E40", "E42", "E43", "E47", "E48",
                         "E49", "E50", "E52", "E56", "E58", "E60", "E61", "E62", "E63"}) {
    EXPECT_EQ(ids.count(id), 1U) << id;
  }
}

TEST(Metrics, MapNames_FitTheKernel) {
  for (const Metric& metric : Metrics()) {
    if (const auto* field = std::get_if<BpfField>(&metric.fields[0]); field != nullptr) {
      EXPECT_LE(absl::string_view(field->map).size(), 15U) << field->map;
    }
  }
}

TEST(MetricsMarkdown, IsWhatDocsHolds) {
  std::ifstream in("docs/metrics.md");
  const std::string docs{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(docs, MetricsMarkdown()) << "write it again with faultline-agent --metrics-doc";
}

TEST(CapabilityReport, OneLinePerColumn_WhatIsMissingLastAndTotals) {
  v1::Schema schema;
  v1::TableSchema* const table = schema.add_tables();
  table->set_name("host");
  v1::Column* column = table->add_columns();
  column->set_name("b_ns");
  column->set_hook("tp_btf/x");
  column->set_reason("no such hook");
  column->set_availability(v1::AVAILABILITY_MISSING);
  column = table->add_columns();
  column->set_name("c_ns");
  column->set_hook("/proc/vmstat");
  column->set_reason("coarser");
  column->set_availability(v1::AVAILABILITY_DEGRADED);
  column = table->add_columns();
  column->set_name("a_ns");
  column->set_hook("/proc/stat");
  column->set_availability(v1::AVAILABILITY_AVAILABLE);
  const std::vector<std::string> lines = absl::StrSplit(CapabilityReport(schema), '\n');
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_TRUE(absl::StartsWith(lines[0], "available  host.a_ns ")) << lines[0];
  EXPECT_TRUE(absl::EndsWith(lines[0], " /proc/stat")) << lines[0];
  EXPECT_TRUE(absl::EndsWith(lines[1], " /proc/vmstat: coarser")) << lines[1];
  EXPECT_TRUE(absl::StartsWith(lines[2], "missing    host.b_ns ")) << lines[2];
  EXPECT_TRUE(absl::EndsWith(lines[2], "  no such hook")) << lines[2];
  EXPECT_EQ(lines[3], "1 available, 1 degraded, 1 missing");
}

void AddMissing(v1::TableSchema* table, const std::string& name, const std::string& reason) {
  v1::Column* const column = table->add_columns();
  column->set_name(name);
  column->set_reason(reason);
  column->set_availability(v1::AVAILABILITY_MISSING);
}

TEST(Shortcomings, OneSentencePerReason_WithAsManyNamesAsALineHolds) {
  v1::Schema schema;
  v1::TableSchema* const table = schema.add_tables();
  table->set_name("host");
  table->add_columns()->set_availability(v1::AVAILABILITY_AVAILABLE);
  EXPECT_TRUE(Shortcomings(schema).empty());
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g", "h"}) {
    AddMissing(table, name, "no BTF");
  }
  AddMissing(table, "cycles", "no PMU");
  EXPECT_EQ(Shortcomings(schema),
            (std::vector<std::string>{
                "missing: host.a, host.b, host.c, host.d, host.e, host.f and 2 more: no BTF",
                "missing: host.cycles: no PMU"}));
}

TEST(BpfDenial, IsTheReasonOfWhoMayLoadNothing) {
  std::vector<const Metric*> by_bpf;
  for (const Metric& metric : Metrics()) {
    if (metric.table == Table::kCgroup && std::holds_alternative<BpfField>(metric.fields[0])) {
      by_bpf.push_back(&metric);
    }
  }
  ASSERT_GE(by_bpf.size(), 3U);
  v1::Schema schema;
  v1::TableSchema* const table = schema.add_tables();
  table->set_name(TableName(Table::kCgroup));
  AddMissing(table, by_bpf[0]->column, "this kernel has no such hook");
  AddMissing(table, "not_by_bpf", "forbidden: hardware counters");
  EXPECT_EQ(BpfDenial(schema), "");
  AddMissing(table, by_bpf[1]->column, "forbidden: load: Operation not permitted");
  EXPECT_EQ(BpfDenial(schema), "forbidden: load: Operation not permitted");
  AddMissing(table, by_bpf[2]->column, "");
  table->mutable_columns(3)->set_availability(v1::AVAILABILITY_AVAILABLE);
  EXPECT_EQ(BpfDenial(schema), "");
}

}  // namespace
}  // namespace faultline
