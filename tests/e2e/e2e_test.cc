// SPDX-License-Identifier: Apache-2.0
//
// The four programs as a user runs them: on this host, over real sockets, into real files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "tests/child.h"
#include "tests/csv.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kStartNs = 20 * kNsPerSecond;

void Sleep(std::int64_t ns) {
  Clock& clock = Clock::System();
  clock.WaitUntil(clock.Now().boottime_ns + ns, {});
}

std::int64_t TimeOf(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, &error)) << text << error;
  return absl::ToUnixNanos(time);
}

double Number(const std::string& text) {
  double value = 0;
  EXPECT_TRUE(absl::SimpleAtod(text, &value)) << "\"" << text << "\"";
  return value;
}

// Where `exec --cgroup NAME` puts its command: systemd keeps groups as scopes of its own.
std::string PathOfExec(const std::string& name) {
  if (::access("/run/systemd/system", F_OK) != 0) return "/" + name;
  return "/system.slice/" + name + ".scope";
}

class EndToEndTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    // Of an earlier test that was killed before it could.
    RemoveLeftGroups("e2e");
    ::mkdir(run_.c_str(), 0755);
    StartCollector();
    StartInjector();
    StartAgent({});
  }

  void TearDown() override {
    agent_.End();
    injector_.End();
    collector_.End();
    RemoveLeftGroups("e2e");
  }

  void StartInjector() {
    // A killed one leaves its socket.
    std::filesystem::remove(run_ + "/agent.sock");
    injector_ = Child({bin_ + "/faultline-injector", "--state-dir", dir_.path() + "/injector",
                       "--run-dir", run_, "--group", "nogroup"},
                      {dir_.path() + "/injector.log", -1});
    ASSERT_TRUE(WaitForFile(run_ + "/agent.sock", kStartNs)) << Log("injector");
  }

  void StartAgent(const std::vector<std::string>& more) {
    std::vector<std::string> words = {
        bin_ + "/faultline-agent",     "--node", "edge", "--collector", address_, "--injector",
        "unix:" + run_ + "/agent.sock"};
    words.insert(words.end(), more.begin(), more.end());
    agent_.End();
    agent_ = Child(words, {dir_.path() + "/agent.log", kNobody});
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
  const std::string entity = PathOfExec(group);
  // A minute of spinning at most, whatever happens to the test.
  Child spinner({bin_ + "/faultline", "exec", "--cgroup", group, "--", "/usr/bin/timeout", "60",
                 "/bin/sh", "-c", "while :; do :; done"});
  WaitForNode();
  Faultline({"run", "start", "e2e", "--target", "cgroup:" + entity});
  Sleep(6 * kNsPerSecond);
  Faultline({"inject", "cpu.limit", "--target", "cgroup:" + entity, "--for", "6s", "--wait",
             "cpus=0.05"});
  Sleep(5 * kNsPerSecond);
  Faultline({"inject", "sham", "--target", "cgroup:" + entity, "--for", "3s", "--wait"});
  Sleep(3 * kNsPerSecond);
  Faultline({"run", "stop", "e2e"});
  const std::string out = dir_.path() + "/dataset";
  Faultline({"export", "--run", "e2e", "--out", out});

  const std::vector<CsvRow> targets = ReadCsv(out + "/targets.csv");
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_EQ(At(targets[0], "target"), "cgroup:" + entity);
  EXPECT_EQ(At(targets[0], "held"), "all");
  // What was held is no fault.
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
    const std::int64_t now = TimeOf(At(row, "timestamp"));
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

// Rows of the control group `entity`, by the kind that `state` says of each window.
struct Windows {
  int labelled = 0;
  int unknown = 0;
  int after = 0;
};

TEST_F(EndToEndTest, InjectorKilled_LabelsEndWhenTheNextOneTakesTheFaultBack) {
  const std::string group = absl::StrCat("faultline-test-", ::getpid(), "-e2e");
  const std::string entity = PathOfExec(group);
  StartAgent({"--interval", "500ms"});
  Child spinner({bin_ + "/faultline", "exec", "--cgroup", group, "--", "/usr/bin/timeout", "60",
                 "/bin/sh", "-c", "while :; do :; done"});
  WaitForNode();
  Sleep(1 * kNsPerSecond);
  Faultline({"run", "start", "killed"});
  Sleep(5 * kNsPerSecond);
  Faultline({"inject", "cpu.limit", "--target", "cgroup:" + entity, "--for", "60s", "cpus=0.05"});
  Sleep(4 * kNsPerSecond);
  injector_.Signal(SIGKILL);
  injector_.Wait(kStartNs);
  Sleep(2500 * kNsPerMs);

  // While it is away nobody claims to know.
  const std::string status = Faultline({"status"});
  EXPECT_NE(status.find("injector away since"), std::string::npos) << status;
  EXPECT_NE(status.find("cpu.limit (unknown since"), std::string::npos) << status;
  const std::string list = Faultline({"faults", "--active"});
  EXPECT_NE(list.find("unknown since"), std::string::npos) << list;
  const std::string open = dir_.path() + "/open";
  Faultline({"export", "--run", "killed", "--out", open});
  const std::int64_t killed = TimeOf(At(ReadCsv(open + "/faults.csv")[0], "last_touch"));
  Windows away;
  for (const CsvRow& row : ReadCsv(open + "/data/cgroup.csv")) {
    if (At(row, "entity") != entity) continue;
    const std::int64_t time = TimeOf(At(row, "timestamp"));
    away.labelled += At(row, "label") == "1" ? 1 : 0;
    if (time <= killed + kNsPerSecond) continue;
    EXPECT_EQ(At(row, "label_state"), "unknown") << At(row, "timestamp");
    EXPECT_EQ(At(row, "label"), "0") << At(row, "timestamp");
    ++away.unknown;
  }
  // Of eight windows, without those of the two edges and the one in which it was lost.
  EXPECT_GE(away.labelled, 4);
  EXPECT_GE(away.unknown, 2);

  StartInjector();
  Sleep(4 * kNsPerSecond);
  EXPECT_EQ(Faultline({"status"}).find("away"), std::string::npos);
  Faultline({"run", "stop", "killed"});
  const std::string out = dir_.path() + "/dataset";
  Faultline({"export", "--run", "killed", "--out", out});
  const std::vector<CsvRow> faults = ReadCsv(out + "/faults.csv");
  ASSERT_EQ(faults.size(), 1U);
  const CsvRow& fault = faults[0];
  EXPECT_EQ(At(fault, "phase"), "undone");
  EXPECT_EQ(At(fault, "verdict"), "effective") << At(fault, "reason");
  EXPECT_NE(At(fault, "reason").find("the injector died"), std::string::npos);
  EXPECT_EQ(At(fault, "residue"), "");
  std::string before;
  for (const char* edge : {"commanded", "acked", "first_touch", "last_touch", "undone"}) {
    EXPECT_LE(before, At(fault, edge)) << edge;
    EXPECT_FALSE(At(fault, edge).empty()) << edge;
    before = At(fault, edge);
  }
  // A limit needs nobody: it throttled on until the next injector took it back, which that one read
  // from the group's own counters. So its end is known as well as any other's.
  const std::int64_t touched = TimeOf(At(fault, "last_touch"));
  const std::int64_t undone = TimeOf(At(fault, "undone"));
  EXPECT_GT(touched, killed + 2 * kNsPerSecond);
  EXPECT_LT(Number(At(fault, "undone_error_ns")), 0.5e9);
  Windows windows;
  for (const CsvRow& row : ReadCsv(out + "/data/cgroup.csv")) {
    if (At(row, "entity") != entity) continue;
    const std::int64_t time = TimeOf(At(row, "timestamp"));
    const std::string& state = At(row, "label_state");
    if (At(row, "label") == "1") {
      ++windows.labelled;
      EXPECT_LE(time, killed + kNsPerSecond) << At(row, "timestamp");
    } else if (time > killed + kNsPerSecond && time < undone) {
      // It was in force, but nobody saw to it: no claim is made.
      EXPECT_EQ(state, "unknown") << At(row, "timestamp");
      ++windows.unknown;
    } else if (time > undone + 600 * kNsPerMs) {
      EXPECT_TRUE(state == "recovery" || state == "normal" || state == "unknown") << state;
      // The next one may not have been seen yet.
      EXPECT_NE(At(row, "fault_active"), "1") << At(row, "timestamp");
      windows.after += At(row, "fault_active") == "0" ? 1 : 0;
    }
  }
  EXPECT_GE(windows.labelled, 4);
  EXPECT_GE(windows.unknown, 3);
  EXPECT_GE(windows.after, 3);
}

TEST_F(EndToEndTest, FullOutbox_GapsSayWhenAndHowMuch) {
  constexpr std::int64_t kIntervalNs = 100 * kNsPerMs;
  StartAgent({"--interval", "100ms", "--buffer-bytes", "65536"});
  WaitForNode();
  Faultline({"run", "start", "full"});
  Sleep(2 * kNsPerSecond);
  collector_.Signal(SIGKILL);
  collector_.Wait(kStartNs);
  Sleep(6 * kNsPerSecond);
  StartCollector();
  WaitForNode();
  Sleep(2 * kNsPerSecond);
  Faultline({"run", "stop", "full"});
  const std::string out = dir_.path() + "/dataset";
  Faultline({"export", "--run", "full", "--out", out});

  // The windows that are there, by their ends, which lie on a grid.
  std::set<std::int64_t> stored;
  for (const CsvRow& row : ReadCsv(out + "/data/host.csv")) {
    EXPECT_TRUE(stored.insert(TimeOf(At(row, "timestamp"))).second) << At(row, "timestamp");
  }
  const std::vector<CsvRow> gaps = ReadCsv(out + "/gaps.csv");
  ASSERT_FALSE(gaps.empty());
  std::int64_t lost_ticks = 0;
  double lost_samples = 0;
  for (const CsvRow& gap : gaps) {
    EXPECT_EQ(At(gap, "reason"), "buffer_full");
    const std::int64_t begin = TimeOf(At(gap, "begin"));
    const std::int64_t end = TimeOf(At(gap, "end"));
    const double ticks = Number(At(gap, "last_sequence")) - Number(At(gap, "first_sequence")) + 1;
    lost_ticks += static_cast<std::int64_t>(ticks);
    lost_samples += Number(At(gap, "samples"));
    // A window of the dataset ends where the gap begins, and none within it.
    EXPECT_TRUE(std::any_of(stored.begin(), stored.end(), [begin](std::int64_t time) {
      return std::abs(time - begin) <= 2000;
    })) << At(gap, "begin");
    EXPECT_EQ(
        std::count_if(stored.begin(), stored.end(),
                      [&](std::int64_t time) { return time > begin + 2000 && time <= end + 2000; }),
        0);
  }
  const auto taken = static_cast<std::int64_t>(stored.size()) + lost_ticks;
  const std::int64_t grid =
      (*stored.rbegin() - *stored.begin() + kIntervalNs / 2) / kIntervalNs + 1;
  // A tick that the machine had no time for was not taken; there are not many.
  EXPECT_LE(taken, grid);
  EXPECT_GE(taken, grid - grid / 10);

  // Values per tick, counted in the files: a histogram is one.
  std::map<std::string, std::set<std::string>> histograms;
  for (const CsvRow& metric : ReadCsv(out + "/metrics.csv")) {
    if (At(metric, "kind") == "histogram") {
      histograms[At(metric, "table")].insert(At(metric, "column"));
    }
  }
  std::int64_t values = 0;
  const std::set<std::string> own = {"timestamp",  "node",        "entity",       "fault_active",
                                     "label",      "label_state", "label_target", "fault_id",
                                     "fault_type", "dose"};
  for (const auto& file : std::filesystem::directory_iterator(out + "/data")) {
    const std::set<std::string>& parts = histograms[file.path().stem()];
    for (const CsvRow& row : ReadCsv(file.path())) {
      for (const auto& [column, value] : row) {
        const bool part = parts.count(column) != 0 && !absl::EndsWith(column, "_count");
        values += value.empty() || part || own.count(column) != 0 ? 0 : 1;
      }
    }
  }
  const double per_tick = static_cast<double>(values) / static_cast<double>(stored.size());
  // Control groups come and go while it runs, so the ticks are not all alike.
  EXPECT_NEAR(lost_samples / static_cast<double>(lost_ticks), per_tick, 0.25 * per_tick);
}

// Whatever takes the collector from a node: it dies and its end of the stream is closed, it stands
// still and nothing is closed, or the agent in between dies. The fault ends by itself, in time, and
// what is told of it says why.
TEST_F(EndToEndTest, CollectorLost_FaultsEndWithin15s) {
  const std::string group = absl::StrCat("faultline-test-", ::getpid(), "-e2e");
  Child sleeper({bin_ + "/faultline", "exec", "--cgroup", group, "--", "/bin/sleep", "120"});
  WaitForNode();
  const std::vector<std::string> node{bin_ + "/faultline", "--injector",
                                      "unix:" + run_ + "/root.sock"};
  const auto ask = [&node](std::vector<std::string> words) {
    words.insert(words.begin(), node.begin(), node.end());
    std::string output;
    RunToEnd(words, &output);
    return output;
  };
  for (const char* lost : {"stands still", "dies", "agent"}) {
    SCOPED_TRACE(lost);
    Faultline(
        {"inject", "process.pause", "--target", "cgroup:" + PathOfExec(group), "--for", "100s"});
    // Longer than a lease: it is renewed.
    Sleep(10 * kNsPerSecond);
    EXPECT_THAT(ask({"faults", "--active"}), HasSubstr("process.pause"));
    Child& victim = std::string(lost) == "agent" ? agent_ : collector_;
    const std::int64_t lost_ns = Clock::System().Now().boottime_ns;
    victim.Signal(std::string(lost) == "stands still" ? SIGSTOP : SIGKILL);
    while (ask({"faults", "--active"}).find("process.pause") != std::string::npos) {
      ASSERT_LE(Clock::System().Now().boottime_ns - lost_ns, 15 * kNsPerSecond);
      Sleep(200 * kNsPerMs);
    }
    EXPECT_THAT(ask({"faults"}), HasSubstr("the collector was not heard of for"));
    // What has come meanwhile is told to the collector that is back.
    if (std::string(lost) == "stands still") victim.Signal(SIGCONT);
    if (std::string(lost) == "dies") {
      victim.Wait(kStartNs);
      StartCollector();
    }
    if (std::string(lost) == "agent") StartAgent({});
    WaitForNode();
    std::string told;
    for (int i = 0; i < 100 && told.find("was not heard of") == std::string::npos; ++i) {
      Sleep(200 * kNsPerMs);
      told = Faultline({"faults", "--json"});
    }
    EXPECT_THAT(told, HasSubstr("the collector was not heard of for"));
    EXPECT_THAT(told, testing::Not(HasSubstr("\"phase\": \"verified\"")));
  }
}

// Without a collector nobody stands behind what comes through the agent's socket.
TEST_F(EndToEndTest, WithoutACollector_TheAgentsSocketStartsNothing) {
  agent_.End();
  const std::string group = absl::StrCat("faultline-test-", ::getpid(), "-e2e");
  Child sleeper({bin_ + "/faultline", "exec", "--cgroup", group, "--", "/bin/sleep", "60"});
  Sleep(10 * kNsPerSecond);
  std::string output;
  EXPECT_NE(RunToEnd({bin_ + "/faultline", "--injector", "unix:" + run_ + "/agent.sock", "inject",
                      "process.pause", "--target", "cgroup:" + PathOfExec(group), "--for", "5s"},
                     &output),
            0);
  EXPECT_THAT(output, HasSubstr("needs one, and"));
  // A halt needs nobody: it ends and refuses everything, and outlives the injector.
  EXPECT_EQ(RunToEnd({bin_ + "/faultline", "--injector", "unix:" + run_ + "/root.sock", "inject",
                      "process.pause", "--target", "cgroup:" + PathOfExec(group), "--for", "60s"},
                     &output),
            0)
      << output;
  EXPECT_EQ(RunToEnd({bin_ + "/faultline", "--injector", "unix:" + run_ + "/agent.sock", "halt",
                      "--reason", "enough"},
                     &output),
            0)
      << output;
  EXPECT_THAT(output, testing::AllOf(HasSubstr("process.pause"), HasSubstr("1 faults ended")));
  injector_.Signal(SIGKILL);
  injector_.Wait(kStartNs);
  StartInjector();
  const auto inject = [&] {
    return RunToEnd(
        {bin_ + "/faultline", "--injector", "unix:" + run_ + "/root.sock", "inject",
         "process.pause", "--target", "cgroup:" + PathOfExec(group), "--for", "1s", "--wait"},
        &output);
  };
  EXPECT_NE(inject(), 0);
  EXPECT_THAT(output, HasSubstr("this host is halted: enough"));
  EXPECT_NE(RunToEnd({bin_ + "/faultline", "--injector", "unix:" + run_ + "/agent.sock", "release"},
                     &output),
            0);
  EXPECT_EQ(RunToEnd({bin_ + "/faultline", "--injector", "unix:" + run_ + "/root.sock", "release"},
                     &output),
            0)
      << output;
  EXPECT_EQ(inject(), 0) << output;
}

TEST_F(EndToEndTest, TakenPort_IsOneSentence) {
  std::string output;
  EXPECT_EQ(RunToEnd({bin_ + "/faultline-collector", "--listen", address_, "--state-dir",
                      dir_.path() + "/other"},
                     &output),
            1);
  EXPECT_EQ(output.rfind("error: cannot listen on " + address_, 0), 0U) << output;
  EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 1) << output;
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
  Faultline({"stop", "nobody"}, 2);
  Faultline({"run", "stop", "none"}, 2);
  Faultline({"export", "--run", "none", "--out", dir_.path() + "/none"}, 2);
  // Not one window either: a batch that tells of a refusal is stored like any other. Two windows
  // lie wholly in three seconds, wherever these begin.
  Sleep(3500 * kNsPerMs);
  Faultline({"run", "stop", "bad"});
  const std::string out = dir_.path() + "/dataset";
  Faultline({"export", "--run", "bad", "--out", out});
  EXPECT_TRUE(ReadCsv(out + "/gaps.csv").empty()) << Slurp(out + "/gaps.csv") << Log("agent");
  EXPECT_GE(ReadCsv(out + "/data/host.csv").size(), 2U);
}

}  // namespace
}  // namespace faultline
