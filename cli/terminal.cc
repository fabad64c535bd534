// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <algorithm>
#include <ostream>

#include "absl/strings/str_cat.h"

namespace faultline::cli {
namespace {

const char* Escape(Colour colour) {
  switch (colour) {
    case Colour::kPlain:
      return "";
    case Colour::kGood:
      return "\033[32m";
    case Colour::kWarn:
      return "\033[33m";
    case Colour::kBad:
      return "\033[31m";
    case Colour::kFaint:
      return "\033[2m";
    case Colour::kBold:
      return "\033[1m";
  }
  return "";
}

std::string Wrap(Colour colour, absl::string_view text) {
  if (colour == Colour::kPlain || text.empty()) return std::string(text);
  return absl::StrCat(Escape(colour), text, "\033[0m");
}

}  // namespace

std::ostream& Terminal::out() {
  EndProgress();
  return *out_;
}

void Terminal::Say(absl::string_view line) {
  EndProgress();
  *err_ << line << std::endl;
}

void Terminal::Error(absl::string_view line) {
  EndProgress();
  *err_ << (features_.colour_err ? Wrap(Colour::kBad, "error: ") : "error: ") << line << std::endl;
}

void Terminal::Progress(absl::string_view line) {
  if (!features_.progress) return;
  // Back to the first column, the line, then erase to its end.
  *err_ << "\r" << line << "\033[K" << std::flush;
  progress_shown_ = true;
}

void Terminal::EndProgress() {
  if (!progress_shown_) return;
  *err_ << "\r\033[K" << std::flush;
  progress_shown_ = false;
}

std::string Terminal::Paint(Colour colour, absl::string_view text) const {
  return features_.colour_out ? Wrap(colour, text) : std::string(text);
}

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      while (i < text.size() && text[i] != 'm') ++i;
      continue;
    }
    // Continuation bytes of UTF-8 are 10xxxxxx.
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) ++width;
  }
  return width;
}

std::string Table::Render(const Terminal& terminal) const {
  std::vector<size_t> widths;
  const auto measure = [&widths](const std::vector<std::string>& row) {
    if (widths.size() < row.size()) widths.resize(row.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  };
  measure(header_);
  for (const std::vector<std::string>& row : rows_) measure(row);

  std::string text;
  const auto append = [&](const std::vector<std::string>& row, Colour colour) {
    std::string line;
    size_t owed = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      // Blanks are paid only when something follows them.
      if (!row[i].empty()) {
        line.append(owed, ' ');
        line += terminal.Paint(colour, row[i]);
        owed = 0;
      }
      owed += widths[i] - DisplayWidth(row[i]) + 2;
    }
    absl::StrAppend(&text, line, "\n");
  };
  append(header_, Colour::kBold);
  for (const std::vector<std::string>& row : rows_) append(row, Colour::kPlain);
  return text;
}

}  // namespace faultline::cli
