// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/text_files.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/agent/metrics/fake_host.h"

namespace faultline {
namespace {

TEST(TakeKey, EndsAtBlankOrColon) {
  struct {
    absl::string_view line;
    absl::string_view key;
    absl::string_view next;
  } const cases[] = {
      {"MemFree:  12 kB", "MemFree", "12"},
      {"pgfault 7", "pgfault", "7"},
      {"  eth0:123 4", "eth0", "123"},
      {"eth0: 123 4", "eth0", "123"},
      {"Active(anon): 1", "Active(anon)", "1"},
      {"alone", "alone", ""},
      {"", "", ""},
      {"   ", "", ""},
  };
  for (const auto& c : cases) {
    absl::string_view line = c.line;
    EXPECT_EQ(TakeKey(&line), c.key) << c.line;
    EXPECT_EQ(TakeWord(&line), c.next) << c.line;
  }
}

TEST(TakeLine, YieldsEveryLine_WithOrWithoutEndOfTheLast) {
  for (absl::string_view text : {"a\n\nb\n", "a\n\nb"}) {
    std::vector<absl::string_view> lines;
    while (!text.empty()) lines.push_back(TakeLine(&text));
    EXPECT_EQ(lines, (std::vector<absl::string_view>{"a", "", "b"}));
  }
}

TEST(ToNumber, TakesWholeUnsignedNumbersOnly) {
  EXPECT_EQ(ToNumber("0"), 0U);
  EXPECT_EQ(ToNumber("18446744073709551615"), UINT64_MAX);
  for (absl::string_view bad : {"", "-1", "+1", "1x", "x", "18446744073709551616", "max"}) {
    EXPECT_EQ(ToNumber(bad), std::nullopt) << bad;
  }
}

TEST(TextFiles, Read_OncePerTick_ThroughAnOpenDescriptor) {
  FakeHost host;
  TextFiles files(host.proc(), host.sys());
  host.Write("/proc/stat", "one");
  EXPECT_EQ(*files.Read("/proc/stat"), "one");
  host.Write("/proc/stat", "two");
  EXPECT_EQ(*files.Read("/proc/stat"), "one");
  files.BeginTick();
  EXPECT_EQ(*files.Read("/proc/stat"), "two");
}

TEST(TextFiles, Read_LongFile_IsWhole) {
  FakeHost host;
  TextFiles files(host.proc(), host.sys());
  const std::string text(100'000, 'x');
  host.Write("/proc/stat", text);
  EXPECT_EQ(*files.Read("/proc/stat"), text);
  files.BeginTick();
  host.Write("/proc/stat", "short");
  EXPECT_EQ(*files.Read("/proc/stat"), "short");
}

TEST(TextFiles, Read_NoFile_IsNotFound) {
  FakeHost host;
  TextFiles files(host.proc(), host.sys());
  EXPECT_TRUE(absl::IsNotFound(files.Read("/proc/none").status()));
}

}  // namespace
}  // namespace faultline
