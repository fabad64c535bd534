// SPDX-License-Identifier: Apache-2.0
//
// The agent's own outbox and uplink against the collector: whatever goes wrong, each value that was
// put in is stored once or counted once in a gap that says when.
#include "agent/uplink/uplink.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "collector/collector.h"
#include "collector/store/database.h"
#include "tests/collector/batch_builder.h"
#include "tests/collector/fake_node.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

const std::string kUplinkEpoch = "epoch-0123456789";
constexpr std::int64_t kPatienceNs = 20 * kNsPerSecond;
constexpr std::int64_t kOffsetNs = 1'000 * kNsPerSecond;

class UplinkToCollectorTest : public testing::Test {
 protected:
  void StartCollector() {
    CollectorOptions options;
    options.listen = address_;
    options.state_dir = dir_.path() + "/state";
    auto collector = Collector::Start(options, &clock_);
    ASSERT_TRUE(collector.ok()) << collector.status();
    collector_ = std::move(*collector);
  }

  std::unique_ptr<Uplink> StartUplink() {
    return std::make_unique<Uplink>(address_, TestHello("n1", kUplinkEpoch), &outbox_,
                                    [](const v1::Command& command) {
                                      v1::CommandResult result;
                                      result.set_id(command.id());
                                      return result;
                                    });
  }

  // Window `second` with `groups` groups, some of whose values are null. Counts what is in it.
  BatchBuilder Window(std::int64_t second, int groups) {
    BatchBuilder builder;
    const auto host = builder.Entity("host", "host");
    std::vector<std::uint64_t> ids;
    for (int i = 0; i < groups; ++i) {
      ids.push_back(builder.Entity("cgroup", "/g" + std::to_string(i)));
    }
    builder.Frame(second, second * kNsPerSecond, (second + 1) * kNsPerSecond, kOffsetNs);
    // A whole column of nulls in every window: the bits are there and the values are not.
    builder.Row("host", host, {Cell(second), Cell::Null()});
    builder.batch().mutable_frames(0)->mutable_tables(0)->mutable_columns(1)->clear_values();
    std::int64_t samples = 1;
    for (const std::uint64_t id : ids) {
      const bool null = random_() % 3 == 0;
      const auto noise = static_cast<std::int64_t>(random_() >> 2);
      builder.Row("cgroup", id,
                  {Cell(noise), null ? Cell::Null() : Cell(noise), Cell::Histogram({random_()})});
      samples += null ? 2 : 3;
    }
    samples_[second] = samples;
    return builder;
  }

  std::int64_t Taken() const {
    std::int64_t sum = 0;
    for (const auto& [second, samples] : samples_) sum += samples;
    return sum;
  }

  // First column of the query's rows.
  std::vector<std::int64_t> Ask(const std::string& sql) {
    auto database = Database::Open(dir_.path() + "/state/collector.db", Database::Mode::kReadOnly);
    EXPECT_TRUE(database.ok());
    Query query(**database, sql.c_str());
    std::vector<std::int64_t> rows;
    while (true) {
      const auto row = query.Next();
      EXPECT_TRUE(row.ok()) << row.status();
      if (!row.ok() || !*row) return rows;
      rows.push_back(query.IntAt(0));
    }
  }
  std::int64_t Sum(const std::string& sql) {
    const auto rows = Ask(sql);
    return rows.empty() ? 0 : rows[0];
  }

  // Every window of 1 to `windows` is a stored batch or lies in exactly one gap.
  void ExpectEveryWindowOnce(std::int64_t windows) {
    std::map<std::int64_t, int> seen;
    for (const std::int64_t sequence : Ask("SELECT sequence FROM batches WHERE end_ns > 0")) {
      ++seen[sequence];
    }
    const auto first = Ask("SELECT first FROM gaps ORDER BY id");
    const auto last = Ask("SELECT last FROM gaps ORDER BY id");
    const auto begin = Ask("SELECT begin_boottime_ns FROM gaps ORDER BY id");
    const auto end = Ask("SELECT end_boottime_ns FROM gaps ORDER BY id");
    const auto begin_real = Ask("SELECT begin_ns FROM gaps ORDER BY id");
    for (std::size_t i = 0; i < first.size(); ++i) {
      for (std::int64_t s = first[i]; s <= last[i]; ++s) ++seen[s];
      // Window n has sequence n.
      EXPECT_EQ(begin[i], first[i] * kNsPerSecond);
      EXPECT_EQ(end[i], (last[i] + 1) * kNsPerSecond);
      EXPECT_EQ(begin_real[i], begin[i] + kOffsetNs);
    }
    ASSERT_EQ(seen.size(), static_cast<std::size_t>(windows));
    for (const auto& [sequence, times] : seen) EXPECT_EQ(times, 1) << sequence;
    EXPECT_EQ(seen.rbegin()->first, windows);
    EXPECT_EQ(Sum("SELECT sum(samples) FROM batches") + Sum("SELECT sum(samples) FROM gaps"),
              Taken());
    EXPECT_EQ(Sum("SELECT count(*) FROM events WHERE kind = 'sequence_hole'"), 0);
  }

  TempDir dir_;
  const std::string address_ = "unix:" + dir_.path() + "/socket";
  FakeClock clock_;
  std::mt19937_64 random_{11};
  std::map<std::int64_t, std::int64_t> samples_;
  std::unique_ptr<Collector> collector_;
  Outbox outbox_{kUplinkEpoch, 64 << 10};
};

TEST_F(UplinkToCollectorTest, RejectedBatches_BecomeGapsWithWindowAndCount) {
  StartCollector();
  for (std::int64_t second = 1; second <= 12; ++second) {
    BatchBuilder builder = Window(second, 3);
    // Two in a row and one alone, whose sizes disagree; one whose schema nobody described, so that
    // its gap record cannot be read either.
    if (second == 4 || second == 5 || second == 8) {
      builder.batch().mutable_frames(0)->mutable_tables(0)->add_columns();
    }
    if (second == 10) builder.batch().set_schema_id(77);
    outbox_.Put(builder.batch());
  }
  const auto uplink = StartUplink();
  ASSERT_TRUE(uplink->Drain(kPatienceNs));
  EXPECT_EQ(Ask("SELECT first FROM gaps WHERE reason = 'rejected' ORDER BY first"),
            (std::vector<std::int64_t>{4, 5, 8, 10}));
  ExpectEveryWindowOnce(12);
  EXPECT_EQ(Sum("SELECT count(*) FROM events WHERE kind = 'batch_rejected' AND detail LIKE "
                "'%again%'"),
            1);
  EXPECT_EQ(outbox_.lost(), 4U);
}

TEST_F(UplinkToCollectorTest, FullOutbox_CollectorComesLate_NothingIsUncounted) {
  const auto uplink = StartUplink();
  for (std::int64_t second = 1; second <= 300; ++second) outbox_.Put(Window(second, 20).batch());
  EXPECT_GT(outbox_.lost(), 100U);
  StartCollector();
  ASSERT_TRUE(uplink->Drain(kPatienceNs));
  ExpectEveryWindowOnce(300);
  EXPECT_EQ(Sum("SELECT count(*) FROM gaps WHERE reason = 'buffer_full'"), 1);
}

TEST_F(UplinkToCollectorTest, FullOutbox_CollectorGoesAndComes_NothingIsUncounted) {
  StartCollector();
  const auto uplink = StartUplink();
  std::int64_t second = 0;
  for (int round = 0; round < 4; ++round) {
    // Some of these are stored and not yet acknowledged when the collector goes.
    for (int i = 0; i < 40; ++i) {
      outbox_.Put(Window(++second, 20).batch());
      uplink->Wake();
    }
    collector_.reset();
    for (int i = 0; i < 150; ++i) outbox_.Put(Window(++second, 20).batch());
    StartCollector();
    ASSERT_TRUE(uplink->Drain(kPatienceNs));
    ExpectEveryWindowOnce(second);
  }
  EXPECT_GE(Sum("SELECT count(*) FROM gaps WHERE reason = 'buffer_full'"), 4);
}

}  // namespace
}  // namespace faultline
