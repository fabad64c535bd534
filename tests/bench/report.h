// SPDX-License-Identifier: Apache-2.0
//
// Figures as the JSON object that ./run bench prints, and that object as docs/figures.md. Pure
// functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/bench/figure.h"

namespace faultline {

// {name, value, unit, peer, ratio, reach, met, note}; null where there is none.
nlohmann::json FigureJson(const Figure& figure);

// The whole of docs/figures.md, a section for each bench: of `reports` anew, of several of one
// bench the last, and the others as they are in `before`, the file until now. InvalidArgument: a
// report is not what ./run bench prints.
absl::StatusOr<std::string> FiguresMarkdown(absl::string_view before,
                                            const std::vector<std::string>& reports);

// The figures of what `./run bench` printed. InvalidArgument: it is not that.
absl::StatusOr<Figures> FiguresOf(const std::string& report);

}  // namespace faultline
