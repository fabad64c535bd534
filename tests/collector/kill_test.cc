// SPDX-License-Identifier: Apache-2.0
//
// The real program, killed without warning while batches flow: what it acknowledged is there once.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "collector/store/database.h"
#include "tests/collector/batch_builder.h"
#include "tests/collector/fake_node.h"

extern char** environ;

namespace faultline {
namespace {

constexpr int kNodes = 4;
constexpr int kKills = 12;

class Process {
 public:
  explicit Process(const std::string& state_dir) : address_file_(state_dir + "/address") {
    ::unlink(address_file_.c_str());
    std::vector<std::string> words = {
        FAULTLINE_COLLECTOR_PATH, "--listen",   "127.0.0.1:0", "--state-dir", state_dir,
        "--address-file",         address_file_};
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    EXPECT_EQ(::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Process() { End(SIGKILL); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Waits until it listens; empty if it did not in 20 s.
  std::string Address() const {
    for (int i = 0; i < 2000; ++i) {
      std::ifstream file(address_file_);
      std::string address;
      if (std::getline(file, address)) return address;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return "";
  }

  int End(int signal) {
    if (pid_ <= 0) return 0;
    int status = 0;
    ::kill(pid_, signal);
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  std::string address_file_;
  pid_t pid_ = -1;
};

// Sends one batch after the other until the connection breaks; what it knows to be durable and
// where it goes on are kept as an agent would.
struct Sender {
  std::string name;
  std::string epoch;
  std::uint64_t acknowledged = 0;

  void Flow(const std::string& address) {
    FakeNode node(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    v1::NodeMessage hello;
    *hello.mutable_hello() = TestHello(name, epoch);
    v1::CollectorMessage answer;
    if (!node.Write(hello) || !node.Read(&answer) || !answer.has_welcome()) return;
    EXPECT_GE(answer.welcome().durable_sequence(), acknowledged) << "acknowledged and then lost";
    // Sometimes what is durable already is sent again.
    std::uint64_t next = answer.welcome().durable_sequence() + 1;
    if (next > 2) next -= 2;
    for (;; ++next) {
      BatchBuilder builder;
      const auto host = builder.Entity("host", "host");
      const auto at = static_cast<std::int64_t>(next);
      builder.Frame(at, at * kNsPerSecond, (at + 1) * kNsPerSecond, kNsPerSecond);
      builder.Row("host", host, {Cell(at), Cell(at)});
      if (!node.Send(builder.Encode(epoch, next)) || !node.Read(&answer)) return;
      ASSERT_TRUE(answer.has_ack());
      acknowledged = std::max(acknowledged, answer.ack().durable_sequence());
    }
  }
};

TEST(KilledCollector, HasEveryAcknowledgedBatchOnce) {
  const TempDir dir;
  std::vector<Sender> senders;
  for (int i = 0; i < kNodes; ++i) {
    senders.push_back({absl::StrCat("n", i), absl::StrCat("epoch-000000000", i), 0});
    senders.back().epoch.resize(16, 'x');
  }
  std::mt19937 random(3);
  for (int round = 0; round < kKills; ++round) {
    Process collector(dir.path());
    const std::string address = collector.Address();
    ASSERT_NE(address, "");
    std::vector<std::jthread> threads;
    threads.reserve(senders.size());
    for (Sender& sender : senders) threads.emplace_back([&] { sender.Flow(address); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 200));
    collector.End(SIGKILL);
  }
  Process collector(dir.path());
  ASSERT_NE(collector.Address(), "");
  EXPECT_EQ(collector.End(SIGTERM), 0);
  auto database = Database::Open(dir.path() + "/collector.db", Database::Mode::kReadOnly);
  ASSERT_TRUE(database.ok());
  std::uint64_t total = 0;
  for (const Sender& sender : senders) {
    Query query(**database,
                "SELECT count(*), count(DISTINCT sequence), min(sequence), max(sequence), e.mark "
                "FROM batches b JOIN epochs e ON e.id = b.epoch WHERE e.epoch = ?");
    const auto row = query.Blob(sender.epoch).Next();
    ASSERT_TRUE(row.ok() && *row);
    const auto count = static_cast<std::uint64_t>(query.IntAt(0));
    EXPECT_GE(count, sender.acknowledged);
    EXPECT_EQ(query.IntAt(1), query.IntAt(0));
    EXPECT_EQ(query.IntAt(2), 1);
    EXPECT_EQ(static_cast<std::uint64_t>(query.IntAt(3)), count);
    EXPECT_EQ(static_cast<std::uint64_t>(query.IntAt(4)), count);
    total += sender.acknowledged;
  }
  EXPECT_GT(total, 100U);
  RecordProperty("acknowledged", std::to_string(total));
}

}  // namespace
}  // namespace faultline
