// SPDX-License-Identifier: Apache-2.0
#include "injector/host_readings.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace faultline {
namespace {

class HostReadingsTest : public ::testing::Test {
 protected:
  HostReadingsTest() {
    if (::mkdtemp(root_.data()) == nullptr) std::abort();
  }
  ~HostReadingsTest() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  RealHostReadings Readings() const { return RealHostReadings(root_, root_, root_); }

  std::string root_ = ::testing::TempDir() + "faultline-readings-XXXXXX";
};

TEST_F(HostReadingsTest, ReadsWhatTheKernelTells) {
  Write("/pressure/memory",
        "some avg10=72.13 avg60=1.00 avg300=0.10 total=1\nfull avg10=3.00 avg60=0.00 total=1\n");
  Write("/meminfo", "MemTotal:       10000 kB\nMemFree: 1 kB\nMemAvailable:    3000 kB\n");
  Write("/loadavg", "8.00 4.00 2.00 3/100 4711\n");
  Write("/class/thermal/thermal_zone0/temp", "45000\n");
  Write("/class/thermal/thermal_zone1/temp", "61500\n");
  Write("/class/thermal/thermal_zone2/temp", "2147483647\n");
  Write("/class/thermal/thermal_zone3/type", "asleep\n");
  Write("/class/thermal/cooling_device0/temp", "99000\n");
  RealHostReadings readings = Readings();
  EXPECT_DOUBLE_EQ(*readings.Pressure("memory"), 72.13);
  EXPECT_EQ(readings.Memory()->total, 10000 * 1024);
  EXPECT_EQ(readings.Memory()->available, 3000 * 1024);
  EXPECT_DOUBLE_EQ(*readings.Temperature(), 61.5);
  EXPECT_GT(*readings.LoadPerCpu(), 0.0);
  EXPECT_LE(*readings.LoadPerCpu(), 8.0);
  ASSERT_TRUE(readings.Disk().ok());
  EXPECT_GT(readings.Disk()->total, 0);
  EXPECT_LE(readings.Disk()->available, readings.Disk()->total);
}

TEST_F(HostReadingsTest, SayThatTheyDoNotKnow_WhereTheKernelTellsNothing) {
  Write("/pressure/io", "");
  Write("/pressure/cpu", "garbage\n");
  Write("/meminfo", "MemTotal: 1 kB\n");
  Write("/loadavg", "\n");
  RealHostReadings readings = Readings();
  for (const char* what : {"cpu", "io", "memory"}) {
    EXPECT_TRUE(absl::IsNotFound(readings.Pressure(what).status())) << what;
  }
  EXPECT_TRUE(absl::IsNotFound(readings.Memory().status()));
  EXPECT_TRUE(absl::IsNotFound(readings.Temperature().status()));
  EXPECT_TRUE(absl::IsNotFound(readings.LoadPerCpu().status()));
  EXPECT_FALSE(RealHostReadings(root_ + "/none").Disk().ok());
}

}  // namespace
}  // namespace faultline
