// SPDX-License-Identifier: Apache-2.0
//
// How long systemd is waited for: a stand-in at the other end of a socket says nothing before it
// has all the questions of one round, or never.
#include "injector/host/systemd_units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace faultline {
namespace {

using ::testing::ElementsAre;

// Answers GetUnit and the property ControlGroup, for one connection.
class StandIn {
 public:
  // How many questions each round has; empty: it never answers.
  explicit StandIn(std::vector<size_t> rounds) : rounds_(std::move(rounds)) {
    folder_ = ::testing::TempDir() + "faultline-systemd-XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    listen_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    Path().copy(at.sun_path, sizeof(at.sun_path) - 1);
    EXPECT_EQ(::bind(listen_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
    EXPECT_EQ(::listen(listen_, 4), 0);
    thread_ = std::jthread([this](const std::stop_token& stop) { Serve(stop); });
  }
  ~StandIn() {
    thread_.request_stop();
    ::shutdown(listen_, SHUT_RDWR);
    thread_.join();
    ::close(listen_);
    ::unlink(Path().c_str());
    ::rmdir(folder_.c_str());
  }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  std::string Address() const { return absl::StrCat("unix:path=", Path()); }

 private:
  std::string Path() const { return folder_ + "/private"; }

  void Serve(const std::stop_token& stop) {
    const int fd = ::accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    sd_bus* made = nullptr;
    ASSERT_GE(sd_bus_new(&made), 0);
    const SystemdBus bus(made);
    ASSERT_GE(sd_bus_set_fd(made, fd, fd), 0);
    sd_id128_t id{};
    ASSERT_GE(sd_id128_randomize(&id), 0);
    ASSERT_GE(sd_bus_set_server(made, 1, id), 0);
    ASSERT_GE(sd_bus_add_filter(made, nullptr, Take, this), 0);
    ASSERT_GE(sd_bus_start(made), 0);
    while (!stop.stop_requested()) {
      const int done = sd_bus_process(made, nullptr);
      if (done < 0) return;
      if (!rounds_.empty() && asked_.size() == rounds_.front()) AnswerAll();
      if (done == 0) sd_bus_wait(made, 10'000);
    }
  }

  static int Take(sd_bus_message* message, void* self, sd_bus_error* /*error*/) {
    static_cast<StandIn*>(self)->asked_.emplace_back(sd_bus_message_ref(message));
    return 1;
  }

  void AnswerAll() {
    rounds_.erase(rounds_.begin());
    std::vector<SystemdMessage> asked;
    asked.swap(asked_);
    for (const SystemdMessage& one : asked) Answer(one.get());
  }

  static void Answer(sd_bus_message* asked) {
    const char* name = nullptr;
    if (sd_bus_message_is_method_call(asked, kSystemdManager, "GetUnit") > 0) {
      ASSERT_GT(sd_bus_message_read(asked, "s", &name), 0);
      if (std::strcmp(name, "gone.service") == 0) {
        ASSERT_GE(
            sd_bus_reply_method_errorf(asked, "org.freedesktop.systemd1.NoSuchUnit", "no %s", name),
            0);
        return;
      }
      const std::string path = absl::StrCat("/unit/", name[0] == 's' ? "ssh" : "timer");
      ASSERT_GE(sd_bus_reply_method_return(asked, "o", path.c_str()), 0);
      return;
    }
    if (std::strcmp(sd_bus_message_get_path(asked), "/unit/timer") == 0) {
      ASSERT_GE(sd_bus_reply_method_errorf(asked, SD_BUS_ERROR_UNKNOWN_PROPERTY, "no such"), 0);
      return;
    }
    ASSERT_GE(sd_bus_reply_method_return(asked, "v", "s", "/system.slice/ssh.service"), 0);
  }

  std::vector<size_t> rounds_;
  std::string folder_;
  int listen_ = -1;
  std::vector<SystemdMessage> asked_;
  std::jthread thread_;
};

TEST(SystemdUnits, AsksForManyGroups_InTwoRounds) {
  const StandIn systemd({3, 2});
  SystemdUnits units(nullptr, systemd.Address());
  const auto groups =
      units.GroupsOf(std::vector<std::string>{"ssh.service", "gone.service", "a.timer"});
  ASSERT_TRUE(groups.ok()) << groups.status();
  EXPECT_THAT(*groups, ElementsAre("/system.slice/ssh.service", "", ""));
}

TEST(SystemdUnits, ThatSaysNothing_HoldsNobodyUpForLong) {
  const StandIn systemd({});
  SystemdUnits units(nullptr, systemd.Address());
  Clock& clock = Clock::System();
  const std::int64_t begin_ns = clock.Now().boottime_ns;
  EXPECT_TRUE(absl::IsUnavailable(
      units.GroupsOf(std::vector<std::string>{"ssh.service", "gone.service"}).status()));
  const std::int64_t once_ns = clock.Now().boottime_ns - begin_ns;
  EXPECT_GE(once_ns, 150 * kNsPerMs);
  EXPECT_LE(once_ns, 250 * kNsPerMs);
  // For a while nobody else waits.
  EXPECT_TRUE(absl::IsUnavailable(units.Named("ssh.service").status()));
  EXPECT_LE(clock.Now().boottime_ns - begin_ns - once_ns, 50 * kNsPerMs);
}

}  // namespace
}  // namespace faultline
