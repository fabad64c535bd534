// SPDX-License-Identifier: Apache-2.0
#include "injector/journal.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

v1::FaultState State(const std::string& id, v1::Phase phase) {
  v1::FaultState state;
  state.mutable_spec()->set_id(id);
  state.mutable_spec()->set_type("sham");
  state.set_phase(phase);
  state.set_boot_id("boot");
  state.add_changes()->set_before("-1");
  return state;
}

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "journal-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = name + "/journal.db";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Journal> Open() {
    auto journal = Journal::Open(path_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return std::move(*journal);
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(JournalTest, KeepsEveryFieldOverAReopening) {
  ASSERT_TRUE(Open()->Save(State("a", v1::PHASE_JOURNALED)).ok());
  const auto rows = Open()->Load();
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ(rows->front().SerializeAsString(), State("a", v1::PHASE_JOURNALED).SerializeAsString());
}

TEST_F(JournalTest, ReplacesTheRowOfAFault_AndKeepsTheOrderOfStarts) {
  const auto journal = Open();
  ASSERT_TRUE(journal->Save(State("a", v1::PHASE_JOURNALED)).ok());
  ASSERT_TRUE(journal->Save(State("b", v1::PHASE_JOURNALED)).ok());
  ASSERT_TRUE(journal->Save(State("a", v1::PHASE_UNDONE)).ok());
  const auto rows = journal->Load();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].phase(), v1::PHASE_UNDONE);
  EXPECT_EQ((*rows)[1].spec().id(), "b");
}

// All of them or none: a row that is refused takes back those before it.
TEST_F(JournalTest, SavesSeveralInOneCommit) {
  const auto journal = Open();
  ASSERT_TRUE(journal->Save({State("a", v1::PHASE_UNDONE), State("b", v1::PHASE_UNDOING)}).ok());
  EXPECT_EQ(Open()->Load()->size(), 2u);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  const absl::Cleanup close = [other] { sqlite3_close(other); };
  ASSERT_EQ(sqlite3_exec(other,
                         "CREATE TRIGGER no BEFORE INSERT ON faults WHEN NEW.id = 'd' "
                         "BEGIN SELECT RAISE(ABORT, 'no'); END",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  EXPECT_FALSE(journal->Save({State("c", v1::PHASE_UNDONE), State("d", v1::PHASE_UNDONE)}).ok());
  EXPECT_EQ(Open()->Load()->size(), 2u);
  EXPECT_TRUE(journal->Save(State("c", v1::PHASE_UNDONE)).ok());
  EXPECT_EQ(Open()->Load()->size(), 3u);
}

// The log stays where it is, over many faults and longer ones; what was saved in it is there for
// others, and after a power cut, of which the copies are.
TEST_F(JournalTest, Reserve_IsForAllThatIsSaved) {
  const auto journal = Open();
  ASSERT_TRUE(journal->Save(State("before", v1::PHASE_JOURNALED)).ok());
  journal->Reserve();
  const auto log_size = [this] { return std::filesystem::file_size(path_ + "-wal"); };
  const std::uintmax_t reserved = log_size();
  EXPECT_EQ(reserved, 1u << 20);
  for (int i = 0; i < 200; ++i) {
    const std::string id = absl::StrCat("f", i);
    for (v1::Phase phase : {v1::PHASE_JOURNALED, v1::PHASE_VERIFIED, v1::PHASE_UNDONE}) {
      ASSERT_TRUE(journal->Save(State(id, phase)).ok());
    }
    ASSERT_EQ(log_size(), reserved) << "after fault " << i;
  }
  EXPECT_EQ(Open()->Load()->size(), 201u);
  const std::string cut = (folder_ / "cut.db").string();
  std::filesystem::copy_file(path_, cut);
  std::filesystem::copy_file(path_ + "-wal", cut + "-wal");
  const auto after = Journal::Open(cut);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE((*after)->complaints().empty());
  EXPECT_EQ((*after)->Load()->size(), 201u);
}

// Read while another connection has the journal open.
TEST_F(JournalTest, TellsTheFirstDeadlineOfWhatIsOpenAndNotBeingUndone) {
  const auto journal = Open();
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot").value(), INT64_MAX);
  std::int64_t deadline_ns = 100;
  const auto save = [&](const std::string& id, v1::Phase phase, const std::string& boot) {
    v1::FaultState state = State(id, phase);
    state.set_boot_id(boot);
    state.set_deadline_boottime_ns(deadline_ns += 100);
    ASSERT_TRUE(journal->Save(state).ok());
  };
  save("over", v1::PHASE_UNDONE, "boot");
  save("undoing", v1::PHASE_UNDOING, "boot");
  save("earlier", v1::PHASE_VERIFIED, "another boot");
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot").value(), INT64_MAX);
  save("later", v1::PHASE_JOURNALED, "boot");
  save("latest", v1::PHASE_VERIFIED, "boot");
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot").value(), 500);
  // A lease ends what is leased, and nothing else.
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot", 50).value(), 500);
  v1::FaultState leased = State("leased", v1::PHASE_VERIFIED);
  leased.set_deadline_boottime_ns(10'000);
  leased.set_leased(true);
  ASSERT_TRUE(journal->Save(leased).ok());
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot").value(), 500);
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot", 50).value(), 50);
  leased.set_phase(v1::PHASE_UNDOING);
  ASSERT_TRUE(journal->Save(leased).ok());
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot", 50).value(), 500);
  EXPECT_FALSE(Journal::FirstDeadline(path_ + ".none", "boot").ok());
  EXPECT_FALSE(std::filesystem::exists(path_ + ".none"));
}

TEST_F(JournalTest, ForgetsOnlyOldFinishedFaults) {
  const auto journal = Open();
  ASSERT_TRUE(journal->Save(State("open", v1::PHASE_VERIFIED)).ok());
  for (int i = 0; i < Journal::kKept + 5; ++i) {
    ASSERT_TRUE(journal->Save(State(absl::StrCat("f", i), v1::PHASE_UNDONE)).ok());
  }
  const auto rows = journal->Load();
  ASSERT_EQ(rows->size(), static_cast<size_t>(Journal::kKept) + 1);
  EXPECT_EQ(rows->front().spec().id(), "open");
  EXPECT_EQ((*rows)[1].spec().id(), "f5");
}

// One of `boot` that lasted for a minute from `minute` on.
v1::FaultState Ended(const std::string& id, const std::string& boot, std::int64_t minute) {
  constexpr std::int64_t kMinute = 60'000'000'000;
  v1::FaultState state = State(id, v1::PHASE_UNDONE);
  state.set_boot_id(boot);
  v1::Edge* commanded = state.mutable_edges()->mutable_commanded();
  commanded->set_boottime_ns(minute * kMinute);
  // The next boot is two hours after the first.
  commanded->set_realtime_ns((boot == "first" ? 0 : 120 * kMinute) + minute * kMinute);
  state.mutable_edges()->mutable_undone()->set_boottime_ns((minute + 1) * kMinute);
  return state;
}

TEST_F(JournalTest, KeepsWhatFaultsTookFor2Hours_WithoutTheirRowsToo) {
  const auto minutes = [this] {
    std::vector<std::string> texts;
    const absl::StatusOr<std::vector<Taken>> taken = Open()->LoadTaken();
    for (const Taken& one : *taken) {
      texts.push_back(absl::StrCat(one.boot_id, " ", one.interval.begin_ns / 60'000'000'000));
    }
    return texts;
  };
  using Texts = std::vector<std::string>;
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->Save(Ended("a", "first", 10)).ok());
    ASSERT_TRUE(journal->Save(Ended("b", "first", 90)).ok());
    // Shams, which take nothing.
    for (int i = 0; i < Journal::kKept; ++i) {
      ASSERT_TRUE(journal->Save(State(absl::StrCat("f", i), v1::PHASE_UNDONE)).ok());
    }
    EXPECT_EQ(journal->Load()->front().spec().id(), "f0");
  }
  EXPECT_EQ(minutes(), (Texts{"first 10", "first 90"}));
  ASSERT_TRUE(Open()->Save(Ended("c", "first", 130)).ok());
  EXPECT_EQ(minutes(), (Texts{"first 10", "first 90", "first 130"}));
  ASSERT_TRUE(Open()->Save(Ended("d", "first", 131)).ok());
  EXPECT_EQ(minutes(), (Texts{"first 90", "first 130", "first 131"}));
  ASSERT_TRUE(Open()->Save(Ended("e", "next", 100)).ok());
  EXPECT_EQ(minutes(), (Texts{"first 130", "first 131", "next 100"}));
}

TEST_F(JournalTest, SaysWhichRowCannotBeRead_AndKeepsIt) {
  const auto journal = Open();
  ASSERT_TRUE(journal->Save(State("a", v1::PHASE_VERIFIED)).ok());
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, "UPDATE faults SET state = x'FF'", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  EXPECT_TRUE(journal->Load()->empty());
  // No injector that is ended for it would undo it.
  EXPECT_EQ(Journal::FirstDeadline(path_, "boot").value(), INT64_MAX);
  ASSERT_EQ(journal->complaints().size(), 1u);
  EXPECT_TRUE(
      absl::StrContains(journal->complaints()[0], "the row of fault a (sham) cannot be read"));
}

TEST_F(JournalTest, SetsAsideAFileThatIsNoDatabase_AndSaysSo) {
  std::ofstream(path_) << "this is not a database, whatever its name says";
  const auto journal = Open();
  ASSERT_EQ(journal->complaints().size(), 1u);
  EXPECT_TRUE(journal->Save(State("a", v1::PHASE_JOURNALED)).ok());
  int kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    kept += absl::StrContains(entry.path().string(), ".damaged-") ? 1 : 0;
  }
  EXPECT_EQ(kept, 1);
}

TEST_F(JournalTest, CarriesOverWhatCanBeReadOfADamagedFile) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->Save(Ended("ended", "first", 10)).ok());
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(journal->Save(State(absl::StrCat("f", i), v1::PHASE_VERIFIED)).ok());
    }
  }
  // The last page becomes rubbish; the first ones still hold rows.
  const auto size = std::filesystem::file_size(path_);
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size - 4096));
    file << std::string(4096, '\x55');
  }
  const auto journal = Open();
  ASSERT_EQ(journal->complaints().size(), 1u);
  const auto rows = journal->Load();
  ASSERT_TRUE(rows.ok());
  EXPECT_GT(rows->size(), 10u);
  // By its row, and by what was kept of it.
  EXPECT_EQ(journal->LoadTaken()->size(), 2u);
}

// A process that ended while it put the new file in the place of the damaged one.
TEST_F(JournalTest, TakesWhatWasReadyBesideIt) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->Save(State("open", v1::PHASE_VERIFIED)).ok());
  }
  const std::string state_dir = std::filesystem::path(path_).parent_path();
  EXPECT_TRUE(Journal::IsIn(state_dir));
  std::filesystem::rename(path_, path_ + ".new");
  // An undo that comes then has something to do.
  EXPECT_TRUE(Journal::IsIn(state_dir));
  // Of the damaged one, and none of the new one's.
  std::ofstream(path_ + "-wal") << "rubbish";
  const auto journal = Open();
  ASSERT_EQ(journal->complaints().size(), 1u);
  const auto rows = journal->Load();
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ(rows->front().spec().id(), "open");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
  EXPECT_FALSE(Journal::IsIn(state_dir + "/none"));
}

// What was left of a try before is nothing.
TEST_F(JournalTest, BeginsANewFileAnew) {
  std::ofstream(path_ + ".new") << "half of it";
  std::ofstream(path_) << "this is not a database, whatever its name says";
  const auto journal = Open();
  ASSERT_EQ(journal->complaints().size(), 1u);
  EXPECT_TRUE(journal->Load()->empty());
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

TEST_F(JournalTest, RemembersWhatStands) {
  v1::Change plane;
  plane.set_kind("net_plane");
  plane.set_object("eth0");
  ASSERT_TRUE(Open()->SaveStanding(plane).ok());
  plane.set_before("fq");
  ASSERT_TRUE(Open()->SaveStanding(plane).ok());
  const auto journal = Open();
  const auto standing = journal->LoadStanding();
  ASSERT_TRUE(standing.ok());
  ASSERT_EQ(standing->size(), 1u);
  EXPECT_EQ(standing->front().before(), "fq");
  ASSERT_TRUE(journal->ForgetStanding(plane).ok());
  EXPECT_TRUE(journal->LoadStanding()->empty());
}

TEST_F(JournalTest, SaysThatItCannotBeOpened) {
  const auto journal = Journal::Open((folder_ / "none" / "journal.db").string());
  EXPECT_FALSE(journal.ok());
}

}  // namespace
}  // namespace faultline
