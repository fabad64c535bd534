// SPDX-License-Identifier: Apache-2.0
#include "base/journald.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/event.h"
#include "base/log.h"

namespace faultline {
namespace {

// journald's end of the protocol, by systemd.io/JOURNAL_NATIVE_PROTOCOL alone.
std::map<std::string, std::string> Parse(const std::string& entry) {
  std::map<std::string, std::string> fields;
  size_t at = 0;
  while (at < entry.size()) {
    const size_t end = entry.find('\n', at);
    if (end == std::string::npos) {
      ADD_FAILURE() << "an entry ends in the midst of a line";
      break;
    }
    const std::string line = entry.substr(at, end - at);
    const size_t equals = line.find('=');
    at = end + 1;
    if (equals != std::string::npos) {
      fields[line.substr(0, equals)] = line.substr(equals + 1);
      continue;
    }
    std::uint64_t size = 0;
    for (int byte = 7; byte >= 0; --byte) {
      size = size << 8U | static_cast<unsigned char>(entry.at(at + static_cast<size_t>(byte)));
    }
    fields[line] = entry.substr(at + 8, size);
    EXPECT_EQ(entry.at(at + 8 + size), '\n');
    at += 8 + size + 1;
  }
  return fields;
}

class JournaldTest : public ::testing::Test {
 protected:
  JournaldTest() {
    std::string pattern = ::testing::TempDir() + "faultline-journal-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    path_ = dir_ + "/socket";
    Listen();
  }
  ~JournaldTest() override {
    LogToJournal("");
    Close();
    ::rmdir(dir_.c_str());
  }

  void Listen() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, path_.size());
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  void Close() {
    ::close(socket_);
    ::unlink(path_.c_str());
  }

  // The next entry; empty if there is none.
  std::map<std::string, std::string> Heard() {
    std::array<char, 65536> buffer{};
    const ssize_t size = ::recv(socket_, buffer.data(), buffer.size(), 0);
    return size < 0 ? std::map<std::string, std::string>{}
                    : Parse(std::string(buffer.data(), static_cast<size_t>(size)));
  }

  std::string dir_;
  std::string path_;
  int socket_ = -1;
};

TEST_F(JournaldTest, ALineHasPriorityAndName) {
  LogToJournal(path_);
  LogWarning("two and ", 2);
  const auto entry = Heard();
  EXPECT_EQ(entry.at("MESSAGE"), "two and 2");
  EXPECT_EQ(entry.at("PRIORITY"), "4");
  EXPECT_EQ(entry.at("SYSLOG_IDENTIFIER"), program_invocation_short_name);
  EXPECT_EQ(entry.count("MESSAGE_ID"), 0U);
  EXPECT_TRUE(Heard().empty());
}

TEST_F(JournaldTest, EveryEventCarriesItsIdAndItsFields) {
  LogToJournal(path_);
  for (const EventKind& kind : EventKinds()) {
    LogEvent(kind.event, {{kFaultIdField, "f-1"}, {kReasonField, "why\nnot"}, {kCgroupField, ""}},
             "words ", 7);
    const auto entry = Heard();
    ASSERT_FALSE(entry.empty()) << kind.name;
    EXPECT_EQ(entry.at("MESSAGE_ID"), kind.id);
    EXPECT_EQ(entry.at("FAULTLINE_EVENT"), kind.name);
    EXPECT_EQ(entry.at("PRIORITY"), absl::StrCat(static_cast<int>(kind.severity)));
    EXPECT_EQ(entry.at("FAULTLINE_FAULT_ID"), "f-1");
    EXPECT_EQ(entry.at("FAULTLINE_REASON"), "why\nnot");
    EXPECT_EQ(entry.at("MESSAGE"), "words 7");
    EXPECT_EQ(entry.count("FAULTLINE_CGROUP"), 0U);
  }
}

// What a node or a user may have named cannot forge a field.
TEST_F(JournaldTest, AValueWithLinesIsOneValue) {
  LogToJournal(path_);
  LogInfo("first\nPRIORITY=0\nMESSAGE_ID=forged");
  const auto entry = Heard();
  EXPECT_EQ(entry.at("MESSAGE"), "first\nPRIORITY=0\nMESSAGE_ID=forged");
  EXPECT_EQ(entry.at("PRIORITY"), "6");
  EXPECT_EQ(entry.count("MESSAGE_ID"), 0U);
}

TEST_F(JournaldTest, NamesThatTheJournalDoesNotTakeAreLeftOut) {
  EXPECT_EQ(JournalEntry({{"A", "1"},
                          {"_PID", "1"},
                          {"a", "1"},
                          {"", "1"},
                          {"B=C", "1"},
                          {std::string(65, 'X'), "1"},
                          {"D2_", ""}}),
            "A=1\nD2_=\n");
}

TEST_F(JournaldTest, ARestartedJournalIsSpokenToAgain) {
  LogToJournal(path_);
  Close();
  ::testing::internal::CaptureStderr();
  LogEvent(Event::kHalted, {{kReasonField, "smoke"}}, "halted");
  // Nothing is lost meanwhile: systemd reads the priority from the stream.
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "<4>halted\n");
  Listen();
  LogEvent(Event::kReleased, {}, "released");
  EXPECT_EQ(Heard()["MESSAGE"], "released");
}

TEST_F(JournaldTest, AFullJournalDoesNotBlock) {
  LogToJournal(path_);
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 2000; ++i) LogInfo("line ", i);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("<6>line 1999\n"), std::string::npos);
}

TEST_F(JournaldTest, WithoutAJournalTheLineGoesToStderr) {
  LogToJournal("");
  ::testing::internal::CaptureStderr();
  LogEvent(Event::kUndoDelayed, {{kFaultIdField, "f-1"}}, "not undone");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "error: not undone\n");
  EXPECT_TRUE(Heard().empty());
}

TEST(JournalStream, IsOnlyTheDescriptorThatSystemdNamed) {
  struct stat info {};
  ASSERT_EQ(::fstat(STDIN_FILENO, &info), 0);
  const std::string own = absl::StrCat(info.st_dev, ":", info.st_ino);
  EXPECT_TRUE(IsJournalStream(own.c_str(), STDIN_FILENO));
  EXPECT_FALSE(IsJournalStream(absl::StrCat(info.st_dev, ":", info.st_ino + 1).c_str(), 0));
  EXPECT_FALSE(IsJournalStream(nullptr, STDIN_FILENO));
  EXPECT_FALSE(IsJournalStream("", STDIN_FILENO));
  EXPECT_FALSE(IsJournalStream("8", STDIN_FILENO));
  EXPECT_FALSE(IsJournalStream(own.c_str(), 1000));
}

}  // namespace
}  // namespace faultline
