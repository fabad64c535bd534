// SPDX-License-Identifier: Apache-2.0
#include "injector/reserve.h"

#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "injector/faults/fault.h"
#include "injector/host/leak.h"

namespace faultline {
namespace {

constexpr double kMostBytes = 1e18;
constexpr Parameter kReserveRows[] = {
    {"share", Parameter::Kind::kPercent, "%", 0.1, 90, "10%", nullptr, ""},
    {"size", Parameter::Kind::kBytes, "By", 1, kMostBytes, "1M", nullptr, ""}};

}  // namespace

absl::StatusOr<Reserve> ParseReserve(absl::string_view text) {
  if (text == "off") return Reserve{};
  const bool share = absl::StrContains(text, '%');
  v1::FaultSpec spec;
  (*spec.mutable_parameters())[share ? "share" : "size"] = std::string(text);
  const absl::StatusOr<Parameters> parsed = Parameters::Parse(kReserveRows, spec);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is neither a share from 0.1% to 90%, nor a size like 512M, nor off"));
  }
  Reserve reserve;
  if (share) {
    reserve.percent = parsed->Number("share");
  } else {
    reserve.bytes = parsed->Integer("size");
  }
  return reserve;
}

std::string ReserveText(const Reserve& reserve) {
  if (reserve.off()) return "off";
  return reserve.percent != 0 ? absl::StrCat(reserve.percent, " %") : SpellBytes(reserve.bytes);
}

}  // namespace faultline
