// SPDX-License-Identifier: Apache-2.0
#include "cli/words.h"

#include <array>
#include <cmath>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace faultline::cli {
namespace {

struct UnitStep {
  double size;
  const char* unit;
};

// The number in the largest step that leaves at least 1, with three digits.
template <size_t N>
std::string Scaled(double value, const std::array<UnitStep, N>& steps) {
  const double size = std::abs(value);
  const UnitStep* chosen = &steps.back();
  for (const UnitStep& step : steps) {
    if (size >= step.size) {
      chosen = &step;
      break;
    }
  }
  const double scaled = value / chosen->size;
  const int decimals = std::abs(scaled) >= 100 || scaled == std::round(scaled) ? 0
                       : std::abs(scaled) >= 10                                ? 1
                                                                               : 2;
  return absl::StrFormat("%.*f%s", decimals, scaled, chosen->unit);
}

constexpr std::array<UnitStep, 5> kTimes{
    {{60e9, " min"}, {1e9, " s"}, {1e6, " ms"}, {1e3, " us"}, {1, " ns"}}};
constexpr double kKi = 1024;
constexpr std::array<UnitStep, 4> kBytes{
    {{kKi * kKi * kKi, " GiB"}, {kKi * kKi, " MiB"}, {kKi, " KiB"}, {1, " B"}}};
constexpr std::array<UnitStep, 4> kCounts{{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}, {1, ""}}};

// Counts of four digits are read as they are.
std::string CountText(double value) {
  if (std::abs(value) < 1e4 && value == std::round(value)) return absl::StrFormat("%.0f", value);
  return Scaled(value, kCounts);
}

}  // namespace

std::string DurationText(std::int64_t ns) { return Scaled(static_cast<double>(ns), kTimes); }

std::string AmountText(double value, absl::string_view unit) {
  if (unit == "ns") return Scaled(value, kTimes);
  if (unit == "By") return Scaled(value, kBytes);
  if (unit == "By/s") return Scaled(value, kBytes) + "/s";
  const std::string number = CountText(value);
  if (unit == "bit/s") {
    return absl::StrCat(number, absl::StrContains(number, " ") ? "" : " ", "bit/s");
  }
  if (unit.empty() || unit == "1") return number;
  if (!absl::StartsWith(unit, "{")) return absl::StrCat(number, " ", unit);
  // UCUM's annotation "{packet}" is a countable thing.
  const std::string thing = absl::StrReplaceAll(unit, {{"{", ""}, {"}", ""}});
  const bool plural = value != 1 && !absl::StrContains(thing, "/");
  return absl::StrCat(number, " ", thing, plural ? "s" : "");
}

std::string DoseText(const v1::Dose& dose) {
  const std::string words = absl::StrReplaceAll(dose.name(), {{"_", " "}});
  absl::string_view name = words;
  const auto value = static_cast<double>(dose.value());
  // The amount names its unit itself, and "packets dropped" says what is counted.
  for (absl::string_view unit : {" ns", " bytes"}) absl::ConsumeSuffix(&name, unit);
  const bool counted = absl::StartsWith(dose.unit(), "{");
  return absl::StrCat(name, " ", counted ? AmountText(value, "1") : AmountText(value, dose.unit()));
}

std::string ClockText(std::int64_t realtime_ns) {
  if (realtime_ns == 0) return "-";
  return absl::FormatTime("%H:%M:%E3S", absl::FromUnixNanos(realtime_ns), absl::UTCTimeZone());
}

}  // namespace faultline::cli
