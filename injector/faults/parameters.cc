// SPDX-License-Identifier: Apache-2.0
//
// How people write amounts ("20%", "50ms", "8MiB", "10mbit") becomes numbers in the unit of the
// parameter's row, or a sentence that says what would be right.
#include <array>
#include <cctype>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "injector/faults/fault.h"

namespace faultline {

using Kind = Parameter::Kind;

namespace {

struct Suffix {
  const char* text;
  double factor;
};

constexpr std::array<Suffix, 7> kDurations{
    {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}};

// A bare letter is binary, as in cgroup files and systemd units; "kB" and its like are decimal.
constexpr std::array<Suffix, 15> kSizes{{{"", 1},
                                         {"b", 1},
                                         {"k", 1024.0},
                                         {"m", 1048576.0},
                                         {"g", 1073741824.0},
                                         {"t", 1099511627776.0},
                                         {"kib", 1024.0},
                                         {"mib", 1048576.0},
                                         {"gib", 1073741824.0},
                                         {"tib", 1099511627776.0},
                                         {"kb", 1e3},
                                         {"mb", 1e6},
                                         {"gb", 1e9},
                                         {"tb", 1e12},
                                         {"bytes", 1}}};

// As tc writes rates: decimal, in bits.
constexpr std::array<Suffix, 4> kRates{{{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}}};

struct Split {
  double number = 0;
  std::string suffix;
};

// Parts "8.5MiB" into 8.5 and "MiB"; false if it does not begin with a finite number.
bool SplitAmount(absl::string_view text, Split* split) {
  size_t end = 0;
  while (end < text.size() && (absl::ascii_isdigit(static_cast<unsigned char>(text[end])) ||
                               text[end] == '.' || (end == 0 && text[end] == '-'))) {
    ++end;
  }
  split->suffix = std::string(absl::StripAsciiWhitespace(text.substr(end)));
  return absl::SimpleAtod(text.substr(0, end), &split->number) && std::isfinite(split->number);
}

template <size_t N>
bool Scale(const std::array<Suffix, N>& suffixes, absl::string_view suffix, double* number) {
  for (const Suffix& known : suffixes) {
    if (suffix != known.text) continue;
    *number *= known.factor;
    return true;
  }
  return false;
}

// What an amount of this kind looks like, for the sentence.
const char* Example(Kind kind) {
  switch (kind) {
    case Kind::kPercent:
      return "a percentage like 20%";
    case Kind::kDuration:
      return "a time with its unit like 50ms (ns, us, ms, s, m or h)";
    case Kind::kBytes:
      return "a size like 8MiB (B, KiB, MiB, GiB, TiB or kB, MB, GB, TB)";
    case Kind::kRate:
      return "a rate with its unit like 10mbit (bit, kbit, mbit or gbit a second)";
    case Kind::kNumber:
      return "a number like 0.5";
    case Kind::kChoice:
    case Kind::kText:
      return "text";
  }
  return "";
}

bool ParseAmount(const Parameter& row, absl::string_view text, double* number) {
  Split split;
  if (!SplitAmount(absl::StripAsciiWhitespace(text), &split)) return false;
  *number = split.number;
  std::string lower = absl::AsciiStrToLower(split.suffix);
  switch (row.kind) {
    case Kind::kPercent:
      return lower.empty() || lower == "%";
    case Kind::kDuration:
      return (*number == 0 && lower.empty()) || Scale(kDurations, lower, number);
    case Kind::kBytes:
      if (absl::string_view(row.unit) == "By/s") {
        lower = std::string(absl::StripSuffix(lower, "/s"));
      }
      return Scale(kSizes, lower, number);
    case Kind::kRate:
      lower = std::string(absl::StripSuffix(lower, "/s"));
      return Scale(kRates, lower, number);
    case Kind::kNumber:
      return lower.empty();
    case Kind::kChoice:
    case Kind::kText:
      return false;
  }
  return false;
}

absl::Status Wrong(const v1::FaultSpec& spec, const Parameter& row, absl::string_view rest) {
  return absl::InvalidArgumentError(absl::StrCat(spec.type(), ": ", row.name, " ", rest));
}

absl::Status CheckNames(absl::Span<const Parameter> row, const v1::FaultSpec& spec) {
  for (const auto& [name, text] : spec.parameters()) {
    bool known = false;
    std::vector<std::string> names;
    for (const Parameter& parameter : row) {
      known = known || name == parameter.name;
      names.emplace_back(parameter.name);
    }
    if (known) continue;
    const std::string takes =
        names.empty() ? "it takes no parameters" : "it takes " + absl::StrJoin(names, ", ");
    return absl::InvalidArgumentError(
        absl::StrCat(spec.type(), " has no parameter \"", name, "\"; ", takes));
  }
  return absl::OkStatus();
}

absl::Status CheckChoice(const v1::FaultSpec& spec, const Parameter& row, const std::string& text) {
  const std::vector<std::string> choices = absl::StrSplit(row.choices, '|');
  for (const std::string& choice : choices) {
    if (choice == text) return absl::OkStatus();
  }
  return Wrong(spec, row,
               absl::StrCat("is \"", text, "\"; it must be ", absl::StrJoin(choices, " or ")));
}

// `number` in the row's unit, within its bounds.
absl::Status CheckAmount(const v1::FaultSpec& spec, const Parameter& row, const std::string& text,
                         double* number) {
  if (!ParseAmount(row, text, number)) {
    return Wrong(spec, row, absl::StrCat("is \"", text, "\"; it must be ", Example(row.kind)));
  }
  if (*number < row.minimum || *number > row.maximum) {
    return Wrong(spec, row,
                 absl::StrCat("is ", text, "; it must be from ", Amount(row, row.minimum), " to ",
                              Amount(row, row.maximum)));
  }
  return absl::OkStatus();
}

}  // namespace

std::string Amount(const Parameter& row, double value) {
  constexpr std::array<Suffix, 4> kBinary{
      {{"TiB", 1099511627776.0}, {"GiB", 1073741824.0}, {"MiB", 1048576.0}, {"KiB", 1024.0}}};
  constexpr std::array<Suffix, 3> kDecimal{{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}}};
  switch (row.kind) {
    case Kind::kPercent:
      return absl::StrCat(value, "%");
    case Kind::kDuration:
      return absl::FormatDuration(absl::Nanoseconds(value));
    case Kind::kBytes: {
      const char* tail = absl::string_view(row.unit) == "By/s" ? "/s" : "";
      for (const Suffix& unit : kBinary) {
        if (value >= unit.factor) return absl::StrCat(value / unit.factor, unit.text, tail);
      }
      return absl::StrCat(value, "B", tail);
    }
    case Kind::kRate:
      for (const Suffix& unit : kDecimal) {
        if (value >= unit.factor) return absl::StrCat(value / unit.factor, unit.text);
      }
      return absl::StrCat(value, "bit");
    case Kind::kNumber:
    case Kind::kChoice:
    case Kind::kText:
      break;
  }
  return absl::StrCat(value, row.unit[0] == '\0' ? "" : " ", row.unit);
}

absl::StatusOr<Parameters> Parameters::Parse(absl::Span<const Parameter> row,
                                             const v1::FaultSpec& spec) {
  if (absl::Status status = CheckNames(row, spec); !status.ok()) return status;
  Parameters result;
  for (const Parameter& parameter : row) {
    Value value;
    value.name = parameter.name;
    const auto given = spec.parameters().find(value.name);
    if (given != spec.parameters().end()) {
      value.text = given->second;
    } else if (parameter.default_value != nullptr) {
      value.text = parameter.default_value;
    } else {
      return Wrong(spec, parameter,
                   absl::StrCat("is missing: ", parameter.meaning, "; give ", parameter.name, "=, ",
                                Example(parameter.kind)));
    }
    value.is_default = parameter.default_value != nullptr && value.text == parameter.default_value;
    absl::Status status;
    if (parameter.kind == Kind::kChoice) {
      status = CheckChoice(spec, parameter, value.text);
    } else if (parameter.kind != Kind::kText) {
      status = CheckAmount(spec, parameter, value.text, &value.number);
    }
    if (!status.ok()) return status;
    result.values_.push_back(std::move(value));
  }
  return result;
}

const Parameters::Value& Parameters::Find(absl::string_view name) const {
  for (const Value& value : values_) {
    if (value.name == name) return value;
  }
  Bug(absl::StrCat("the row has no parameter ", name));
}

double Parameters::Number(absl::string_view name) const { return Find(name).number; }

std::int64_t Parameters::Integer(absl::string_view name) const {
  return std::llround(Find(name).number);
}

const std::string& Parameters::Text(absl::string_view name) const { return Find(name).text; }

bool Parameters::IsDefault(absl::string_view name) const { return Find(name).is_default; }

void Parameters::WriteTo(v1::FaultSpec* spec) const {
  for (const Value& value : values_) (*spec->mutable_parameters())[value.name] = value.text;
}

}  // namespace faultline
