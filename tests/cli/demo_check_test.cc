// SPDX-License-Identifier: Apache-2.0
//
// The demo's check must see every kind of lie, so it is fed a small true dataset and then each lie.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "cli/demo/check.h"
#include "cli/demo/csv.h"

namespace faultline::cli {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMiB = std::int64_t{1024} * 1024;
// Real time of second 0 of the story; BOOTTIME is 1000 s there.
constexpr std::int64_t kStart = 1'790'000'000 * kSecond;

std::string Time(double second) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ",
                          absl::FromUnixNanos(kStart + static_cast<std::int64_t>(second * 1e9)),
                          absl::UTCTimeZone());
}

std::string Edge(double second) {
  return absl::StrCat(Time(second), ",", 1000 * kSecond + static_cast<std::int64_t>(second * 1e9),
                      ",0");
}

constexpr const char* kHeader =
    "fault_id,node,type,target,cgroup,parameters,shape,seed,duration_ns,sham,phase,"
    "commanded,commanded_boottime_ns,commanded_error_ns,acked,acked_boottime_ns,acked_error_ns,"
    "first_touch,first_touch_boottime_ns,first_touch_error_ns,last_touch,last_touch_boottime_ns,"
    "last_touch_error_ns,undone,undone_boottime_ns,undone_error_ns,recovered_boottime_ns,boot_id,"
    "dose,verdict,moved,residue,reason\n";

// A fault from `begin` to `end`: commanded a little before, first touched a little after.
std::string FaultLine(const std::string& type, double begin, double end, const std::string& dose,
                      const std::string& verdict) {
  const std::string touch =
      type == "sham" ? ",,,,," : absl::StrCat(Edge(begin + 0.1), ",", Edge(end - 0.1));
  return absl::StrCat("id-", type, ",demo,", type, ",cgroup:/web,/web,{},constant,1,",
                      "3000000000,", type == "sham" ? 1 : 0, ",undone,", Edge(begin - 0.01), ",",
                      Edge(begin), ",", touch, ",", Edge(end), ",,boot,", dose, ",", verdict,
                      ",[],,\n");
}

std::string ThrottledDose(std::int64_t ns) {
  return absl::StrCat("\"[{\"\"name\"\": \"\"throttled_ns\"\", \"\"unit\"\": \"\"ns\"\", ",
                      "\"\"value\"\": ", ns, ", \"\"gauge\"\": false}]\"");
}

class DemoCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "faultline-check-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    fs::create_directory(root_ / "data");
    Write("faults.csv",
          absl::StrCat(kHeader,
                       FaultLine("cpu.limit", 5.2, 9.4, ThrottledDose(2 * kSecond), "effective"),
                       FaultLine("sham", 12.2, 14.4, "[]", "no_effect")));
    // A window a second; those of 7, 8 and 9 lie wholly inside the limit.
    std::string rows =
        "timestamp,node,entity,x,fault_active,label,label_state,label_target,"
        "fault_id,fault_type,dose\n";
    for (int end = 1; end <= 18; ++end) {
      for (const char* entity : {"/web", "/other"}) {
        const bool labelled = end >= 7 && end <= 9;
        const bool active = (end >= 6 && end <= 10) || (end >= 13 && end <= 15);
        const bool target = labelled && std::string(entity) == "/web";
        absl::StrAppend(&rows, Time(end), ",demo,", entity, ",1,", active ? 1 : 0, ",",
                        labelled ? 1 : 0,
                        labelled ? ",fault,"
                        : active ? ",transition,"
                                 : ",normal,",
                        target ? 1 : 0, ",,,\n");
      }
    }
    Write("data/cgroup.csv", rows);
    Sum();
  }
  void TearDown() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::ofstream(root_ / path, std::ios::binary) << text;
  }
  std::string Read(const std::string& path) const {
    std::ifstream in(root_ / path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void Replace(const std::string& path, const std::string& from, const std::string& to) {
    const std::string before = Read(path);
    const std::string after = absl::StrReplaceAll(before, {{from, to}});
    ASSERT_NE(before, after) << from;
    Write(path, after);
  }
  // CHECKSUMS by another implementation than ours: sha256sum of coreutils.
  void Sum() const {
    const std::string command =
        absl::StrCat("cd ", root_.string(), " && sha256sum data/cgroup.csv faults.csv > CHECKSUMS");
    ASSERT_EQ(std::system(command.c_str()), 0);
  }

  // Text of the first finding that disagrees; empty if all agree.
  std::string Disagreement() {
    const absl::StatusOr<std::vector<FaultRow>> faults = ReadFaults(root_.string());
    if (!faults.ok()) return std::string(faults.status().message());
    for (const Finding& finding : CheckLabels(root_.string(), *faults)) {
      if (!finding.agrees) return finding.text;
    }
    return "";
  }

  fs::path root_;
};

TEST_F(DemoCheckTest, TrueDataset_IsAgreedWith) {
  EXPECT_EQ(Disagreement(), "");
  const absl::StatusOr<std::vector<FaultRow>> faults = ReadFaults(root_.string());
  ASSERT_TRUE(faults.ok()) << faults.status();
  ASSERT_EQ(faults->size(), 2U);
  EXPECT_EQ((*faults)[0].dose.at("throttled_ns"), 2 * kSecond);
  EXPECT_EQ((*faults)[0].acked.boottime_ns, 1005'200'000'000);
  EXPECT_EQ((*faults)[0].acked.realtime_ns, kStart + 5'200'000'000);
  EXPECT_TRUE((*faults)[1].sham);
  EXPECT_EQ((*faults)[1].first_touch.boottime_ns, 0);
}

TEST_F(DemoCheckTest, LabelOutsideAFault_IsSeen) {
  Replace("data/cgroup.csv", Time(4) + ",demo,/web,1,0,0,normal,0",
          Time(4) + ",demo,/web,1,0,1,fault,1");
  Sum();
  EXPECT_NE(Disagreement().find("label should be 0"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, LabelOnAnEdgeWindow_IsSeen) {
  Replace("data/cgroup.csv", Time(6) + ",demo,/web,1,1,0,transition,0",
          Time(6) + ",demo,/web,1,1,1,fault,1");
  Sum();
  EXPECT_NE(Disagreement().find("label should be 0"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, MissingLabel_IsSeen) {
  Replace("data/cgroup.csv", Time(8) + ",demo,/web,1,1,1,fault,1",
          Time(8) + ",demo,/web,1,1,0,normal,0");
  Sum();
  EXPECT_NE(Disagreement().find("label should be 1"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, LabelOfASham_IsSeen) {
  Replace("data/cgroup.csv", Time(14) + ",demo,/web,1,1,0,transition,0",
          Time(14) + ",demo,/web,1,1,1,fault,1");
  Sum();
  EXPECT_NE(Disagreement().find("label should be 0"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, WrongFact_IsSeen) {
  Replace("data/cgroup.csv", Time(14) + ",demo,/web,1,1", Time(14) + ",demo,/web,1,0");
  Sum();
  EXPECT_NE(Disagreement().find("fault_active should be 1"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, WrongTarget_IsSeen) {
  Replace("data/cgroup.csv", Time(8) + ",demo,/other,1,1,1,fault,0",
          Time(8) + ",demo,/other,1,1,1,fault,1");
  Sum();
  EXPECT_NE(Disagreement().find("label_target should be 0"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, LabelThatIsNoNumber_IsSeen) {
  Replace("data/cgroup.csv", Time(3) + ",demo,/web,1,0,0", Time(3) + ",demo,/web,1,0,");
  Sum();
  EXPECT_NE(Disagreement().find("0 or 1"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, NoEffect_MeansNoLabels) {
  Replace("faults.csv", "effective", "no_effect");
  Sum();
  EXPECT_NE(Disagreement().find("label should be 0"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, ChangedFile_IsSeen) {
  Replace("data/cgroup.csv", "/other,1", "/other,2");
  EXPECT_NE(Disagreement().find("differs from its checksum"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, ForeignFile_IsSeen) {
  Write("extra.csv", "x\n");
  EXPECT_NE(Disagreement().find("no line for extra.csv"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, MissingFile_IsSeen) {
  Write("gone.csv", "x\n");
  Write("CHECKSUMS", Read("CHECKSUMS") + std::string(64, '0') + "  gone.csv\n");
  fs::remove(root_ / "gone.csv");
  EXPECT_NE(Disagreement().find("gone.csv is in CHECKSUMS"), std::string::npos) << Disagreement();
}

TEST_F(DemoCheckTest, NoRows_IsSeen) {
  Write("data/cgroup.csv",
        Read("data/cgroup.csv").substr(0, Read("data/cgroup.csv").find('\n') + 1));
  Sum();
  EXPECT_NE(Disagreement().find("no rows"), std::string::npos) << Disagreement();
}

// ---- What the kernel says. ----

struct Story {
  // At 10 samples a second, 1000 s to 1020 s; the fault is from 1005.2 s to 1009.4 s.
  std::vector<WitnessSample> samples;
  FaultRow fault;
};

Story Tell(const std::string& type) {
  Story story;
  for (int i = 0; i <= 200; ++i) {
    WitnessSample sample;
    sample.boottime_ns = 1000 * kSecond + i * (kSecond / 10);
    // 40 Mbit/s.
    sample.sent_bytes = std::int64_t{i} * 500'000;
    sample.memory_bytes = 10 * kMiB;
    story.samples.push_back(sample);
  }
  FaultRow& fault = story.fault;
  fault.type = type;
  fault.sham = type == "sham";
  fault.verdict = fault.sham ? "no_effect" : "effective";
  fault.commanded.boottime_ns = 1005'190'000'000;
  fault.acked.boottime_ns = 1005'200'000'000;
  fault.undone.boottime_ns = 1009'400'000'000;
  return story;
}

// Adds `total` to `field` evenly over the fault, and for ever after.
void Grow(Story* story, std::int64_t WitnessSample::*field, std::int64_t total) {
  const double length = 4.2e9;
  for (WitnessSample& sample : story->samples) {
    const double passed =
        static_cast<double>(sample.boottime_ns - story->fault.acked.boottime_ns) / length;
    sample.*field +=
        static_cast<std::int64_t>(std::clamp(passed, 0.0, 1.0) * static_cast<double>(total));
  }
}

bool Agrees(const Story& story) {
  const std::vector<Finding> findings = CheckKernel({story.fault}, story.samples, 20'000'000);
  EXPECT_EQ(findings.size(), 1U);
  return findings[0].agrees;
}

TEST(DemoEvidence_CpuLimit, AgreesWithThrottledTimeOnly) {
  Story story = Tell("cpu.limit");
  Grow(&story, &WitnessSample::throttled_ns, 2 * kSecond);
  story.fault.dose["throttled_ns"] = 1'980'000'000;
  EXPECT_TRUE(Agrees(story));
  story.fault.dose["throttled_ns"] = 3 * kSecond;
  EXPECT_FALSE(Agrees(story));
  story.fault.dose["throttled_ns"] = 0;
  EXPECT_FALSE(Agrees(story));
  EXPECT_FALSE(Agrees(Tell("cpu.limit")));
}

TEST(DemoEvidence_Verdict_ThatDeniesTheEffect, Disagrees) {
  Story story = Tell("cpu.limit");
  Grow(&story, &WitnessSample::throttled_ns, 2 * kSecond);
  story.fault.dose["throttled_ns"] = 2 * kSecond;
  story.fault.verdict = "no_effect";
  EXPECT_FALSE(Agrees(story));
}

TEST(DemoEvidence_Residue, Disagrees) {
  Story story = Tell("sham");
  EXPECT_TRUE(Agrees(story));
  story.fault.residue = "cpu.cfs_quota_us is 20000";
  EXPECT_FALSE(Agrees(story));
}

TEST(DemoEvidence_NetLoss, NeedsRetransmissions) {
  Story story = Tell("net.loss");
  story.fault.dose["packets_dropped"] = 100;
  EXPECT_FALSE(Agrees(story));
  Grow(&story, &WitnessSample::retransmits, 120);
  EXPECT_TRUE(Agrees(story));
  story.fault.dose["packets_dropped"] = 0;
  EXPECT_FALSE(Agrees(story));
}

TEST(DemoEvidence_NetRate, NeedsTheLimitOnTheDevice) {
  Story story = Tell("net.rate");
  EXPECT_FALSE(Agrees(story));
  // 40 Mbit/s become 19.
  Grow(&story, &WitnessSample::sent_bytes, static_cast<std::int64_t>(-21e6 / 8 * 4.2));
  EXPECT_TRUE(Agrees(story));
}

TEST(DemoEvidence_MemLeak, MustRiseAndGoBack) {
  Story story = Tell("mem.leak");
  story.fault.dose["held_bytes"] = 96 * kMiB;
  Grow(&story, &WitnessSample::memory_bytes, 96 * kMiB);
  EXPECT_FALSE(Agrees(story)) << "it stays";
  for (WitnessSample& sample : story.samples) {
    if (sample.boottime_ns >= 1009'300'000'000) sample.memory_bytes = 11 * kMiB;
  }
  EXPECT_TRUE(Agrees(story));
  story.fault.dose["held_bytes"] = 10 * kMiB;
  EXPECT_FALSE(Agrees(story));
}

TEST(DemoEvidence_Sham, MustDoNothing) {
  Story story = Tell("sham");
  EXPECT_TRUE(Agrees(story));
  Grow(&story, &WitnessSample::throttled_ns, 1);
  EXPECT_FALSE(Agrees(story));
}

TEST(DemoEvidence_GapInTheCounters, Disagrees) {
  Story story = Tell("sham");
  story.samples.resize(80);
  EXPECT_FALSE(Agrees(story));
}

TEST(Csv_Table, QuotesAndErrors) {
  const absl::StatusOr<CsvFile> file = CsvFile::Parse("a,b\n1,\"x, \"\"y\"\"\nz\"\n,\r\n", "test");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->rows().size(), 2U);
  EXPECT_EQ(file->rows()[0][1], "x, \"y\"\nz");
  EXPECT_EQ(file->rows()[1], (std::vector<std::string>{"", ""}));
  EXPECT_FALSE(file->Column("c").ok());
  for (const char* text : {"", "a,b\n1\n", "a,b\n1,2,3\n", "a,b\n\"1,2\n"}) {
    EXPECT_FALSE(CsvFile::Parse(text, "test").ok()) << text;
  }
  EXPECT_EQ(*ParseTimestamp("2026-09-21T00:26:40.000001Z") % 1'000'000, 1000);
  EXPECT_FALSE(ParseTimestamp("yesterday").ok());
}

}  // namespace
}  // namespace faultline::cli
