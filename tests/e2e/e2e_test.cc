// SPDX-License-Identifier: Apache-2.0
//
// The four programs as a user runs them: on this host, over real sockets, into real files.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "tests/child.h"
#include "tests/e2e/csv.h"

namespace faultline {
namespace {

constexpr std::int64_t kStartNs = 20 * kNsPerSecond;

void Sleep(std::int64_t ns) {
  Clock& clock = Clock::System();
  clock.WaitUntil(clock.Now().boottime_ns + ns, {});
}

double Number(const std::string& text) {
  double value = 0;
  EXPECT_TRUE(absl::SimpleAtod(text, &value)) << "\"" << text << "\"";
  return value;
}

class EndToEndTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ::mkdir(run_.c_str(), 0755);
    StartCollector();
    injector_ = Child({bin_ + "/faultline-injector", "--state-dir", dir_.path() + "/injector",
                       "--run-dir", run_, "--group", "nogroup"},
                      {dir_.path() + "/injector.log", -1});
    ASSERT_TRUE(WaitForFile(run_ + "/agent.sock", kStartNs)) << Log("injector");
    agent_ = Child({bin_ + "/faultline-agent", "--node", "edge", "--collector", address_,
                    "--injector", "unix:" + run_ + "/agent.sock"},
                   {dir_.path() + "/agent.log", kNobody});
  }

  // The second start takes the port of the first, so that the agent finds it again.
  void StartCollector() {
    const std::string file = dir_.path() + "/address";
    std::filesystem::remove(file);
    collector_ = Child(
        {bin_ + "/faultline-collector", "--listen", address_.empty() ? "127.0.0.1:0" : address_,
         "--state-dir", dir_.path() + "/collector", "--address-file", file},
        {dir_.path() + "/collector.log", -1});
    ASSERT_TRUE(WaitForFile(file, kStartNs)) << Log("collector");
    address_ = Slurp(file);
    address_ = address_.substr(0, address_.find('\n'));
  }

  std::string Log(const std::string& program) const {
    return Slurp(absl::StrCat(dir_.path(), "/", program, ".log"));
  }

  // Runs the command line; its output must not be an error.
  std::string Faultline(std::vector<std::string> words, int want = 0) {
    words.insert(words.begin(), {bin_ + "/faultline", "--collector", address_});
    std::string output;
    const int status = RunToEnd(words, &output);
    EXPECT_EQ(status, want) << words[3] << ": " << output << Log("agent") << Log("injector")
                            << Log("collector");
    return output;
  }

  void WaitForNode() {
    for (int i = 0; i < 100; ++i) {
      std::string output;
      const int status =
          RunToEnd({bin_ + "/faultline", "--collector", address_, "status", "--json"}, &output);
      if (status == 0 && output.find("\"connected\": true") != std::string::npos) return;
      Sleep(100 * kNsPerMs);
    }
    FAIL() << "the node never appeared; agent: " << Log("agent");
  }

  const std::string bin_ = BinDir();
  const TempDir dir_;
  const std::string run_ = dir_.path() + "/run";
  std::string address_;
  Child collector_;
  Child injector_;
  Child agent_;
};

TEST_F(EndToEndTest, Faults_BecomeLabelsThatTheKernelConfirms) {
  const std::string group = absl::StrCat("faultline-test-", ::getpid(), "-e2e");
  const std::string entity = "/" + group;
  // A minute of spinning at most, whatever happens to the test.
  Child spinner({bin_ + "/faultline", "exec", "--cgroup", group, "--", "/usr/bin/timeout", "60",
                 "/bin/sh", "-c", "while :; do :; done"});
  WaitForNode();
  Faultline({"run", "start", "e2e"});
  Sleep(6 * kNsPerSecond);
  Faultline({"inject", "cpu.limit", "--target", "cgroup:" + entity, "--for", "6s", "--wait",
             "cpus=0.05"});
  Sleep(5 * kNsPerSecond);
  Faultline({"inject", "sham", "--target", "cgroup:" + entity, "--for", "3s", "--wait"});
  Sleep(3 * kNsPerSecond);
  Faultline({"run", "stop", "e2e"});
  const std::string out = dir_.path() + "/dataset";
  Faultline({"export", "--run", "e2e", "--out", out});

  const std::vector<CsvRow> faults = ReadCsv(out + "/faults.csv");
  ASSERT_EQ(faults.size(), 2U);
  const CsvRow& limit = At(faults[0], "type") == "cpu.limit" ? faults[0] : faults[1];
  const CsvRow& sham = At(faults[0], "type") == "sham" ? faults[0] : faults[1];
  EXPECT_EQ(At(limit, "verdict"), "effective");
  EXPECT_EQ(At(sham, "verdict"), "no_effect");

  int labelled = 0;
  int shammed = 0;
  std::set<std::string> stamps;
  for (const CsvRow& row : ReadCsv(out + "/data/cgroup.csv")) {
    if (At(row, "entity") != entity) continue;
    EXPECT_TRUE(stamps.insert(At(row, "timestamp")).second) << "twice: " << At(row, "timestamp");
    const bool labelled_row = At(row, "label") == "1";
    labelled += labelled_row ? 1 : 0;
    if (labelled_row) {
      EXPECT_EQ(At(row, "fault_type"), "cpu.limit");
      EXPECT_EQ(At(row, "label_state"), "fault");
      EXPECT_EQ(At(row, "label_target"), "1");
      // 0.05 CPUs, a limit that bites on a busy machine too, with a period's worth of slack.
      EXPECT_LE(Number(At(row, "cgroup_cpu_time_ns_per_s")), 0.1e9);
      EXPECT_GT(Number(At(row, "cgroup_cpu_throttled_ns_per_s")), 0.05e9);
    }
    // The limit may still count as recovering.
    if (At(row, "fault_type").find("sham") != std::string::npos) {
      ++shammed;
      EXPECT_EQ(At(row, "label"), "0");
      EXPECT_EQ(At(row, "fault_active"), "1");
    }
    // The edges of the labelled rows lie within the fault's own.
    if (labelled_row) {
      EXPECT_GT(At(row, "timestamp"), At(limit, "first_touch"));
      EXPECT_LE(At(row, "timestamp"), At(limit, "undone"));
    }
  }
  EXPECT_GE(labelled, 4);
  EXPECT_LE(labelled, 6);
  EXPECT_GE(shammed, 2);
  EXPECT_EQ(
      RunToEnd({"/bin/sh", "-c", "cd " + out + " && sha256sum --check --quiet CHECKSUMS"}, nullptr),
      0);
}

TEST_F(EndToEndTest, CollectorKilled_NothingIsLostOrStoredTwice) {
  WaitForNode();
  Faultline({"run", "start", "kill"});
  for (int i = 0; i < 3; ++i) {
    Sleep(2 * kNsPerSecond);
    collector_.Signal(SIGKILL);
    collector_.Wait(kStartNs);
    Sleep(1500 * kNsPerMs);
    StartCollector();
  }
  WaitForNode();
  Sleep(4 * kNsPerSecond);
  Faultline({"run", "stop", "kill"});
  const std::string out = dir_.path() + "/dataset";
  Faultline({"export", "--run", "kill", "--out", out});
  std::int64_t last = 0;
  int rows = 0;
  for (const CsvRow& row : ReadCsv(out + "/data/host.csv")) {
    absl::Time time;
    std::string error;
    ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, At(row, "timestamp"), &time, &error)) << error;
    const std::int64_t now = absl::ToUnixNanos(time);
    if (last != 0) {
      // One row per second: neither a hole nor a double.
      EXPECT_NEAR(static_cast<double>(now - last), 1e9, 0.4e9) << At(row, "timestamp");
    }
    last = now;
    ++rows;
  }
  EXPECT_GE(rows, 12);
  EXPECT_TRUE(ReadCsv(out + "/gaps.csv").empty()) << Slurp(out + "/gaps.csv");
}

TEST_F(EndToEndTest, BadRequests_AreRefusedWithASentenceAndChangeNothing) {
  WaitForNode();
  Faultline({"run", "start", "bad"});
  const std::string group = absl::StrCat("/faultline-test-", ::getpid(), "-none");
  struct Case {
    std::vector<std::string> words;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{"inject", "cpu.limits", "--target", "cgroup:/x", "--for", "1s"}, "cpu.limit"},
      {{"inject", "cpu.limit", "--target", "cgroup:" + group, "--for", "1s", "cpus=0.5"}, group},
      {{"inject", "cpu.limit", "--target", "cgroup:/", "--for", "1s", "cpus=0.5"}, "root"},
      {{"inject", "cpu.limit", "--target", "cgroup:/x", "cpus=0.5"}, "--for"},
      {{"inject", "cpu.limit", "--target", "cgroup:/x", "--for", "48h", "cpus=0.5"}, "1h"},
      {{"inject", "cpu.limit", "--target", "cgroup:/x", "--for", "1s", "cpus=0"}, "0.05"},
      {{"inject", "cpu.limit", "--target", "cgroup:/x", "--for", "1s", "cpu=0.5"}, "cpus"},
  };
  for (const Case& one : cases) {
    std::vector<std::string> words = {bin_ + "/faultline", "--collector", address_};
    words.insert(words.end(), one.words.begin(), one.words.end());
    std::string output;
    EXPECT_NE(RunToEnd(words, &output), 0) << output;
    EXPECT_NE(output.find(one.says), std::string::npos) << one.says << " is not in: " << output;
  }
  EXPECT_EQ(Faultline({"faults", "--json", "--active"}).find("\"id\""), std::string::npos);
  // Not one window either: a batch that tells of a refusal is stored like any other.
  Sleep(2500 * kNsPerMs);
  Faultline({"run", "stop", "bad"});
  const std::string out = dir_.path() + "/dataset";
  Faultline({"export", "--run", "bad", "--out", out});
  EXPECT_TRUE(ReadCsv(out + "/gaps.csv").empty()) << Slurp(out + "/gaps.csv") << Log("agent");
  EXPECT_GE(ReadCsv(out + "/data/host.csv").size(), 2U);
}

}  // namespace
}  // namespace faultline
