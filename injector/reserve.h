// SPDX-License-Identifier: Apache-2.0
//
// A part of something that has to stay free, as a configuration gives it: "10%" of the whole, or a
// size like "512M". Plain data, any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

struct Reserve {
  // Of the whole; 0: `bytes` counts.
  double percent = 0;
  std::int64_t bytes = 0;

  std::int64_t Of(std::int64_t total) const {
    return percent == 0 ? bytes
                        : static_cast<std::int64_t>(static_cast<double>(total) * percent / 100);
  }
  bool off() const { return percent == 0 && bytes == 0; }
};

// InvalidArgument: what would be right. "off": none.
absl::StatusOr<Reserve> ParseReserve(absl::string_view text);

// "10 %" or "512 MiB"; "off".
std::string ReserveText(const Reserve& reserve);

}  // namespace faultline
