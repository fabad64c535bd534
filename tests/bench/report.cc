// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/report.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace faultline {

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = std::ceil(share * static_cast<double>(values.size())) - 1;
  return values[static_cast<size_t>(std::max(0.0, at))];
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

nlohmann::json FigureJson(const Figure& figure) {
  nlohmann::json json = {{"name", figure.name}, {"value", figure.value}, {"unit", figure.unit}};
  for (const char* key : {"peer", "ratio", "reach", "met", "note", "missing"}) json[key] = nullptr;
  if (!figure.missing.empty()) {
    json["value"] = nullptr;
    json["missing"] = figure.missing;
    return json;
  }
  std::optional<double> ratio;
  if (figure.peer_value.has_value()) {
    json["peer"] = {{"name", figure.peer}, {"value", *figure.peer_value}};
    if (*figure.peer_value > 0) ratio = figure.value / *figure.peer_value;
  }
  if (ratio.has_value()) json["ratio"] = *ratio;
  if (figure.reach_ratio.has_value()) {
    json["reach"] = {{"ratio", *figure.reach_ratio}};
    if (ratio.has_value()) json["met"] = *ratio <= *figure.reach_ratio;
  } else if (figure.reach_value.has_value()) {
    json["reach"] = {{"value", *figure.reach_value}};
    json["met"] = figure.value <= *figure.reach_value;
  }
  if (!figure.note.empty()) json["note"] = figure.note;
  return json;
}

absl::StatusOr<Figures> FiguresOf(const std::string& report) {
  Figures figures;
  // The one library here that throws.
  try {
    const nlohmann::json parsed = nlohmann::json::parse(report);
    for (const nlohmann::json& json : parsed.at("figures")) {
      Figure figure;
      figure.name = json.at("name").get<std::string>();
      figure.unit = json.at("unit").get<std::string>();
      if (!json.at("missing").is_null()) figure.missing = json.at("missing").get<std::string>();
      if (!json.at("value").is_null()) figure.value = json.at("value").get<double>();
      if (!json.at("note").is_null()) figure.note = json.at("note").get<std::string>();
      const nlohmann::json& reach = json.at("reach");
      if (reach.contains("value")) figure.reach_value = reach.at("value").get<double>();
      if (reach.contains("ratio")) figure.reach_ratio = reach.at("ratio").get<double>();
      if (const nlohmann::json& peer = json.at("peer"); !peer.is_null()) {
        figure.peer = peer.at("name").get<std::string>();
        figure.peer_value = peer.at("value").get<double>();
      }
      figures.push_back(std::move(figure));
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("this is not what ./run bench prints: ", error.what()));
  }
  return figures;
}

namespace {

// About three digits, never an exponent; a whole number stays one.
std::string Number(double value) {
  const double size = std::fabs(value);
  if (size >= 1 && value == std::floor(value)) return absl::StrFormat("%.0f", value);
  const int decimals = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return absl::StrFormat("%.*f", decimals, value);
}

std::string Amount(double value, absl::string_view unit) {
  if (unit == "By") return absl::StrCat(Number(value / (1 << 20)), " MiB");
  return absl::StrCat(Number(value), " ", unit);
}

std::string Reach(const nlohmann::json& reach, absl::string_view unit) {
  if (reach.is_null()) return "";
  if (reach.contains("ratio")) return absl::StrCat(Number(reach["ratio"].get<double>()), " x");
  return Amount(reach.at("value").get<double>(), unit);
}

std::string Met(const nlohmann::json& met) {
  if (met.is_null()) return "";
  return met.get<bool>() ? "yes" : "**no**";
}

std::string Row(const nlohmann::json& figure) {
  const auto unit = figure.at("unit").get<std::string>();
  const nlohmann::json& peer = figure.at("peer");
  const nlohmann::json& ratio = figure.at("ratio");
  if (figure.at("value").is_null()) {
    return absl::StrCat("| ", figure.at("name").get<std::string>(),
                        " | not measured | | | | | |\n");
  }
  return absl::StrCat("| ", figure.at("name").get<std::string>(), " | ",
                      Amount(figure.at("value").get<double>(), unit), " | ",
                      peer.is_null() ? "" : peer.at("name").get<std::string>(), " | ",
                      peer.is_null() ? "" : Amount(peer.at("value").get<double>(), unit), " | ",
                      ratio.is_null() ? "" : Number(ratio.get<double>()), " | ",
                      Reach(figure.at("reach"), unit), " | ", Met(figure.at("met")), " |\n");
}

std::string List(const char* title, const std::string& items) {
  return items.empty() ? "" : absl::StrCat("\n", title, ":\n\n", items);
}

// What was not met, what was not measured, and what a reader must know.
std::string Notes(const std::vector<nlohmann::json>& figures) {
  std::string missed;
  std::string missing;
  std::string rest;
  for (const nlohmann::json& figure : figures) {
    const auto name = figure.at("name").get<std::string>();
    if (figure.at("value").is_null()) {
      absl::StrAppend(&missing, "- ", name, ": ", figure.at("missing").get<std::string>(), "\n");
      continue;
    }
    const bool miss = !figure.at("met").is_null() && !figure.at("met").get<bool>();
    std::string note = figure.value("note", nlohmann::json()).is_null()
                           ? ""
                           : figure.at("note").get<std::string>();
    if (miss && note.empty()) note = "Nobody has said why yet.";
    if (note.empty()) continue;
    absl::StrAppend(miss ? &missed : &rest, "- ", name, ": ", note, "\n");
  }
  return absl::StrCat(List("Not met, and why", missed), List("Not measured, and why", missing),
                      List("What the figures are", rest));
}

constexpr absl::string_view kHeading = "## ";
constexpr absl::string_view kFirstWord = "\nCommit ";

// By the name of the bench: what follows its heading.
using Sections = std::map<std::string, std::string>;

Sections SectionsOf(absl::string_view document) {
  Sections sections;
  std::string* at = nullptr;
  for (const absl::string_view line : absl::StrSplit(document, '\n')) {
    if (absl::StartsWith(line, kHeading)) {
      at = &sections[std::string(line.substr(kHeading.size()))];
    } else if (at != nullptr) {
      absl::StrAppend(at, line, "\n");
    }
  }
  // What is no bench's.
  for (auto one = sections.begin(); one != sections.end();) {
    one = absl::StartsWith(one->second, kFirstWord) ? std::next(one) : sections.erase(one);
  }
  for (auto& [name, text] : sections) text.resize(absl::StripTrailingAsciiWhitespace(text).size());
  return sections;
}

// Those of `report` anew.
void Replace(const nlohmann::json& report, Sections* sections) {
  std::map<std::string, std::vector<nlohmann::json>> benches;
  for (const nlohmann::json& figure : report.at("figures")) {
    benches[figure.at("bench").get<std::string>()].push_back(figure);
  }
  for (const auto& [name, figures] : benches) {
    std::string text = absl::StrCat(
        kFirstWord, report.at("git").get<std::string>(), ", kernel ",
        report.at("kernel").get<std::string>(), ", ", report.at("cpu").get<std::string>(),
        ":\n\n| figure | value | peer | peer's value | ratio | reach | met |\n"
        "|---|---|---|---|---|---|---|\n");
    for (const nlohmann::json& figure : figures) absl::StrAppend(&text, Row(figure));
    absl::StrAppend(&text, Notes(figures));
    text.resize(absl::StripTrailingAsciiWhitespace(text).size());
    (*sections)[name] = std::move(text);
  }
}

}  // namespace

absl::StatusOr<std::string> FiguresMarkdown(absl::string_view before,
                                            const std::vector<std::string>& reports) {
  Sections sections = SectionsOf(before);
  // The one library here that throws.
  try {
    for (const std::string& report : reports) Replace(nlohmann::json::parse(report), &sections);
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("this is not what ./run bench prints: ", error.what()));
  }
  std::string text =
      "# Figures\n\nMade by `./run bench --doc` from what `./run bench` printed; do not edit.\n\n"
      "What Faultline costs, and what its faults do, beside what people run today, measured in the "
      "same run.\n"
      "`reach` is the target where there is one; a ratio is to the peer.\n";
  for (const auto& [name, section] : sections) {
    absl::StrAppend(&text, "\n", kHeading, name, "\n", section, "\n");
  }
  return text;
}

}  // namespace faultline
