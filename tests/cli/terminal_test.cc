// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/words.h"

namespace faultline::cli {
namespace {

TEST(Table_PlainCells, AreAlignedWithoutTrailingBlanks) {
  std::ostringstream out;
  const Terminal terminal(out, out, {});
  Table table({"NAME", "N", "NOTE"});
  table.Add({"a", "100", ""});
  table.Add({"long name", "1", "x"});
  EXPECT_EQ(table.Render(terminal),
            "NAME       N    NOTE\n"
            "a          100\n"
            "long name  1    x\n");
}

TEST(Table_ColouredAndWideCells, CountWhatIsSeen) {
  EXPECT_EQ(DisplayWidth("\033[32mok\033[0m"), 2U);
  EXPECT_EQ(DisplayWidth("µs"), 2U);
  std::ostringstream out;
  const Terminal terminal(out, out, {true, true, false});
  Table table({"A", "B"});
  table.Add({terminal.Paint(Colour::kGood, "ok"), "x"});
  EXPECT_EQ(table.Render(terminal), "\033[1mA\033[0m   \033[1mB\033[0m\n\033[32mok\033[0m  x\n");
}

TEST(Terminal_WithoutTty, ShowsNoProgressAndNoColour) {
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal(out, err, {});
  terminal.Progress("10 %");
  terminal.Error("it broke");
  EXPECT_EQ(err.str(), "error: it broke\n");
  EXPECT_EQ(terminal.Paint(Colour::kBad, "x"), "x");
}

TEST(Terminal_WithTty, TakesTheProgressLineAwayBeforeText) {
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal(out, err, {false, false, true});
  terminal.Progress("10 %");
  terminal.Say("done");
  EXPECT_EQ(err.str(), "\r10 %\033[K\r\033[Kdone\n");
}

TEST(Words_Doses, NameTheirUnitOnce) {
  v1::Dose dose;
  dose.set_name("throttled_ns");
  dose.set_unit("ns");
  dose.set_value(1'070'000'000);
  EXPECT_EQ(DoseText(dose), "throttled 1.07 s");
  dose.set_name("packets_dropped");
  dose.set_unit("{packet}");
  dose.set_value(2323);
  EXPECT_EQ(DoseText(dose), "packets dropped 2323");
}

TEST(Words_Amounts, ReadAsPeopleSayThem) {
  EXPECT_EQ(AmountText(1.5e9, "ns"), "1.50 s");
  EXPECT_EQ(AmountText(340e6, "ns"), "340 ms");
  EXPECT_EQ(AmountText(64.0 * 1024 * 1024, "By"), "64 MiB");
  EXPECT_EQ(AmountText(731, "{packet}"), "731 packets");
  EXPECT_EQ(AmountText(1, "{packet}"), "1 packet");
  EXPECT_EQ(AmountText(20e6, "bit/s"), "20 Mbit/s");
  EXPECT_EQ(AmountText(0, "ns"), "0 ns");
  EXPECT_EQ(AmountText(0.25, "1"), "0.25");
  EXPECT_EQ(DurationText(30'000'000'000), "30 s");
  EXPECT_EQ(ClockText(0), "-");
  EXPECT_EQ(ClockText(1'700'000'000'123'000'000), "22:13:20.123");
}

}  // namespace
}  // namespace faultline::cli
