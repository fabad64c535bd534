// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/csv.h"

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"

namespace faultline {
namespace {

constexpr std::int64_t kNsPerMicrosecond = 1000;

bool NeedsQuotes(absl::string_view text) {
  for (const char c : text) {
    if (c == ',' || c == '"' || c == '\n' || c == '\r') return true;
  }
  return !text.empty() && (text.front() == ' ' || text.back() == ' ');
}

}  // namespace

void AppendField(absl::string_view text, std::string* line) {
  if (!NeedsQuotes(text)) {
    line->append(text.data(), text.size());
    return;
  }
  line->push_back('"');
  for (const char c : text) {
    if (c == '"') line->push_back('"');
    line->push_back(c);
  }
  line->push_back('"');
}

void AppendDouble(double value, std::string* line) {
  if (!std::isfinite(value)) return;
  // to_chars prefers 5e+08; people and strict readers prefer digits.
  constexpr double kExact = 1e15;
  if (std::trunc(value) == value && std::abs(value) < kExact) {
    absl::StrAppend(line, static_cast<std::int64_t>(value));
    return;
  }
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  line->append(text.data(), static_cast<std::size_t>(end.ptr - text.data()));
}

void AppendTime(std::int64_t realtime_ns, std::string* line) {
  if (realtime_ns == 0) return;
  // Towards the past, also before 1970.
  std::int64_t seconds = realtime_ns / kNsPerSecond;
  std::int64_t rest = realtime_ns % kNsPerSecond;
  if (rest < 0) {
    --seconds;
    rest += kNsPerSecond;
  }
  const std::time_t time = seconds;
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  absl::StrAppendFormat(line, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", utc.tm_year + 1900,
                        utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                        rest / kNsPerMicrosecond);
}

std::string TimeText(std::int64_t realtime_ns) {
  std::string text;
  AppendTime(realtime_ns, &text);
  return text;
}

std::string CsvLine(std::initializer_list<absl::string_view> fields) {
  std::string line;
  bool first = true;
  for (const absl::string_view field : fields) {
    if (!first) line.push_back(',');
    first = false;
    AppendField(field, &line);
  }
  line.push_back('\n');
  return line;
}

void AppendJson(absl::string_view text, std::string* json) {
  json->push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json->push_back('\\');
      json->push_back(c);
    } else if (byte < 0x20) {
      absl::StrAppendFormat(json, "\\u%04x", byte);
    } else {
      json->push_back(c);
    }
  }
  json->push_back('"');
}

}  // namespace faultline
