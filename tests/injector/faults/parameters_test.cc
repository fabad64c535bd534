// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "injector/faults/fault.h"

namespace faultline {
namespace {

using ParameterKind = Parameter::Kind;
using ::testing::HasSubstr;

constexpr Parameter kRow[] = {
    {"loss", ParameterKind::kPercent, "%", 0.01, 100, "20%", nullptr, "share lost"},
    {"delay", ParameterKind::kDuration, "ns", 1e6, 1e10, "50ms", nullptr, "time added"},
    {"bytes", ParameterKind::kBytes, "By", 4096, 1e12, "8M", nullptr, "size"},
    {"ramp", ParameterKind::kBytes, "By/s", 4096, 1e12, "8M/s", nullptr, "growth"},
    {"rate", ParameterKind::kRate, "bit/s", 1000, 1e11, "10mbit", nullptr, "speed"},
    {"cpus", ParameterKind::kNumber, "CPU", 0.05, 64, "1", nullptr, "CPUs"},
    {"direction", ParameterKind::kChoice, "", 0, 0, "both", "in|out|both", "which way"},
    {"device", ParameterKind::kText, "", 0, 0, "", nullptr, "which"},
};

v1::FaultSpec Spec(const std::string& name, const std::string& text) {
  v1::FaultSpec spec;
  spec.set_type("test.fault");
  (*spec.mutable_parameters())[name] = text;
  return spec;
}

struct Good {
  const char* name;
  const char* text;
  double number;
};

class Accepts : public ::testing::TestWithParam<Good> {};

TEST_P(Accepts, AmountAsPeopleWriteIt) {
  const auto parsed = Parameters::Parse(kRow, Spec(GetParam().name, GetParam().text));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_DOUBLE_EQ(parsed->Number(GetParam().name), GetParam().number);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Accepts,
    ::testing::Values(Good{"loss", "20%", 20}, Good{"loss", "0.5", 0.5}, Good{"loss", " 20 % ", 20},
                      Good{"delay", "50ms", 5e7}, Good{"delay", "1.5s", 1.5e9},
                      Good{"delay", "2000us", 2e6}, Good{"bytes", "8MiB", 8388608},
                      Good{"bytes", "8M", 8388608}, Good{"bytes", "8MB", 8e6},
                      Good{"bytes", "4096", 4096}, Good{"bytes", "1.5GiB", 1610612736},
                      Good{"ramp", "1MiB/s", 1048576}, Good{"ramp", "1MiB", 1048576},
                      Good{"rate", "10mbit", 1e7}, Good{"rate", "1Gbit/s", 1e9},
                      Good{"rate", "5000bit", 5000}, Good{"cpus", "0.05", 0.05},
                      Good{"cpus", "64", 64}));

struct Bad {
  const char* name;
  const char* text;
  const char* says;
};

class Refuses : public ::testing::TestWithParam<Bad> {};

TEST_P(Refuses, WithASentenceThatSaysWhatWouldBeRight) {
  const auto parsed = Parameters::Parse(kRow, Spec(GetParam().name, GetParam().text));
  ASSERT_FALSE(parsed.ok());
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Table, Refuses,
    ::testing::Values(
        Bad{"loss", "120%", "test.fault: loss is 120%; it must be from 0.01% to 100%"},
        Bad{"loss", "much", "loss is \"much\"; it must be a percentage like 20%"},
        Bad{"loss", "nan", "a percentage like 20%"}, Bad{"loss", "-1%", "from 0.01% to 100%"},
        Bad{"loss", "1e400", "a percentage"}, Bad{"loss", "", "a percentage"},
        Bad{"delay", "50", "a time with its unit like 50ms"}, Bad{"delay", "1h", "from 1ms to 10s"},
        Bad{"bytes", "8X", "a size like 8MiB"}, Bad{"bytes", "1B", "from 4KiB to"},
        Bad{"bytes", "8M/s", "a size like 8MiB"},
        Bad{"rate", "10", "a rate with its unit like 10mbit"}, Bad{"rate", "10mb", "like 10mbit"},
        Bad{"cpus", "65", "from 0.05 CPU to 64 CPU"}, Bad{"cpus", "1x", "a number like 0.5"},
        Bad{"cpus", "inf", "a number"},
        Bad{"direction", "up", "direction is \"up\"; it must be in or out or both"},
        Bad{"lost", "1",
            "test.fault has no parameter \"lost\"; it takes loss, delay, bytes, ramp, rate"}));

TEST(Parameters, AreNamedOneByOne_WhenMissing) {
  constexpr Parameter kMandatory[] = {
      {"cpus", ParameterKind::kNumber, "CPU", 0.05, 64, nullptr, nullptr, "CPU time"}};
  v1::FaultSpec spec;
  spec.set_type("cpu.limit");
  const auto parsed = Parameters::Parse(kMandatory, spec);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().message(),
            "cpu.limit: cpus is missing: CPU time; give cpus=, a number like 0.5");
}

TEST(Parameters, FillInDefaults) {
  v1::FaultSpec spec;
  spec.set_type("test.fault");
  const auto parsed = Parameters::Parse(kRow, spec);
  ASSERT_TRUE(parsed.ok());
  parsed->WriteTo(&spec);
  EXPECT_EQ(spec.parameters().at("direction"), "both");
  EXPECT_EQ(parsed->Integer("delay"), 50'000'000);
  EXPECT_EQ(spec.parameters_size(), 8);
}

}  // namespace
}  // namespace faultline
