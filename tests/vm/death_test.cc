// SPDX-License-Identifier: Apache-2.0
//
// Whatever becomes of the injector, no fault outlives it for long. guest_faults.cc does the deeds
// in the guest.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class DeathTest : public MachineTest {
 protected:
  void Prepare() {
    machine_ = Boot({}, {"guest_faults"});
    ASSERT_NE(machine_, nullptr);
    Do(PrepareFaults());
  }
  // Lines of guest_faults that begin with `word`, without it and in words.
  std::vector<std::vector<std::string>> Faults(const std::string& arguments,
                                               const std::string& word) {
    const std::string said = Do(absl::StrCat(Guest::kFiles, "/guest_faults ", arguments));
    std::vector<std::vector<std::string>> lines;
    for (const auto line : absl::StrSplit(said, '\n')) {
      std::vector<std::string> words = absl::StrSplit(line, ' ');
      if (words[0] != word) continue;
      words.erase(words.begin());
      lines.push_back(std::move(words));
    }
    return lines;
  }
  static double Number(const std::string& word) {
    double value = 0;
    EXPECT_TRUE(absl::SimpleAtod(word, &value)) << word;
    return value;
  }
  // Of each kind of fault, by how many ms it outlived its deadline at most.
  std::map<std::string, double> Overshoots(const std::string& mode, int trials) {
    std::map<std::string, double> most;
    for (const auto& words : Faults(absl::StrCat("deadlines ", mode, " ", trials), "deadline")) {
      const double ms = Number(words.at(1));
      const auto [at, fresh] = most.try_emplace(words.at(0), ms);
      if (!fresh) at->second = std::max(at->second, ms);
    }
    EXPECT_EQ(most.size(), 5u) << mode;
    for (const auto& [kind, ms] : most) {
      std::printf("%s injector, %s: over %.0f ms after its deadline at most\n", mode.c_str(),
                  kind.c_str(), ms);
    }
    return most;
  }

  void ExpectKillsAreUndone();
  void ExpectDeadlinesAreKept();

  Machine* machine_ = nullptr;
};

// Killed at random moments, everything is as before within seconds.
void DeathTest::ExpectKillsAreUndone() {
  constexpr int kAtOnce = 15;
  const int kills = Long() ? 105 : 30;
  int done = 0;
  // At a moment of the eight Starts, and of these the ones at which not all were acked.
  int at_start = 0;
  int with_less = 0;
  double longest = 0;
  // In parts, each short enough to be waited for; two kills more warm each.
  for (int seed = 1; done < kills && !HasFailure(); ++seed) {
    for (const auto& words :
         Faults(absl::StrCat("kills ", kAtOnce, " ", seed, " /root/digest"), "kill")) {
      ++(words.at(0) == "all" ? done : at_start);
      if (words.at(2) != "8") ++with_less;
      longest = std::max(longest, Number(words.at(3)));
    }
  }
  EXPECT_EQ(done, kills);
  EXPECT_EQ(at_start, kills / 3);
  EXPECT_GE(with_less, at_start / 2);
  EXPECT_LE(longest, 5);
  std::printf(
      "%d kills with eight faults acked, %d while they were started, %d of them with less than "
      "eight: "
      "all as before after %.1f s at most\n",
      done, at_start, with_less, longest);
}

// Live or frozen, no fault outlives its deadline for long.
void DeathTest::ExpectDeadlinesAreKept() {
  for (const auto& [kind, ms] : Overshoots("live", 2)) EXPECT_LE(ms, 1000) << kind;
  for (const auto& [kind, ms] : Overshoots("frozen", Long() ? 10 : 2)) {
    // The kernel's own program looks at its clock.
    EXPECT_LE(ms, kind == "link" ? 250 : 15'000) << kind;
  }
}

TEST_F(DeathTest, KilledThenFrozen_NoFaultStaysBehind) {
  Prepare();
  const std::string before = Do("bash /root/digest");
  ExpectKillsAreUndone();
  if (!HasFailure()) ExpectDeadlinesAreKept();
  EXPECT_EQ(Do("bash /root/digest"), before);
  // What network faults counted was kept for who came after the killed.
  EXPECT_THAT(Do("journalctl -u 'faultline-*' -o cat"),
              AllOf(HasSubstr("net.loss on /system.slice/t5.service undone, the injector died\n"),
                    Not(HasSubstr("Read-only"))));
}

}  // namespace
}  // namespace faultline
