// SPDX-License-Identifier: Apache-2.0
//
// What a person sees: aligned tables on stdout, messages and one rewritten progress line on stderr,
// colour only where it is wanted. One per program, made by its options; main thread only.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace faultline::cli {

enum class Colour : std::uint8_t { kPlain, kGood, kWarn, kBad, kFaint, kBold };

class Terminal {
 public:
  struct Features {
    // Escape sequences on stdout and stderr.
    bool colour_out = false;
    bool colour_err = false;
    // stderr is a terminal: a progress line makes sense.
    bool progress = false;
  };

  Terminal(std::ostream& out, std::ostream& err, Features features)
      : out_(&out), err_(&err), features_(features) {}

  // Data. Clears the progress line first.
  std::ostream& out();
  // A line for the person, on stderr.
  void Say(absl::string_view line);
  void Error(absl::string_view line);
  // Shows `line` in the place of the progress line before; nothing where stderr is no terminal.
  void Progress(absl::string_view line);
  void EndProgress();

  // `text` in a colour, for stdout.
  std::string Paint(Colour colour, absl::string_view text) const;
  bool shows_progress() const { return features_.progress; }

 private:
  std::ostream* out_;
  std::ostream* err_;
  Features features_;
  bool progress_shown_ = false;
};

// Rows of cells in columns that are as wide as their widest cell.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}

  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  // Header in bold, two spaces between columns, no trailing blanks. Colour in a cell counts no
  // width.
  std::string Render(const Terminal& terminal) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns that `text` takes on a screen: UTF-8 sequences count one, escape sequences none.
size_t DisplayWidth(absl::string_view text);

}  // namespace faultline::cli
