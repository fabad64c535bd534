// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "agent/metrics/metric.h"
#include "injector/docs.h"
#include "injector/faults/fault.h"
#include "tests/fake_clock.h"
#include "tests/injector/fake_kernel.h"
#include "tests/injector/history.h"

namespace faultline {
namespace {

TEST(FaultTable, EveryRowIsFoundByItsName) {
  for (const FaultType& type : FaultTypes()) EXPECT_EQ(FindFaultType(type.name), &type);
  EXPECT_EQ(FindFaultType("cpu.limits"), nullptr);
}

TEST(FaultTable, EveryRowHasHelpAMakerAndKnownTargets) {
  for (const FaultType& type : FaultTypes()) {
    SCOPED_TRACE(type.name);
    ASSERT_NE(type.make, nullptr);
    ASSERT_NE(type.probe, nullptr);
    EXPECT_NE(type.make(), nullptr);
    for (absl::string_view target : absl::StrSplit(type.targets, '|')) {
      EXPECT_TRUE(target == "cgroup" || target == "unit" || target == "pid" ||
                  target == "interface" || target == "host")
          << target;
    }
    const v1::FaultInfo info = Describe(type);
    EXPECT_EQ(info.parameters_size(), static_cast<int>(type.parameters.size()));
  }
}

// Random histories and the death at every step are of each; of holds in their own way.
TEST(FaultTable, EveryFaultHasHistories) {
  const std::vector<std::string>& types = HistoryTypes();
  for (const FaultType& type : FaultTypes()) {
    if (type.hold) continue;
    EXPECT_EQ(std::count(types.begin(), types.end(), type.name), 1) << type.name;
  }
}

// A default outside its own bounds would refuse everybody who leaves it out.
TEST(FaultTable, EveryDefaultIsAccepted) {
  for (const FaultType& type : FaultTypes()) {
    for (const Parameter& parameter : type.parameters) {
      if (parameter.default_value == nullptr) continue;
      v1::FaultSpec spec;
      spec.set_type(type.name);
      const auto parsed = Parameters::Parse(absl::MakeConstSpan(&parameter, 1), spec);
      EXPECT_TRUE(parsed.ok()) << type.name << ": " << parsed.status();
    }
  }
}

TEST(FaultTable, EveryProbeAnswers) {
  FakeClock clock;
  FakeKernel kernel(&clock);
  Host host({}, kernel.Get());
  for (const FaultType& type : FaultTypes()) {
    const absl::Status can = type.probe(host);
    EXPECT_TRUE(can.ok() || !can.message().empty()) << type.name;
  }
}

// A symptom that is no column would make every verdict "no effect".
TEST(FaultTable, EverySymptomIsAColumn) {
  std::set<std::string> columns;
  for (const Metric& metric : Metrics()) {
    const std::string table = metric.table == Table::kHost ? "host:" : "";
    if (metric.table != Table::kHost && metric.table != Table::kCgroup) continue;
    if (metric.kind != Kind::kHistogram) {
      columns.insert(table + metric.column);
      continue;
    }
    for (const char* part : {"_p50", "_p90", "_p99", "_count", "_sum"}) {
      columns.insert(absl::StrCat(table, metric.column, part));
    }
  }
  for (const FaultType& type : FaultTypes()) {
    for (const char* symptom : type.symptoms) {
      EXPECT_EQ(columns.count(symptom), 1u) << type.name << ": " << symptom;
    }
  }
}

TEST(FaultTable, DocsAreGenerated) {
  std::ifstream in("docs/faults.md");
  std::ostringstream text;
  text << in.rdbuf();
  EXPECT_EQ(text.str(), FaultsDoc())
      << "run: build/faultline-injector --faults-doc > docs/faults.md";
}

}  // namespace
}  // namespace faultline
