// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "collector/collector.h"
#include "collector/dataset/csv.h"
#include "faultline/v1/datasets.grpc.pb.h"
#include "tests/collector/batch_builder.h"
#include "tests/collector/fake_node.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kExportEpoch = "epoch-0123456789";
// As the fake clock has them.
constexpr std::int64_t kStart = 1'000 * kNsPerSecond;
constexpr std::int64_t kOffset = 1'790'000'000 * kNsPerSecond;

using Files = std::map<std::string, std::string>;

std::vector<std::string> LinesOf(const std::string& file) {
  std::vector<std::string> lines = absl::StrSplit(file, '\n');
  EXPECT_EQ(lines.back(), "") << "a file ends with a line end";
  lines.pop_back();
  return lines;
}

// By the names of the header; only for files without quoted fields.
std::vector<std::map<std::string, std::string>> RowsOf(const std::string& file) {
  const std::vector<std::string> lines = LinesOf(file);
  const std::vector<std::string> header = absl::StrSplit(lines[0], ',');
  std::vector<std::map<std::string, std::string>> rows;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> fields = absl::StrSplit(lines[i], ',');
    EXPECT_EQ(fields.size(), header.size()) << lines[i];
    rows.emplace_back();
    for (std::size_t c = 0; c < header.size(); ++c) rows.back()[header[c]] = fields[c];
  }
  return rows;
}

class ExportTest : public testing::Test {
 protected:
  ExportTest() {
    CollectorOptions options;
    options.listen = "";
    options.state_dir = dir_.path();
    auto collector = Collector::Start(options, &clock_);
    EXPECT_TRUE(collector.ok()) << collector.status();
    collector_ = std::move(*collector);
    channel_ = collector_->InProcessChannel();
    runs_ = v1::Runs::NewStub(channel_);
    Run(true);
  }

  // Opens the run now, or closes it.
  void Run(bool start) {
    grpc::ClientContext context;
    v1::Run run;
    v1::StartRunRequest begin;
    begin.set_name("r");
    v1::StopRunRequest end;
    end.set_name("r");
    ASSERT_TRUE(
        (start ? runs_->StartRun(&context, begin, &run) : runs_->StopRun(&context, end, &run))
            .ok());
  }

  grpc::Status Export(Files* files, v1::ExportSummary* summary, const std::string& run = "r") {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(40));
    v1::ExportRequest request;
    request.set_run(run);
    const auto stub = v1::Datasets::NewStub(channel_);
    const auto reader = stub->Export(&context, request);
    v1::ExportChunk chunk;
    while (reader->Read(&chunk)) {
      EXPECT_LE(chunk.data().size(), 256U << 10);
      if (!chunk.path().empty()) (*files)[chunk.path()] += chunk.data();
      if (chunk.has_summary()) *summary = chunk.summary();
    }
    return reader->Finish();
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<Collector> collector_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Runs::Stub> runs_;
};

// A fault from second 20.5 to 30.5 after the start, touched at 21.
v1::FaultState Fault(const std::string& id, const std::string& type) {
  v1::FaultState fault;
  fault.mutable_spec()->set_id(id);
  fault.mutable_spec()->set_type(type);
  fault.mutable_spec()->mutable_target()->set_cgroup("/web");
  (*fault.mutable_spec()->mutable_parameters())["z"] = "1";
  (*fault.mutable_spec()->mutable_parameters())["cpus"] = "say \"half\"";
  fault.mutable_spec()->set_seed(UINT64_MAX);
  fault.mutable_spec()->set_duration_ns(10 * kNsPerSecond);
  fault.set_cgroup("/web");
  fault.set_phase(v1::PHASE_UNDONE);
  fault.set_boot_id("boot-1");
  fault.add_symptoms("cpu_time_ns");
  const auto at = [](v1::Edge* edge, std::int64_t ms) {
    edge->set_boottime_ns(kStart + ms * kNsPerMs);
    edge->set_realtime_ns(kStart + ms * kNsPerMs + kOffset);
  };
  at(fault.mutable_edges()->mutable_commanded(), 20'400);
  at(fault.mutable_edges()->mutable_acked(), 20'500);
  at(fault.mutable_edges()->mutable_first_touch(), 21'000);
  at(fault.mutable_edges()->mutable_last_touch(), 30'000);
  at(fault.mutable_edges()->mutable_undone(), 30'500);
  auto* dose = fault.add_dose();
  dose->set_name("throttled");
  dose->set_unit("ns");
  dose->set_value(4200);
  return fault;
}

// 60 windows of a second; CPU time of /web falls to `during` in the fault, and comes back three
// windows after it; that of /db to `other`.
void Deliver(FakeNode* node, const v1::FaultState& fault, std::int64_t during, std::int64_t other) {
  node->Hello(TestHello("n1", kExportEpoch));
  for (int second = 0; second < 60; ++second) {
    BatchBuilder builder;
    const auto host = builder.Entity("host", "host");
    const auto web = builder.Entity("cgroup", "/web", "web.service", "");
    const auto database = builder.Entity("cgroup", "/db");
    const auto dose = builder.Entity("fault", fault.spec().id());
    const std::int64_t begin = kStart + second * kNsPerSecond;
    builder.Frame(second, begin, begin + kNsPerSecond, kOffset);
    const bool active = second >= 20 && second <= 30;
    builder.Row("host", host, {Cell(1'000'000 + second), Cell(1 << 30)});
    const bool low = second >= 21 && second < 34;
    builder.Row("cgroup", web,
                {Cell(low ? during : 500'000'000), Cell::Null(), Cell::Histogram({1, 2, 3, 4})});
    builder.Row("cgroup", database,
                {Cell(active ? other : 700'000'000), Cell(second), Cell::Histogram({})});
    if (active) {
      builder.Row("fault", dose, {Cell(100 + second)});
      builder.Active(fault.spec().id());
    }
    if (second == 31) *builder.batch().add_faults() = fault;
    node->Deliver(builder.Encode(kExportEpoch, static_cast<std::uint64_t>(second) + 1));
  }
}

TEST_F(ExportTest, EffectiveFaultIsLabelledInEachState) {
  FakeNode node(channel_);
  Deliver(&node, Fault("f1", "cpu.limit"), 100'000'000, 700'000'000);
  clock_.Advance(60 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  const grpc::Status status = Export(&files, &summary);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto rows = RowsOf(files["data/cgroup.csv"]);
  ASSERT_EQ(rows.size(), 120U);
  std::size_t index = 0;
  for (int second = 0; second < 60; ++second) {
    for (const int entity : {0, 1}) {
      auto row = rows[index++];
      const bool fault = second >= 21 && second < 30;
      const bool edge = second == 20 || second == 30;
      const bool recovery = second >= 31 && second < 34;
      EXPECT_EQ(row["fault_active"], fault || edge ? "1" : "0") << second;
      EXPECT_EQ(row["label"], fault ? "1" : "0") << second;
      EXPECT_EQ(row["label_state"],
                edge ? "transition" : (fault ? "fault" : (recovery ? "recovery" : "normal")))
          << second;
      EXPECT_EQ(row["label_target"], fault && entity == 0 ? "1" : "0");
      EXPECT_EQ(row["fault_id"], fault || edge || recovery ? "f1" : "");
      EXPECT_EQ(row["fault_type"], fault || edge || recovery ? "cpu.limit" : "");
      EXPECT_EQ(row["dose"], fault || edge ? std::to_string(100 + second) : "0");
    }
  }
  EXPECT_EQ(summary.rows(), 60 + 120 + 11);
  EXPECT_EQ(summary.rows_labelled(), 9 + 18 + 9);
  ASSERT_EQ(summary.faults_size(), 1);
  EXPECT_EQ(summary.faults(0).fault().verdict(), v1::VERDICT_EFFECTIVE);
  ASSERT_GE(summary.faults(0).moved_size(), 1);
  EXPECT_EQ(summary.faults(0).moved(0).metric(), "cgroup.cpu_time_ns_per_s");
  EXPECT_EQ(summary.faults(0).moved(0).quiet_median(), 5e8);
  EXPECT_EQ(summary.faults(0).moved(0).fault_median(), 1e8);
  EXPECT_EQ(summary.faults(0).moved(0).windows_outside(), 1);
}

// As the agent stamps them: the loss with the begin of its first window, the return with the end.
TEST_F(ExportTest, WindowsWithoutTheInjectorAreUnlabelled_AndTheirNeighboursAreNot) {
  FakeNode node(channel_);
  Deliver(&node, Fault("f1", "cpu.limit"), 100'000'000, 700'000'000);
  BatchBuilder late;
  const auto tell = [&](const char* kind, int second) {
    v1::Event* const event = late.batch().add_events();
    event->set_kind(kind);
    event->set_boottime_ns(kStart + second * kNsPerSecond);
  };
  tell("injector_lost", 25);
  tell("injector_found", 27);
  node.Deliver(late.Encode(kExportEpoch, 61));
  clock_.Advance(60 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  const auto rows = RowsOf(files["data/host.csv"]);
  ASSERT_EQ(rows.size(), 60U);
  for (const int second : {22, 24, 25, 26, 27, 29}) {
    auto row = rows[static_cast<std::size_t>(second)];
    const bool unseen = second == 25 || second == 26;
    EXPECT_EQ(row["label"], unseen ? "0" : "1") << second;
    EXPECT_EQ(row["label_state"], unseen ? "unknown" : "fault") << second;
    // The injector told afterwards that it was in force all the time.
    EXPECT_EQ(row["fault_active"], "1") << second;
  }
}

TEST_F(ExportTest, DoseIsThatOfTheFaultThatIsNoSham) {
  FakeNode node(channel_);
  Deliver(&node, Fault("f1", "cpu.limit"), 100'000'000, 700'000'000);
  v1::FaultState sham = Fault("f0", "sham");
  sham.set_sham(true);
  sham.clear_dose();
  const auto at = [](v1::Edge* edge, int second) {
    edge->set_boottime_ns(kStart + second * kNsPerSecond);
    edge->set_realtime_ns(kStart + second * kNsPerSecond + kOffset);
  };
  at(sham.mutable_edges()->mutable_commanded(), 17);
  at(sham.mutable_edges()->mutable_acked(), 18);
  sham.mutable_edges()->clear_first_touch();
  sham.mutable_edges()->clear_last_touch();
  at(sham.mutable_edges()->mutable_undone(), 50);
  BatchBuilder late;
  *late.batch().add_faults() = sham;
  node.Deliver(late.Encode(kExportEpoch, 61));
  clock_.Advance(60 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  auto rows = RowsOf(files["data/host.csv"]);
  ASSERT_EQ(rows.size(), 60U);
  EXPECT_EQ(rows[22]["fault_id"], "f0;f1");
  EXPECT_EQ(rows[22]["label"], "1");
  EXPECT_EQ(rows[22]["dose"], "122");
  EXPECT_EQ(rows[45]["fault_active"], "1");
  EXPECT_EQ(rows[45]["dose"], "0");
}

TEST_F(ExportTest, FilesAreAsTheyShouldBeToTheByte) {
  FakeNode node(channel_);
  Deliver(&node, Fault("f1", "cpu.limit"), 100'000'000, 700'000'000);
  clock_.Advance(60 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  std::vector<std::string> names;
  for (const auto& entry : files) names.push_back(entry.first);
  EXPECT_THAT(names, ElementsAre("CHECKSUMS", "README.md", "data/cgroup.csv", "data/fault.csv",
                                 "data/host.csv", "entities.csv", "events.csv", "faults.csv",
                                 "gaps.csv", "metrics.csv", "nodes.csv", "targets.csv"));
  EXPECT_EQ(files["targets.csv"], "node,target,hold,held,remark\n");
  const auto cgroup = LinesOf(files["data/cgroup.csv"]);
  EXPECT_EQ(cgroup[0],
            "timestamp,node,entity,cpu_time_ns_per_s,memory_usage_bytes,runqueue_wait_ns_p50,"
            "runqueue_wait_ns_p90,runqueue_wait_ns_p99,runqueue_wait_ns_count,runqueue_wait_ns_sum,"
            "fault_active,label,label_state,label_target,fault_id,fault_type,dose");
  EXPECT_EQ(cgroup[1],
            "2026-09-21T14:30:01.000000Z,n1,/web,500000000,,2,4,4,4,10,0,0,normal,0,,,0");
  EXPECT_EQ(cgroup[2], "2026-09-21T14:30:01.000000Z,n1,/db,700000000,0,,,,0,0,0,0,normal,0,,,0");
  EXPECT_EQ(
      cgroup[43],
      "2026-09-21T14:30:22.000000Z,n1,/web,100000000,,2,4,4,4,10,1,1,fault,1,f1,cpu.limit,121");
  EXPECT_EQ(
      files["faults.csv"],
      "fault_id,node,type,target,cgroup,parameters,shape,seed,duration_ns,start_boottime_ns,sham,"
      "phase,commanded,"
      "commanded_boottime_ns,commanded_error_ns,acked,acked_boottime_ns,acked_error_ns,"
      "first_touch,first_touch_boottime_ns,first_touch_error_ns,last_touch,"
      "last_touch_boottime_ns,last_touch_error_ns,undone,undone_boottime_ns,undone_error_ns,"
      "recovered_boottime_ns,boot_id,dose,verdict,moved,residue,reason\n"
      "f1,n1,cpu.limit,cgroup:/web,/web,\"{\"\"cpus\"\": \"\"say \\\"\"half\\\"\"\"\", "
      "\"\"z\"\": \"\"1\"\"}\",constant,18446744073709551615,10000000000,1020400000000,0,undone,"
      "2026-09-21T14:30:20.400000Z,1020400000000,0,2026-09-21T14:30:20.500000Z,1020500000000,"
      "0,2026-09-21T14:30:21.000000Z,1021000000000,0,2026-09-21T14:30:30.000000Z,1030000000000"
      ",0,2026-09-21T14:30:30.500000Z,1030500000000,0,1034000000000,boot-1,\"[{\"\"name\"\": "
      "\"\"throttled\"\", \"\"unit\"\": \"\"ns\"\", \"\"value\"\": 4200, \"\"gauge\"\": "
      "false}]\",effective,\"[{\"\"metric\"\": \"\"cgroup.cpu_time_ns_per_s\"\", "
      "\"\"entity\"\": \"\"/web\"\", \"\"quiet_median\"\": 500000000, \"\"fault_median\"\": "
      "100000000, \"\"score\"\": 80, \"\"windows_outside\"\": 1, \"\"symptom\"\": true}]\",,\n");
  EXPECT_EQ(files["entities.csv"],
            "node,table,entity,unit,container\nn1,cgroup,/db,,\nn1,cgroup,/web,web.service,\n"
            "n1,fault,f1,,\nn1,host,host,,\n");
  EXPECT_EQ(files["nodes.csv"],
            "node,hostname,kernel,arch,cpu_model,cpus,memory_bytes,os,cgroup_mode,agent_version,"
            "interval_ns,boot_id\nn1,n1,6.1.0-test,x86_64,,2,,,,,1000000000,boot-1\n");
  EXPECT_EQ(LinesOf(files["metrics.csv"])[1],
            "host,cpu_busy_ns_per_s,ns/s,counter,,test,available,,\"Test, \"\"quoted\"\".\"");
  EXPECT_THAT(files["README.md"], HasSubstr("60 windows of all nodes together, 9 with label 1"));
  EXPECT_THAT(files["README.md"], HasSubstr("0 of 60 windows differ"));
  EXPECT_THAT(files["README.md"], HasSubstr("| data/cgroup.csv | 120 | "));
  Files again;
  ASSERT_TRUE(Export(&again, &summary).ok());
  EXPECT_EQ(files, again);
}

TEST_F(ExportTest, ChecksumsAreThoseOfTheFiles) {
  FakeNode node(channel_);
  Deliver(&node, Fault("f1", "cpu.limit"), 1, 1);
  clock_.Advance(60 * kNsPerSecond);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  std::size_t checked = 0;
  for (const std::string& line : LinesOf(files["CHECKSUMS"])) {
    const std::string path = line.substr(66);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_Digest(files[path].data(), files[path].size(), digest, &size, EVP_sha256(), nullptr);
    std::string hex;
    for (unsigned int i = 0; i < size; ++i)
      absl::StrAppend(&hex, absl::Hex(digest[i], absl::kZeroPad2));
    EXPECT_EQ(line, absl::StrCat(hex, "  ", path));
    ++checked;
  }
  EXPECT_EQ(checked, files.size() - 1);
}

struct VerdictCase {
  const char* name;
  std::int64_t during;
  std::int64_t other;
  bool sham;
  v1::Phase phase;
  const char* symptom;
  v1::Verdict expected;
};

class VerdictTest : public ExportTest, public testing::WithParamInterface<VerdictCase> {};

TEST_P(VerdictTest, IsDerivedFromTheSamples) {
  const VerdictCase& test = GetParam();
  v1::FaultState fault = Fault("f1", "cpu.limit");
  fault.set_sham(test.sham);
  fault.set_phase(test.phase);
  fault.clear_symptoms();
  fault.add_symptoms(test.symptom);
  FakeNode node(channel_);
  Deliver(&node, fault, test.during, test.other);
  clock_.Advance(60 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  ASSERT_EQ(summary.faults_size(), 1);
  EXPECT_EQ(summary.faults(0).fault().verdict(), test.expected)
      << summary.faults(0).ShortDebugString();
  const bool labelled =
      test.expected == v1::VERDICT_EFFECTIVE || test.expected == v1::VERDICT_COLLATERAL;
  EXPECT_EQ(summary.rows_labelled() > 0, labelled);
  if (test.expected == v1::VERDICT_UNSPECIFIED) {
    EXPECT_NE(summary.faults(0).fault().reason(), "");
  }
}

constexpr std::int64_t kWeb = 500'000'000;
constexpr std::int64_t kDb = 700'000'000;
INSTANTIATE_TEST_SUITE_P(
    Cases, VerdictTest,
    testing::Values(VerdictCase{"effective", 100, kDb, false, v1::PHASE_UNDONE, "cpu_time_ns",
                                v1::VERDICT_EFFECTIVE},
                    VerdictCase{"no_effect", kWeb, kDb, false, v1::PHASE_UNDONE, "cpu_time_ns",
                                v1::VERDICT_NO_EFFECT},
                    VerdictCase{"collateral", kWeb, 100, false, v1::PHASE_UNDONE, "cpu_time_ns",
                                v1::VERDICT_COLLATERAL},
                    VerdictCase{"interfered", 100, kDb, false, v1::PHASE_INTERFERED, "cpu_time_ns",
                                v1::VERDICT_INTERFERED},
                    VerdictCase{"sham", 100, kDb, true, v1::PHASE_UNDONE, "cpu_time_ns",
                                v1::VERDICT_NO_EFFECT},
                    VerdictCase{"unmeasured", 100, kDb, false, v1::PHASE_UNDONE, "no_such_column",
                                v1::VERDICT_UNSPECIFIED},
                    VerdictCase{"null", 100, kDb, false, v1::PHASE_UNDONE, "memory_usage_bytes",
                                v1::VERDICT_UNSPECIFIED},
                    VerdictCase{"elsewhere", kWeb, kDb, false, v1::PHASE_UNDONE, "host:cpu_busy_ns",
                                v1::VERDICT_NO_EFFECT}),
    [](const auto& test) { return std::string(test.param.name); });

// Moves the edges of a fault: command, acknowledgement, first touch and end, in ms after the start.
v1::FaultState FaultAt(const std::string& id, const std::string& type, std::int64_t begin_ms,
                       std::int64_t end_ms, const std::string& symptom = "cpu_time_ns") {
  v1::FaultState fault = Fault(id, type);
  fault.mutable_spec()->clear_parameters();
  fault.clear_symptoms();
  fault.add_symptoms(symptom);
  const auto at = [](v1::Edge* edge, std::int64_t ms) {
    edge->set_boottime_ns(kStart + ms * kNsPerMs);
    edge->set_realtime_ns(kStart + ms * kNsPerMs + kOffset);
  };
  at(fault.mutable_edges()->mutable_commanded(), begin_ms);
  at(fault.mutable_edges()->mutable_acked(), begin_ms + 10);
  at(fault.mutable_edges()->mutable_first_touch(), begin_ms + 20);
  at(fault.mutable_edges()->mutable_last_touch(), end_ms - 10);
  at(fault.mutable_edges()->mutable_undone(), end_ms);
  return fault;
}

// What the groups do in a second: CPU time of /web and /db, memory of /web.
struct Second {
  std::int64_t web_cpu = 500'000'000;
  std::int64_t web_memory = 1 << 20;
  std::int64_t db_cpu = 700'000'000;
};

class OverlapTest : public ExportTest {
 protected:
  // Delivers `seconds` windows and exports; faults in order of their command.
  std::vector<v1::FaultState> Judge(const std::vector<v1::FaultState>& faults, int seconds,
                                    const std::function<Second(int)>& world) {
    FakeNode node(channel_);
    node.Hello(TestHello("n1", kExportEpoch));
    for (int second = 0; second < seconds; ++second) {
      BatchBuilder builder;
      const auto web = builder.Entity("cgroup", "/web");
      const auto database = builder.Entity("cgroup", "/db");
      const std::int64_t begin = kStart + second * kNsPerSecond;
      builder.Frame(second, begin, begin + kNsPerSecond, kOffset);
      const Second values = world(second);
      builder.Row("cgroup", web,
                  {Cell(values.web_cpu), Cell(values.web_memory), Cell::Histogram({})});
      builder.Row("cgroup", database, {Cell(values.db_cpu), Cell(second), Cell::Histogram({})});
      if (second == seconds - 1) {
        for (const v1::FaultState& fault : faults) *builder.batch().add_faults() = fault;
      }
      node.Deliver(builder.Encode(kExportEpoch, static_cast<std::uint64_t>(second) + 1));
    }
    clock_.Advance(seconds * kNsPerSecond);
    Run(false);
    files_.clear();
    v1::ExportSummary summary;
    EXPECT_TRUE(Export(&files_, &summary).ok());
    std::vector<v1::FaultState> judged;
    for (const v1::FaultSummary& fault : summary.faults()) judged.push_back(fault.fault());
    EXPECT_EQ(judged.size(), faults.size());
    return judged;
  }

  // Label of /web in the window that begins at `second`.
  std::string LabelAt(int second) {
    return RowsOf(files_["data/cgroup.csv"])[static_cast<std::size_t>(second) * 2]["label"];
  }

  Files files_;
};

TEST_F(OverlapTest, FaultsThatShareEveryWindowAreJudgedTogether) {
  v1::FaultState pause = FaultAt("p", "process.pause", 20'100, 30'900);
  v1::FaultState leak = FaultAt("l", "mem.leak", 20'200, 30'800, "memory_usage_bytes");
  const auto judged = Judge({pause, leak}, 90, [](int second) {
    Second values;
    if (second >= 20 && second <= 30) {
      values.web_cpu = 0;
      values.web_memory = 900 << 20;
    }
    return values;
  });
  EXPECT_EQ(judged[0].verdict(), v1::VERDICT_EFFECTIVE);
  EXPECT_EQ(judged[0].reason(), "judged together with l (mem.leak)");
  EXPECT_EQ(judged[1].verdict(), v1::VERDICT_EFFECTIVE);
  EXPECT_EQ(judged[1].reason(), "judged together with p (process.pause)");
  EXPECT_EQ(LabelAt(25), "1");
}

TEST_F(OverlapTest, SharedFaultThatMovedNothingIsNoEffectAndNeverCollateral) {
  v1::FaultState pause = FaultAt("p", "process.pause", 20'100, 30'900);
  v1::FaultState leak = FaultAt("l", "mem.leak", 20'200, 30'800, "memory_usage_bytes");
  const auto judged = Judge({pause, leak}, 90, [](int second) {
    Second values;
    if (second >= 20 && second <= 30) {
      values.web_cpu = 0;
      values.db_cpu = 1;
    }
    return values;
  });
  EXPECT_EQ(judged[0].verdict(), v1::VERDICT_EFFECTIVE);
  EXPECT_EQ(judged[1].verdict(), v1::VERDICT_NO_EFFECT);
  EXPECT_EQ(judged[1].reason(), "judged together with p (process.pause)");
  // The pause's label stands.
  EXPECT_EQ(LabelAt(25), "1");
}

TEST_F(OverlapTest, FaultWithWindowsOfItsOwnIsJudgedOnThem) {
  // Ten windows each, six of them shared; CPU time falls only while the second stands.
  v1::FaultState first = FaultAt("a", "net.loss", 20'100, 30'900);
  v1::FaultState second_fault = FaultAt("b", "cpu.limit", 24'100, 34'900);
  const auto judged = Judge({first, second_fault}, 90, [](int second) {
    Second values;
    if (second >= 24 && second <= 34) values.web_cpu = 50'000'000;
    return values;
  });
  EXPECT_EQ(judged[0].verdict(), v1::VERDICT_NO_EFFECT);
  EXPECT_EQ(judged[0].reason(), "");
  EXPECT_EQ(judged[1].verdict(), v1::VERDICT_EFFECTIVE);
  EXPECT_EQ(judged[1].reason(), "");
  EXPECT_EQ(LabelAt(22), "0");
  EXPECT_EQ(LabelAt(27), "1");
}

TEST_F(OverlapTest, ShamHidesNothingAndCannotBeClearedBesideAFault) {
  v1::FaultState sham = FaultAt("s", "sham", 18'100, 32'900);
  sham.set_sham(true);
  v1::FaultState inner = FaultAt("i", "sham", 22'100, 26'900);
  inner.set_sham(true);
  v1::FaultState limit = FaultAt("f", "cpu.limit", 20'100, 30'900);
  const auto judged = Judge({sham, limit, inner}, 90, [](int second) {
    Second values;
    if (second >= 20 && second <= 30) values.web_cpu = 50'000'000;
    return values;
  });
  EXPECT_EQ(judged[1].verdict(), v1::VERDICT_EFFECTIVE);
  EXPECT_EQ(judged[1].reason(), "");
  EXPECT_EQ(LabelAt(25), "1");
  EXPECT_EQ(judged[2].verdict(), v1::VERDICT_NO_EFFECT);
  EXPECT_THAT(judged[2].reason(), StartsWith("judged together with f (cpu.limit): what it did"));
}

TEST_F(OverlapTest, CollateralNamesTheGroupThatQuietTimeDoesNotExplain) {
  const auto judged = Judge({FaultAt("f", "cpu.limit", 40'100, 50'900)}, 120, [](int second) {
    Second values;
    if (second >= 41 && second <= 49) values.db_cpu = 100'000'000;
    return values;
  });
  EXPECT_EQ(judged[0].verdict(), v1::VERDICT_COLLATERAL);
  EXPECT_EQ(judged[0].reason(), "cgroup.cpu_time_ns_per_s of /db moved (score 85.7)");
  EXPECT_EQ(LabelAt(45), "1");
}

TEST_F(OverlapTest, GroupThatAlwaysMovesIsNoCollateral) {
  // It works for seven seconds of every twenty, and did so during the fault.
  const auto judged = Judge({FaultAt("f", "cpu.limit", 40'100, 50'900)}, 120, [](int second) {
    Second values;
    if (second % 20 >= 2 && second % 20 < 9) values.db_cpu = 1'400'000'000;
    return values;
  });
  EXPECT_EQ(judged[0].verdict(), v1::VERDICT_NO_EFFECT);
  EXPECT_EQ(LabelAt(45), "0");
}

TEST_F(OverlapTest, CollateralIsOnlyASuspicionInTooLittleQuietTime) {
  const auto judged = Judge({FaultAt("f", "cpu.limit", 20'100, 30'900)}, 36, [](int second) {
    Second values;
    if (second >= 21 && second <= 29) values.db_cpu = 100'000'000;
    return values;
  });
  EXPECT_EQ(judged[0].verdict(), v1::VERDICT_NO_EFFECT);
  EXPECT_THAT(judged[0].reason(), HasSubstr("too little quiet time"));
  EXPECT_THAT(judged[0].reason(), HasSubstr("of /db"));
}

// A symptom that moves beside a fault that met nothing moved by chance.
TEST_F(ExportTest, FaultOfNoDoseHasNoEffect) {
  v1::FaultState fault = Fault("f1", "cpu.limit");
  fault.mutable_edges()->clear_first_touch();
  fault.mutable_edges()->clear_last_touch();
  fault.mutable_dose(0)->set_value(0);
  fault.set_dose_complete(true);
  FakeNode node(channel_);
  Deliver(&node, fault, 100, kDb);
  clock_.Advance(60 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  ASSERT_EQ(summary.faults_size(), 1);
  EXPECT_EQ(summary.faults(0).fault().verdict(), v1::VERDICT_NO_EFFECT);
  EXPECT_THAT(summary.faults(0).fault().reason(), HasSubstr("dose is 0"));
  EXPECT_EQ(summary.rows_labelled(), 0);
}

TEST_F(ExportTest, FaultThatEndedJustBeforeTheRunIsRecoveredFromInIt) {
  Run(false);
  clock_.Advance(31 * kNsPerSecond);
  grpc::ClientContext context;
  v1::StartRunRequest begin;
  begin.set_name("later");
  v1::Run run;
  ASSERT_TRUE(runs_->StartRun(&context, begin, &run).ok());
  FakeNode node(channel_);
  Deliver(&node, Fault("f1", "cpu.limit"), 100, kDb);
  clock_.Advance(29 * kNsPerSecond);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary, "later").ok());
  const auto rows = RowsOf(files["data/host.csv"]);
  ASSERT_FALSE(rows.empty());
  EXPECT_EQ(rows[0].at("label_state"), "recovery");
  EXPECT_EQ(rows[0].at("fault_id"), "f1");
}

TEST_F(ExportTest, WhatCameAfterTheRunIsNotInEntities) {
  FakeNode node(channel_);
  node.Hello(TestHello("n1", kExportEpoch));
  for (int second = 0; second < 4; ++second) {
    BatchBuilder builder;
    const auto host = builder.Entity("host", "host");
    const std::int64_t at = kStart + second * kNsPerSecond;
    builder.Frame(second, at, at + kNsPerSecond, kOffset);
    builder.Row("host", host, {Cell(1), Cell(2)});
    if (second == 3) {
      const auto late = builder.Entity("cgroup", "/late");
      builder.Row("cgroup", late, {Cell(1), Cell(2), Cell::Histogram({})});
    }
    node.Deliver(builder.Encode(kExportEpoch, static_cast<std::uint64_t>(second) + 1));
  }
  clock_.Advance(2 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  EXPECT_THAT(LinesOf(files["entities.csv"]),
              ElementsAre("node,table,entity,unit,container", "n1,host,host,,"));
}

TEST_F(ExportTest, UnknownRunAndOpenRun) {
  Files files;
  v1::ExportSummary summary;
  EXPECT_EQ(Export(&files, &summary, "none").error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(Export(&files, &summary).ok());
  EXPECT_EQ(summary.rows(), 0);
  EXPECT_THAT(files["README.md"], HasSubstr("still open"));
}

TEST_F(ExportTest, OnlyWholeWindowsOfTheRunAreInIt) {
  FakeNode node(channel_);
  node.Hello(TestHello("n1", kExportEpoch));
  BatchBuilder builder;
  const auto host = builder.Entity("host", "host");
  for (const std::int64_t begin : {-1'500, -500, 0, 1'000, 1'500}) {
    builder.Frame(begin, kStart + begin * kNsPerMs, kStart + (begin + 1'000) * kNsPerMs, kOffset);
    builder.Row("host", host, {Cell(1), Cell(begin)});
  }
  node.Deliver(builder.Encode(kExportEpoch, 1));
  clock_.Advance(2 * kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  const auto rows = RowsOf(files["data/host.csv"]);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].at("memory_available_bytes"), "0");
  EXPECT_EQ(rows[1].at("memory_available_bytes"), "1000");
}

TEST_F(ExportTest, NodesWithDifferentSchemasShareAFile) {
  v1::Schema other = TestSchema();
  other.set_id(5);
  other.mutable_tables(0)->mutable_columns()->DeleteSubrange(0, 1);
  *other.mutable_tables(0)->add_columns() = MakeColumn("fault_active", v1::KIND_GAUGE, "1");
  FakeNode one(channel_);
  one.Hello(TestHello("n1", kExportEpoch));
  FakeNode two(channel_);
  two.Hello(TestHello("n2", kExportEpoch, other));
  BatchBuilder a;
  const auto host_a = a.Entity("host", "host");
  a.Frame(1, kStart, kStart + kNsPerSecond, kOffset).Row("host", host_a, {Cell(5), Cell(6)});
  one.Deliver(a.Encode(kExportEpoch, 1));
  BatchBuilder b(other);
  const auto host_b = b.Entity("host", "a \"b\", c");
  b.Frame(1, kStart, kStart + kNsPerSecond, kOffset).Row("host", host_b, {Cell(7), Cell(8)});
  two.Deliver(b.Encode(kExportEpoch, 1));
  clock_.Advance(kNsPerSecond);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  EXPECT_THAT(
      LinesOf(files["data/host.csv"]),
      ElementsAre(StartsWith("timestamp,node,entity,cpu_busy_ns_per_s,memory_available_bytes"
                             ",host_fault_active,fault_active,"),
                  StartsWith("2026-09-21T14:30:01.000000Z,n1,host,5,6,,0,0,normal"),
                  StartsWith("2026-09-21T14:30:01.000000Z,n2,\"a \"\"b\"\", c\",,7,8,0,0")));
}

// What was put in, kept as it was.
struct Truth {
  std::int64_t end = 0;
  double window_s = 0;
  std::string entity;
  std::vector<Cell> cells;
  std::vector<std::uint64_t> observed;
};

TEST_F(ExportTest, HoldsExactlyWhatWasDelivered_RandomFrames) {
  std::mt19937_64 random(7);
  std::vector<Truth> truths;
  FakeNode node(channel_);
  node.Hello(TestHello("n1", kExportEpoch));
  std::int64_t now = kStart;
  for (std::uint64_t sequence = 1; sequence <= 40; ++sequence) {
    BatchBuilder builder;
    std::vector<std::uint64_t> entities;
    const auto count = random() % 12;
    for (std::uint64_t e = 0; e < count; ++e) {
      entities.push_back(builder.Entity("cgroup", absl::StrCat("/g", random() % 1000, "-", e)));
    }
    for (int frame = 0; frame < 5; ++frame) {
      const auto length = static_cast<std::int64_t>(1'000'000 + random() % 2'000'000'000);
      builder.Frame(static_cast<std::int64_t>(sequence) * 10 + frame, now, now + length, kOffset);
      now += length;
      for (const std::uint64_t entity : entities) {
        Truth truth;
        truth.end = now;
        truth.window_s = static_cast<double>(length) / 1e9;
        truth.entity = builder.batch().entities(static_cast<int>(entity) - 1).name();
        for (int c = 0; c < 2; ++c) {
          const auto number = static_cast<std::int64_t>(random() >> (random() % 64));
          truth.cells.push_back(random() % 4 == 0 ? Cell::Null() : Cell(number));
        }
        for (std::uint64_t i = random() % 20; i > 0; --i) {
          truth.observed.push_back((random() >> 8) >> (random() % 50));
        }
        truth.cells.push_back(random() % 5 == 0 ? Cell::Null() : Cell::Histogram(truth.observed));
        builder.Row("cgroup", entity, truth.cells);
        truths.push_back(std::move(truth));
      }
    }
    ASSERT_EQ(node.Deliver(builder.Encode(kExportEpoch, sequence)), sequence);
  }
  clock_.Advance(now - kStart);
  Run(false);
  Files files;
  v1::ExportSummary summary;
  ASSERT_TRUE(Export(&files, &summary).ok());
  const auto rows = RowsOf(files["data/cgroup.csv"]);
  ASSERT_EQ(rows.size(), truths.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto row = rows[i];
    const Truth& truth = truths[i];
    EXPECT_EQ(row["timestamp"], TimeText(truth.end + kOffset));
    EXPECT_EQ(row["entity"], truth.entity);
    double rate = 0;
    EXPECT_EQ(absl::SimpleAtod(row["cpu_time_ns_per_s"], &rate), truth.cells[0].value.has_value());
    if (truth.cells[0].value.has_value()) {
      EXPECT_EQ(rate, static_cast<double>(*truth.cells[0].value) / truth.window_s);
    }
    EXPECT_EQ(row["memory_usage_bytes"],
              truth.cells[1].value.has_value() ? std::to_string(*truth.cells[1].value) : "");
    const bool null = !truth.cells[2].value.has_value();
    EXPECT_EQ(row["runqueue_wait_ns_count"], null ? "" : std::to_string(truth.observed.size()));
    EXPECT_EQ(row["runqueue_wait_ns_sum"], null ? "" : std::to_string(truth.cells[2].sum));
    EXPECT_EQ(row["runqueue_wait_ns_p50"].empty(), null || truth.observed.empty());
  }
}

}  // namespace
}  // namespace faultline
