// SPDX-License-Identifier: Apache-2.0
//
// ./run bench: runs the named benches, or all, and prints one JSON object on stdout.
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "tests/bench/figure.h"
#include "tests/child.h"

namespace faultline {

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = std::ceil(share * static_cast<double>(values.size())) - 1;
  return values[static_cast<size_t>(std::max(0.0, at))];
}

namespace {

struct Bench {
  const char* name;
  absl::StatusOr<Figures> (*run)(const BenchPlace&);
};

constexpr std::array<Bench, 3> kBenches{{
    {"agent", BenchAgent},
    {"bpf", BenchBpf},
    {"injector", BenchInjector},
}};

nlohmann::json ToJson(const Figure& figure) {
  nlohmann::json json = {{"name", figure.name}, {"value", figure.value}, {"unit", figure.unit}};
  json["peer"] = nullptr;
  json["ratio"] = nullptr;
  json["reach"] = nullptr;
  json["met"] = nullptr;
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
  return json;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (absl::StartsWith(line, "model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

int Main(int argc, char** argv) {
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  for (const std::string& name : wanted) {
    if (std::none_of(kBenches.begin(), kBenches.end(),
                     [&name](const Bench& bench) { return name == bench.name; })) {
      LogError("there is no bench \"", name, "\"; there are agent, bpf and injector");
      return 2;
    }
  }
  const std::string self = argv[0];
  const TempDir temp;
  const BenchPlace place{self.substr(0, self.rfind('/')), temp.path()};
  nlohmann::json figures = nlohmann::json::array();
  bool good = true;
  for (const Bench& bench : kBenches) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), bench.name) == wanted.end()) {
      continue;
    }
    LogInfo("bench ", bench.name, " ...");
    absl::StatusOr<Figures> result = bench.run(place);
    if (!result.ok()) {
      LogError("bench ", bench.name, ": ", result.status().message());
      good = false;
      continue;
    }
    for (const Figure& figure : *result) figures.push_back(ToJson(figure));
  }
  std::string git;
  RunToEnd({"/usr/bin/git", "describe", "--always", "--dirty"}, &git);
  utsname name{};
  ::uname(&name);
  const nlohmann::json report = {
      {"git", FirstLine(git)}, {"kernel", name.release}, {"cpu", CpuModel()}, {"figures", figures}};
  std::cout << report.dump(2) << "\n";
  return good ? 0 : 1;
}

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) { return faultline::Main(argc, argv); }
