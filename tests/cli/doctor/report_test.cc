// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/report.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

namespace faultline::cli::doctor {
namespace {

std::vector<Finding> Findings(State state) {
  const absl::Span<const Check> checks = Checks();
  return {{&checks[0], {State::kOk, "Linux 6.1", ""}},
          {&checks[1], {State::kSkipped, "not looked at", "look"}},
          {&checks[2], {state, "two\nlines\tof \033[31m text", "do this"}}};
}

std::string Plain(const Finding& finding) {
  std::ostringstream out;
  std::ostringstream err;
  return Line(Terminal(out, err, {}), finding);
}

TEST(DoctorReport, ALineIsALine) {
  const std::vector<Finding> findings = Findings(State::kFail);
  const std::string green = Plain(findings[0]);
  EXPECT_EQ(green.rfind("OK       kernel ", 0), 0U) << green;
  EXPECT_EQ(green.find("fix"), std::string::npos) << green;
  const std::string red = Plain(findings[2]);
  EXPECT_EQ(red.rfind("FAIL     lockdown ", 0), 0U) << red;
  EXPECT_NE(red.find("two lines of ?[31m text; fix: do this\n"), std::string::npos) << red;
  EXPECT_EQ(red.find('\n'), red.size() - 1);
}

TEST(DoctorReport, AnEndlessTextKeepsItsEnds) {
  Finding finding = Findings(State::kFail)[2];
  finding.verdict.found = "begin " + std::string(5000, 'x') + " end";
  const std::string line = Plain(finding);
  EXPECT_LT(line.size(), 600U);
  EXPECT_NE(line.find("begin "), std::string::npos);
  EXPECT_NE(line.find(" end; fix"), std::string::npos);
}

TEST(DoctorReport, FailsOnlyWhereSomethingFailed) {
  EXPECT_EQ(ExitCodeOf(Findings(State::kOk)), kExitOk);
  EXPECT_EQ(ExitCodeOf(Findings(State::kWarn)), kExitOk);
  EXPECT_EQ(ExitCodeOf(Findings(State::kSkipped)), kExitOk);
  EXPECT_EQ(ExitCodeOf(Findings(State::kFail)), kExitFailed);
}

TEST(DoctorReport, Summary) {
  EXPECT_EQ(Summary(Findings(State::kWarn)), "3 checks: 1 ok, 1 warning, 0 failed, 1 skipped");
  EXPECT_EQ(Summary(Findings(State::kFail)), "3 checks: 1 ok, 0 warnings, 1 failed, 1 skipped");
}

TEST(DoctorReport, Json) {
  const Json json = ToJson(Findings(State::kFail));
  EXPECT_EQ(json["failed"], true);
  EXPECT_EQ(json["checks"].size(), 3U);
  EXPECT_EQ(json["checks"][0]["name"], "kernel");
  EXPECT_EQ(json["checks"][0]["state"], "ok");
  EXPECT_TRUE(json["checks"][0]["fix"].is_null());
  EXPECT_EQ(json["checks"][2]["state"], "fail");
  EXPECT_EQ(json["checks"][2]["fix"], "do this");
  EXPECT_EQ(json["checks"][2]["services"], (Json{"agent", "injector"}));
  EXPECT_EQ(ToJson(Findings(State::kWarn))["failed"], false);
}

TEST(DoctorReport, DocumentationHasEveryCheck) {
  std::ifstream in("docs/cli.md");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_NE(text.find(ChecksMarkdown()), std::string::npos)
      << "put this into docs/cli.md (build/faultline doctor --table prints it):\n"
      << ChecksMarkdown();
}

}  // namespace
}  // namespace faultline::cli::doctor
