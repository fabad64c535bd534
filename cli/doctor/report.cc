// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/report.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace faultline::cli::doctor {
namespace {

struct StateForm {
  State state;
  const char* word;
  const char* json;
  Colour colour;
};

constexpr StateForm kForms[] = {
    {State::kOk, "OK", "ok", Colour::kGood},
    {State::kWarn, "WARN", "warn", Colour::kWarn},
    {State::kFail, "FAIL", "fail", Colour::kBad},
    {State::kSkipped, "SKIPPED", "skipped", Colour::kFaint},
};

const StateForm& FormOf(State state) {
  for (const StateForm& form : kForms) {
    if (form.state == state) return form;
  }
  return kForms[0];
}

// What libbpf, the verifier and other programs say has lines and may be long; its end says why.
std::string OneLine(absl::string_view text) {
  constexpr size_t kMost = 400;
  std::string line;
  for (const char c : text) {
    const bool blank = absl::ascii_isspace(static_cast<unsigned char>(c));
    if (!blank) line += absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? '?' : c;
    if (blank && !line.empty() && line.back() != ' ') line += ' ';
  }
  if (line.size() <= kMost) return line;
  constexpr size_t kBegin = 150;
  return absl::StrCat(line.substr(0, kBegin), " ... ", line.substr(line.size() - kMost + kBegin));
}

size_t NameWidth() {
  size_t width = 0;
  for (const Check& check : Checks()) width = std::max(width, std::strlen(check.name));
  return width;
}

std::string Padded(absl::string_view text, size_t width) {
  return absl::StrCat(text, std::string(width - std::min(width, text.size()), ' '));
}

std::ptrdiff_t Count(const std::vector<Finding>& findings, State state) {
  return std::count_if(findings.begin(), findings.end(),
                       [state](const Finding& finding) { return finding.verdict.state == state; });
}

}  // namespace

absl::string_view StateWord(State state) { return FormOf(state).word; }

std::string Line(const Terminal& terminal, const Finding& finding) {
  const Verdict& verdict = finding.verdict;
  const std::string word = Padded(StateWord(verdict.state), StateWord(State::kSkipped).size());
  return absl::StrCat(terminal.Paint(FormOf(verdict.state).colour, word), "  ",
                      Padded(finding.check->name, NameWidth()), "  ", OneLine(verdict.found),
                      verdict.fix.empty() ? "" : "; fix: ", OneLine(verdict.fix), "\n");
}

std::string Summary(const std::vector<Finding>& findings) {
  const std::ptrdiff_t warnings = Count(findings, State::kWarn);
  return absl::StrCat(findings.size(), " checks: ", Count(findings, State::kOk), " ok, ", warnings,
                      warnings == 1 ? " warning, " : " warnings, ", Count(findings, State::kFail),
                      " failed, ", Count(findings, State::kSkipped), " skipped");
}

Json ToJson(const std::vector<Finding>& findings) {
  Json checks = Json::array();
  for (const Finding& finding : findings) {
    Json fix;
    if (!finding.verdict.fix.empty()) fix = OneLine(finding.verdict.fix);
    checks.push_back({{"name", finding.check->name},
                      {"purpose", finding.check->purpose},
                      {"services", ServiceWords(finding.check->services)},
                      {"state", FormOf(finding.verdict.state).json},
                      {"found", OneLine(finding.verdict.found)},
                      {"fix", fix}});
  }
  return {{"failed", ExitCodeOf(findings) != kExitOk}, {"checks", checks}};
}

ExitCode ExitCodeOf(const std::vector<Finding>& findings) {
  return Count(findings, State::kFail) == 0 ? kExitOk : kExitFailed;
}

std::string ChecksMarkdown() {
  std::string text = "| check | what it is for | whom |\n|---|---|---|\n";
  for (const Check& check : Checks()) {
    absl::StrAppend(
        &text, "| `", check.name, "` | ", check.purpose, " | ",
        check.services == kEveryService ? "all" : absl::StrJoin(ServiceWords(check.services), ", "),
        " |\n");
  }
  return text;
}

}  // namespace faultline::cli::doctor
