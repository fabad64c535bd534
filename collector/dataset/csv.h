// SPDX-License-Identifier: Apache-2.0
//
// Text of the dataset's files: CSV fields (RFC 4180, lines end in LF), numbers and times. Numbers
// are written so that reading them back yields the same bits. Stateless.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"

namespace faultline {

// Appends `text`, in quotes where it needs them.
void AppendField(absl::string_view text, std::string* line);
// The shortest text that reads back as the same double.
void AppendDouble(double value, std::string* line);
// UTC, RFC 3339 with microseconds: "2026-01-31T12:00:00.000001Z". Nothing for 0.
void AppendTime(std::int64_t realtime_ns, std::string* line);
std::string TimeText(std::int64_t realtime_ns);

// A whole line of text fields.
std::string CsvLine(std::initializer_list<absl::string_view> fields);

// A JSON string with its quotes.
void AppendJson(absl::string_view text, std::string* json);

}  // namespace faultline
