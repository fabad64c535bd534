// SPDX-License-Identifier: Apache-2.0
//
// What a fault gives is what was asked for, as somebody else measures it. Each row is tried up to
// three times where it gave too little: a machine that is busy with something else has less to give
// for a while, never more.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "tests/trials/doses.h"

namespace faultline {

void PrintTo(const DoseRow& row, std::ostream* out) { *out << row.name; }

namespace {

absl::StatusOr<GivenDose> Measure(TrialSite* site, const DoseRow& row) {
  absl::StatusOr<GivenDose> dose = absl::UnknownError("not tried");
  for (int attempt = 0; attempt < 3; ++attempt) {
    dose = row.measure(site, row.asked);
    if (!dose.ok() || DoseError(row, *dose) >= -dose->tolerance) break;
  }
  return dose;
}

class DoseTruth : public ::testing::TestWithParam<DoseRow> {};

TEST_P(DoseTruth, IsWhatWasAskedFor) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: faults are injected";
  const DoseRow& row = GetParam();
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (absl::IsUnimplemented(site.status())) GTEST_SKIP() << site.status().message();
  ASSERT_TRUE(site.ok()) << site.status();
  // Of netem, in guests (tests/vm/host_test.cc).
  const absl::Status can = (*site)->Check(row.type);
  if (absl::IsUnimplemented(can)) GTEST_SKIP() << can.message();
  ASSERT_TRUE(can.ok()) << can;
  const std::string before = (*site)->Digest();
  const absl::StatusOr<GivenDose> dose = Measure(site->get(), row);
  EXPECT_EQ((*site)->Digest(), before);
  if (absl::IsFailedPrecondition(dose.status()) || absl::IsUnimplemented(dose.status())) {
    GTEST_SKIP() << dose.status().message();
  }
  ASSERT_TRUE(dose.ok()) << dose.status();
  const double error = DoseError(row, *dose);
  std::printf("%s: given %.4f, told %.4f %s, %+.2f %% of at most %.2f %%\n", row.name, dose->given,
              dose->told, row.unit, 100 * error, 100 * dose->tolerance);
  EXPECT_LE(std::fabs(error), dose->tolerance);
  // The injector's count and the witness's are of the same thing.
  if (dose->told >= 0) {
    EXPECT_NEAR(dose->told, dose->given, 0.02 * row.asked);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, DoseTruth, ::testing::ValuesIn(Doses().begin(), Doses().end()),
                         [](const auto& row) {
                           std::string name = row.param.name;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char one) { return !absl::ascii_isalnum(one); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace faultline
