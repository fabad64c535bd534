// SPDX-License-Identifier: Apache-2.0
//
// ./run bench: runs the named benches, or all, and prints one JSON object on stdout. With --doc
// BEFORE FILE... it measures nothing and prints docs/figures.md, of which BEFORE is the text until
// now, with such objects in it ("-": stdin).
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "tests/bench/figure.h"
#include "tests/bench/report.h"
#include "tests/child.h"

namespace faultline {

namespace {

struct Bench {
  const char* name;
  const char* takes;
  // Runs when no name is given.
  bool usual;
  absl::Status (*run)(const BenchPlace&, Figures*);
};

constexpr std::array<Bench, 8> kBenches{{
    {"agent", "at most two minutes", true, BenchAgent},
    {"bpf", "at most two minutes", true, BenchBpf},
    {"delay", "half an hour", false, BenchDelay},
    {"faults", "forty minutes", false, BenchFaults},
    {"guest-kills", "an hour and a half", false, BenchGuestKills},
    {"histories", "an hour on two processors", false, BenchHistories},
    {"kills", "ten minutes", false, BenchKills},
    {"machines", "an hour", false, BenchMachines},
}};

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (absl::StartsWith(line, "model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

int PrintDocument(const std::string& before, const std::vector<std::string>& files) {
  std::vector<std::string> reports;
  for (const std::string& file : files) {
    if (file == "-") {
      reports.emplace_back(std::istreambuf_iterator<char>(std::cin),
                           std::istreambuf_iterator<char>());
    } else {
      reports.push_back(Slurp(file));
    }
  }
  const absl::StatusOr<std::string> text = FiguresMarkdown(Slurp(before), reports);
  if (!text.ok()) {
    LogError(absl::StrJoin(files, ", "), ": ", text.status().message());
    return 1;
  }
  std::cout << *text;
  return 0;
}

int Main(int argc, char** argv) {
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  if (!wanted.empty() && wanted[0] == "--doc") {
    if (wanted.size() >= 3) return PrintDocument(wanted[1], {wanted.begin() + 2, wanted.end()});
    LogError("--doc needs the files that ./run bench wrote, or - for stdin");
    return 2;
  }
  for (const std::string& name : wanted) {
    if (std::none_of(kBenches.begin(), kBenches.end(),
                     [&name](const Bench& bench) { return name == bench.name; })) {
      LogError(
          "there is no bench \"", name,
          "\"; there are agent, bpf, delay, faults, guest-kills, histories, kills and machines");
      return 2;
    }
  }
  const TempDir temp;
  const BenchPlace place{BinDir(), temp.path()};
  nlohmann::json figures = nlohmann::json::array();
  bool good = true;
  for (const Bench& bench : kBenches) {
    const bool named = std::find(wanted.begin(), wanted.end(), bench.name) != wanted.end();
    if (!named && !(wanted.empty() && bench.usual)) continue;
    LogInfo("bench ", bench.name, ": ", bench.takes);
    Figures measured;
    if (const absl::Status status = bench.run(place, &measured); !status.ok()) {
      LogError("bench ", bench.name, ": ", status.message());
      good = false;
    }
    for (const Figure& figure : measured) {
      figures.push_back(FigureJson(figure));
      figures.back()["bench"] = bench.name;
    }
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
