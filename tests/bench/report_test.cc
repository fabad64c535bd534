// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

const Figures& Sample() {
  static const Figures figures{
      {"agent CPU", 0.25, "% of one CPU", "exporter", 1.0, 2.0, {}, ""},
      {"agent memory", 10 << 20, "By", "exporter", 20 << 20, 2.0, {}, "PSS."},
      {"program slow", 400, "ns per event", "quick", 100, 2.0, {}, "It does more."},
      {"program mute", 400, "ns per event", "quick", 100, 2.0, {}, ""},
      {"program alone", 55.55, "ns per event", "", {}, 2.0, {}, ""},
      {"start", 1.5, "ms", "", {}, {}, {}, ""},
      {"bounded", 1.5, "ms", "", {}, {}, 2.0, ""},
  };
  return figures;
}

std::string SampleReport(const std::string& git = "abc1234", const std::string& bench = "agent") {
  nlohmann::json report = {{"git", git}, {"kernel", "6.18"}, {"cpu", "A CPU"}};
  report["figures"] = nlohmann::json::array();
  for (const Figure& figure : Sample()) {
    report["figures"].push_back(FigureJson(figure));
    report["figures"].back()["bench"] = bench;
  }
  return report.dump();
}

TEST(FigureJson, HasEveryKeyAndNullWhereThereIsNothing) {
  const nlohmann::json full = FigureJson(Sample()[2]);
  EXPECT_EQ(full["name"], "program slow");
  EXPECT_EQ(full["peer"]["name"], "quick");
  EXPECT_EQ(full["peer"]["value"], 100);
  EXPECT_EQ(full["ratio"], 4);
  EXPECT_EQ(full["reach"]["ratio"], 2);
  EXPECT_EQ(full["met"], false);
  EXPECT_EQ(full["note"], "It does more.");
  const nlohmann::json bare = FigureJson(Sample()[5]);
  for (const char* key : {"peer", "ratio", "reach", "met", "note"}) {
    ASSERT_TRUE(bare.contains(key)) << key;
    EXPECT_TRUE(bare[key].is_null()) << key;
  }
  // A target that cannot be judged without its peer is not met and not missed.
  EXPECT_TRUE(FigureJson(Sample()[4])["met"].is_null());
  EXPECT_EQ(FigureJson(Sample()[6])["met"], true);
}

TEST(FiguresMarkdown, TableIsItsInput) {
  const absl::StatusOr<std::string> text = FiguresMarkdown("", {SampleReport()});
  ASSERT_TRUE(text.ok()) << text.status();
  std::string table;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (line.substr(0, 2) == "| ") absl::StrAppend(&table, line, "\n");
  }
  EXPECT_EQ(table, R"(| figure | value | peer | peer's value | ratio | reach | met |
| agent CPU | 0.250 % of one CPU | exporter | 1 % of one CPU | 0.250 | 2 x | yes |
| agent memory | 10 MiB | exporter | 20 MiB | 0.500 | 2 x | yes |
| program slow | 400 ns per event | quick | 100 ns per event | 4 | 2 x | **no** |
| program mute | 400 ns per event | quick | 100 ns per event | 4 | 2 x | **no** |
| program alone | 55.5 ns per event |  |  |  | 2 x |  |
| start | 1.50 ms |  |  |  |  |  |
| bounded | 1.50 ms |  |  |  | 2 ms | yes |
)");
  EXPECT_NE(text->find("Commit abc1234, kernel 6.18, A CPU"), std::string::npos);
}

TEST(FiguresMarkdown, WhatIsNotMeasured_IsNoNumber_AndSaysWhy) {
  nlohmann::json report = nlohmann::json::parse(SampleReport());
  report["figures"].push_back(FigureJson(NotMeasured("delay", "this kernel has no netem")));
  report["figures"].back()["bench"] = "agent";
  const std::string text = *FiguresMarkdown("", {report.dump()});
  EXPECT_NE(text.find("| delay | not measured |"), std::string::npos);
  EXPECT_NE(text.find("Not measured, and why:\n\n- delay: this kernel has no netem"),
            std::string::npos);
}

TEST(Report, IsReadAsItWasWritten) {
  nlohmann::json report = nlohmann::json::parse(SampleReport());
  report["figures"].push_back(FigureJson(NotMeasured("delay", "this kernel has no netem")));
  const absl::StatusOr<Figures> figures = FiguresOf(report.dump());
  ASSERT_TRUE(figures.ok()) << figures.status();
  ASSERT_EQ(figures->size(), report["figures"].size());
  for (size_t i = 0; i < figures->size(); ++i) {
    report["figures"][i].erase("bench");
    EXPECT_EQ(FigureJson((*figures)[i]), report["figures"][i]);
  }
  EXPECT_FALSE(FiguresOf("{}").ok());
  EXPECT_FALSE(FiguresOf("no").ok());
}

TEST(FiguresMarkdown, EveryMissHasItsSentence) {
  const std::string text = *FiguresMarkdown("", {SampleReport()});
  const size_t missed = text.find("Not met, and why:");
  const size_t rest = text.find("What the figures are:");
  ASSERT_NE(missed, std::string::npos);
  ASSERT_LT(missed, rest);
  const size_t slow = text.find("- program slow: It does more.");
  const size_t mute = text.find("- program mute: Nobody has said why yet.");
  EXPECT_TRUE(missed < slow && slow < rest);
  EXPECT_TRUE(missed < mute && mute < rest);
  EXPECT_GT(text.find("- agent memory: PSS."), rest);
}

TEST(FiguresMarkdown, ABenchReplacesItsSection_AndLeavesTheOthers) {
  const std::string first =
      *FiguresMarkdown("# Figures\n\n## Not a bench\n\nof old\n",
                       {SampleReport("a1", "agent"), SampleReport("b1", "faults")});
  EXPECT_EQ(first.find("of old"), std::string::npos);
  ASSERT_LT(first.find("## agent\n\nCommit a1"), first.find("## faults\n\nCommit b1"));
  ASSERT_NE(first.find("## faults\n\nCommit b1"), std::string::npos);
  EXPECT_EQ(*FiguresMarkdown(first, {}), first);
  EXPECT_EQ(*FiguresMarkdown(first, {SampleReport("b1", "faults")}), first);
  const std::string second = *FiguresMarkdown(first, {SampleReport("b2", "faults")});
  EXPECT_NE(second.find("## agent\n\nCommit a1"), std::string::npos);
  EXPECT_NE(second.find("## faults\n\nCommit b2"), std::string::npos);
  EXPECT_EQ(second.find("b1"), std::string::npos);
  EXPECT_EQ(second.size(), first.size());
  EXPECT_TRUE(absl::IsInvalidArgument(FiguresMarkdown("", {SampleReport(), "{}"}).status()));
}

TEST(FiguresMarkdown, WhatIsNoReportIsRefused) {
  for (const char* text : {"", "[]", "{}", "{\"figures\": 3}",
                           R"({"git":"a","kernel":"b","cpu":"c","figures":[{"name":"x"}]})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(FiguresMarkdown("", {text}).status())) << text;
  }
}

TEST(Median, OfOddEvenAndNone) {
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Quantile({4, 1, 2, 3}, 0.5), 2);
  EXPECT_EQ(Quantile({4, 1, 2, 3}, 0.99), 4);
}

}  // namespace
}  // namespace faultline
