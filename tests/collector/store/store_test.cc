// SPDX-License-Identifier: Apache-2.0
#include "collector/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <string>

#include "collector/store/fault_progress.h"
#include "tests/collector/fake_node.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

using testing::HasSubstr;

TEST(Store, RefusesADirectoryThatAnotherCollectorUses) {
  const TempDir dir;
  FakeClock clock;
  const auto first = Store::Open(dir.path(), &clock);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Store::Open(dir.path(), &clock);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--state-dir"));
}

TEST(Store, SaysWhatToDoWithADamagedFile) {
  const TempDir dir;
  FakeClock clock;
  std::ofstream(dir.path() + "/collector.db") << std::string(8192, 'x');
  const auto garbage = Store::Open(dir.path(), &clock);
  EXPECT_TRUE(absl::IsDataLoss(garbage.status())) << garbage.status();
  EXPECT_THAT(std::string(garbage.status().message()), HasSubstr(".recover"));
}

// What the watchdog is fed by: no answer of the writer's alone, but a commit that reaches the disk.
TEST(Store, ProbeCommits) {
  const TempDir dir;
  FakeClock clock;
  const auto store = Store::Open(dir.path(), &clock);
  ASSERT_TRUE(store.ok()) << store.status();
  const auto written = [&] { return std::filesystem::file_size(dir.path() + "/collector.db-wal"); };
  const auto before = written();
  std::promise<absl::Status> committed;
  (*store)->Probe([&](const absl::Status& status) { committed.set_value(status); });
  EXPECT_TRUE(committed.get_future().get().ok());
  EXPECT_GT(written(), before);
}

TEST(Store, FindsDamageInsideTheFile) {
  const TempDir dir;
  FakeClock clock;
  ASSERT_TRUE(Store::Open(dir.path(), &clock).ok());
  {
    std::fstream file(dir.path() + "/collector.db",
                      std::ios::in | std::ios::out | std::ios::binary);
    for (std::streamoff page = 2; page < 8; ++page) {
      file.seekp(page * 4096);
      file << std::string(64, '\x55');
    }
  }
  EXPECT_TRUE(absl::IsDataLoss(Store::Open(dir.path(), &clock).status()));
}

TEST(Store, RefusesNewerAndForeignFiles) {
  const TempDir dir;
  FakeClock clock;
  ASSERT_TRUE(Store::Open(dir.path(), &clock).ok());
  const std::string path = dir.path() + "/collector.db";
  {
    auto database = Database::Open(path, Database::Mode::kReadWrite);
    ASSERT_TRUE((*database)->Run("PRAGMA user_version = 99").ok());
  }
  EXPECT_THAT(std::string(Store::Open(dir.path(), &clock).status().message()),
              HasSubstr("newer collector"));
  {
    auto database = Database::Open(path, Database::Mode::kReadWrite);
    ASSERT_TRUE((*database)->Run("PRAGMA application_id = 1").ok());
  }
  EXPECT_THAT(std::string(Store::Open(dir.path(), &clock).status().message()),
              HasSubstr("another program"));
}

TEST(Writer, UndoesOnlyTheWorkThatFailed) {
  const TempDir dir;
  auto database = Database::Open(dir.path() + "/x.db", Database::Mode::kReadWrite);
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE((*database)->Run("CREATE TABLE t(x INTEGER)").ok());
  std::string outcome;
  {
    Writer writer(std::move(*database));
    for (const bool good : {true, false, true}) {
      writer.Submit(
          [good](Database& db) {
            const auto status = db.Run("INSERT INTO t VALUES(1)");
            return good ? status : absl::InvalidArgumentError("no");
          },
          [&outcome](const absl::Status& status) { outcome += status.ok() ? "+" : "-"; });
    }
  }
  EXPECT_EQ(outcome, "+-+");
  database = Database::Open(dir.path() + "/x.db", Database::Mode::kReadOnly);
  Query query(**database, "SELECT count(*) FROM t");
  ASSERT_TRUE(query.Next().ok());
  EXPECT_EQ(query.IntAt(0), 2);
}

TEST(Writer, ReportsWhatADiskThatIsFullLost) {
  const TempDir dir;
  auto database = Database::Open(dir.path() + "/x.db", Database::Mode::kReadWrite);
  ASSERT_TRUE(database.ok());
  // 20 pages of 4 KiB are the whole disk.
  ASSERT_TRUE((*database)->Run("PRAGMA max_page_count = 20; CREATE TABLE t(x BLOB)").ok());
  std::string outcome;
  {
    Writer writer(std::move(*database));
    const auto insert = [&](const char* sql) {
      writer.Submit([sql](Database& db) { return db.Run(sql); },
                    [&outcome](const absl::Status& status) {
                      outcome += status.ok() ? "+" : "-";
                      if (!status.ok()) {
                        EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
                      }
                    });
    };
    insert("INSERT INTO t VALUES(zeroblob(8000))");
    insert("INSERT INTO t VALUES(zeroblob(800000))");
    insert("INSERT INTO t VALUES(zeroblob(8000))");
  }
  database = Database::Open(dir.path() + "/x.db", Database::Mode::kReadOnly);
  Query query(**database, "SELECT count(*) FROM t");
  ASSERT_TRUE(query.Next().ok());
  // What was reported as stored is there, and nothing else.
  EXPECT_EQ(query.IntAt(0), std::count(outcome.begin(), outcome.end(), '+')) << outcome;
  EXPECT_EQ(outcome[1], '-');
}

TEST(KeepEvidence, OfWhatWasToldBeforeTheInjectorDied) {
  v1::FaultState told;
  told.set_boot_id("b");
  told.mutable_edges()->mutable_first_touch()->set_boottime_ns(20);
  told.mutable_edges()->mutable_last_touch()->set_boottime_ns(90);
  v1::Dose* dose = told.add_dose();
  dose->set_name("packets_dropped");
  dose->set_value(700);
  v1::Dose* gauge = told.add_dose();
  gauge->set_name("held_bytes");
  gauge->set_gauge(true);
  gauge->set_value(64);
  v1::FaultState recovered;
  recovered.set_boot_id("b");
  recovered.mutable_edges()->mutable_last_touch()->set_boottime_ns(30);
  *recovered.add_dose() = *dose;
  recovered.mutable_dose(0)->set_value(100);
  *recovered.add_dose() = *gauge;
  recovered.mutable_dose(1)->set_value(0);
  v1::FaultState other = recovered;
  KeepEvidence(told, &recovered);
  EXPECT_EQ(recovered.edges().first_touch().boottime_ns(), 20);
  EXPECT_EQ(recovered.edges().last_touch().boottime_ns(), 90);
  EXPECT_EQ(recovered.dose(0).value(), 700);
  EXPECT_EQ(recovered.dose(1).value(), 0);
  // The stamps of another boot do not compare.
  other.set_boot_id("c");
  KeepEvidence(told, &other);
  EXPECT_EQ(other.edges().last_touch().boottime_ns(), 30);
}

TEST(Supersedes, FollowsTheLifeOfTheFault) {
  v1::FaultState verified;
  verified.set_phase(v1::PHASE_VERIFIED);
  verified.mutable_edges()->mutable_acked()->set_boottime_ns(1);
  v1::FaultState undone = verified;
  undone.set_phase(v1::PHASE_UNDONE);
  EXPECT_TRUE(Supersedes(undone, verified));
  EXPECT_FALSE(Supersedes(verified, undone));
  EXPECT_FALSE(Supersedes(verified, verified));
  v1::FaultState more = verified;
  more.add_dose()->set_value(5);
  EXPECT_TRUE(Supersedes(more, verified));
  EXPECT_FALSE(Supersedes(verified, more));
  v1::FaultState touched = verified;
  touched.mutable_edges()->mutable_first_touch()->set_boottime_ns(2);
  EXPECT_TRUE(Supersedes(touched, more));
  v1::FaultState interfered = undone;
  interfered.set_phase(v1::PHASE_INTERFERED);
  interfered.mutable_edges()->mutable_undone()->set_boottime_ns(9);
  EXPECT_TRUE(Supersedes(interfered, undone));
}

}  // namespace
}  // namespace faultline
