// SPDX-License-Identifier: Apache-2.0
//
// Figures as the JSON object that ./run bench prints, and that object as docs/figures.md. Pure
// functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/figure.h"

namespace faultline {

// {name, value, unit, peer, ratio, reach, met, note}; null where there is none.
nlohmann::json FigureJson(const Figure& figure);

// The whole of docs/figures.md, a table for each report. InvalidArgument: one of them is not what
// ./run bench prints.
absl::StatusOr<std::string> FiguresMarkdown(const std::vector<std::string>& reports);

// The figures of what `./run bench` printed. InvalidArgument: it is not that.
absl::StatusOr<Figures> FiguresOf(const std::string& report);

}  // namespace faultline
