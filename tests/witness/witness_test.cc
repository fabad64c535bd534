// SPDX-License-Identifier: Apache-2.0
//
// The witnesses on what is known without them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "tests/witness/disk.h"
#include "tests/witness/memory.h"
#include "tests/witness/now.h"
#include "tests/witness/packets.h"
#include "tests/witness/processes.h"
#include "tests/witness/readings.h"
#include "tests/witness/stalls.h"
#include "tests/witness/stolen.h"

namespace faultline::witness {
namespace {

TEST(Stalls, AreWhereAProcessWasStopped) {
  Stalls stalls(2 * kMs);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    stalls.Spin();
  }
  while (!stalls.running()) SleepForMs(1);
  SleepForMs(20);
  const std::int64_t stop_ns = NowNs();
  ::kill(pid, SIGSTOP);
  ::waitpid(pid, nullptr, WUNTRACED);
  const std::int64_t stopped_ns = NowNs();
  SleepForMs(100);
  const std::int64_t go_ns = NowNs();
  ::kill(pid, SIGCONT);
  Stall longest;
  for (int i = 0; i < 1000 && longest.end_ns < go_ns; ++i) {
    SleepForMs(5);
    longest = Longest(stalls.Since(stop_ns));
  }
  EXPECT_LE(longest.begin_ns, stopped_ns);
  EXPECT_GE(longest.end_ns, go_ns);
  EXPECT_GT(CpuNs(pid), 0);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(CpuNs(pid), -1);
}

TEST(Stalls, ChainIsWhatAQuotaMakes) {
  // Two moments of the host's, four of a quota, the first and the last of them cut short, another
  // of the host's.
  const std::vector<Stall> stalls{
      {10 * kMs, 13 * kMs},   {20 * kMs, 22 * kMs},   {40 * kMs, 43 * kMs},   {50 * kMs, 95 * kMs},
      {100 * kMs, 145 * kMs}, {150 * kMs, 153 * kMs}, {190 * kMs, 193 * kMs},
  };
  const Stall chain = Chain(stalls, 20 * kMs, 10 * kMs);
  EXPECT_EQ(chain.begin_ns, 40 * kMs);
  EXPECT_EQ(chain.end_ns, 153 * kMs);
  EXPECT_EQ(Chain(stalls, 60 * kMs, 10 * kMs).end_ns, 0);
  EXPECT_EQ(Longest({}).end_ns, 0);
}

// What the stand-in did not have either ends no chain and begins none, but may hide where it did;
// the host's own after the last one of a quota are none of it.
TEST(Stalls, ChainIsNotWhatTheHostMakes) {
  const auto dark = [](std::int64_t begin_ns, std::int64_t end_ns) {
    return Stall{begin_ns, end_ns, end_ns - begin_ns, end_ns - begin_ns};
  };
  std::vector<Stall> stalls{
      dark(30 * kMs, 39 * kMs),  {40 * kMs, 43 * kMs, 1, 2},   {50 * kMs, 95 * kMs, 3, 4},
      dark(97 * kMs, 115 * kMs), {116 * kMs, 145 * kMs, 5, 6}, {149 * kMs, 150 * kMs, 7, 8},
      {153 * kMs, 156 * kMs},    {160 * kMs, 163 * kMs},
  };
  Stall chain = Chain(stalls, 20 * kMs, 10 * kMs);
  EXPECT_EQ(chain.begin_ns, 40 * kMs);
  EXPECT_EQ(chain.end_ns, 150 * kMs);
  EXPECT_EQ(chain.begin_blind_ns, 9 * kMs);
  EXPECT_EQ(chain.end_blind_ns, 8);
  stalls.erase(stalls.begin());
  stalls.push_back(dark(164 * kMs, 180 * kMs));
  chain = Chain(stalls, 20 * kMs, 10 * kMs);
  EXPECT_EQ(chain.end_ns, 150 * kMs);
  EXPECT_EQ(chain.begin_blind_ns, 1);
  EXPECT_EQ(chain.blind_ns(), 16 * kMs);
  EXPECT_EQ(Longest({dark(0, 50 * kMs), {60 * kMs, 70 * kMs, 1, 1}}).begin_ns, 60 * kMs);
}

// Whoever takes the CPU from both, as a hypervisor does, held nobody back.
TEST(StandIn, TellsWhoIsHeldBackFromWhoHasNoCpu) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: a process goes before all others";
  const int cpu = WitnessCpu();
  Stalls stalls(kMs / 2);
  StandIn stand_in;
  const auto spawn = [](auto body) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    ::_exit(0);
  };
  const pid_t last = spawn([&] { stand_in.Spin(cpu); });
  while (!stand_in.running()) SleepForMs(1);
  const pid_t watched = spawn([&] { stalls.Spin(cpu); });
  while (!stalls.running()) SleepForMs(1);
  SleepForMs(20);
  const std::int64_t begin_ns = NowNs();
  ::kill(watched, SIGSTOP);
  SleepForMs(60);
  ::kill(watched, SIGCONT);
  SleepForMs(60);
  const std::int64_t taken_ns = NowNs();
  const pid_t taker = spawn([cpu] {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(static_cast<std::size_t>(cpu), &only);
    ::sched_setaffinity(0, sizeof(only), &only);
    BePunctual();
    for (const std::int64_t until_ns = NowNs() + 40 * kMs; NowNs() < until_ns;) {
    }
  });
  ::waitpid(taker, nullptr, 0);
  SleepForMs(60);
  Stall held;
  Stall taken;
  for (const Stall& stall : stand_in.Beside(stalls.Since(begin_ns))) {
    if (stall.length_ns() < 30 * kMs) continue;
    (stall.begin_ns < taken_ns ? held : taken) = stall;
  }
  EXPECT_GT(held.length_ns(), 30 * kMs);
  EXPECT_FALSE(held.dark());
  EXPECT_LT(held.blind_ns(), 30 * kMs);
  EXPECT_GT(taken.length_ns(), 30 * kMs);
  EXPECT_TRUE(taken.dark());
  for (const pid_t pid : {watched, last}) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

TEST(Stolen, IsPartOfTheTimeThatPasses) {
  const Stolen stolen;
  SleepForMs(50);
  EXPECT_GE(stolen.Share(), 0);
  EXPECT_LE(stolen.Share(), 1);
  EXPECT_GE(stolen.Ns(), 0);
}

TEST(Growth, HasItsEdges) {
  const std::vector<Reading> readings{{10, 1000}, {20, 1400}, {30, 1000}, {40, 2000},
                                      {50, 3000}, {60, 2800}, {70, 1200}, {80, 1100}};
  const Growth growth = GrowthOf(readings, 500);
  EXPECT_EQ(growth.begin_ns, 40);
  EXPECT_EQ(growth.last_ns, 50);
  EXPECT_EQ(growth.end_ns, 70);
  EXPECT_EQ(growth.most, 2000);
  EXPECT_EQ(GrowthOf(readings, 5000).begin_ns, 0);
  EXPECT_EQ(GrowthOf({}, 0).begin_ns, 0);
}

TEST(Burst, IsWhereCpuTimeGrowsAsFastAsTime) {
  // A process starts, burns twice with a pause between, and ends.
  std::vector<Reading> readings{{0, 0}, {10 * kMs, kMs / 2}};
  std::int64_t value = kMs / 2;
  for (const std::int64_t begin : {50, 60}) {
    for (std::int64_t tenth = 1; tenth <= 40; ++tenth) {
      value += kMs / 10;
      readings.push_back({begin * kMs + tenth * kMs / 10, value});
    }
  }
  readings.push_back({90 * kMs, value + kMs / 2});
  const Burst burst = BurstOf(readings, 2 * kMs);
  EXPECT_EQ(burst.begin_ns, 50 * kMs + kMs / 10);
  EXPECT_EQ(burst.last_ns, 64 * kMs);
  EXPECT_EQ(BurstOf(readings, 20 * kMs).last_ns, 0);
  EXPECT_EQ(BurstOf({}, kMs).last_ns, 0);
}

TEST(Readings, APeakIsTakenForNoMoreThanItsTime) {
  const std::vector<Reading> readings{{0, 3}, {100, 7}, {960, 9}, {970, 6}, {1000, 20}};
  EXPECT_EQ(MostFor(readings, 0.9), 7);
  EXPECT_EQ(MostFor(readings, 0.1), 3);
  EXPECT_EQ(MostFor(readings, 1), 9);
  EXPECT_EQ(MostFor({}, 0.9), 0);
}

TEST(Reader, SeesEachValueOfAFile) {
  std::string name = "/tmp/faultline-witness-XXXXXX";
  const int fd = ::mkstemp(name.data());
  ASSERT_GE(fd, 0);
  const auto put = [fd](const char* text) {
    EXPECT_EQ(::pwrite(fd, text, std::strlen(text), 0), static_cast<ssize_t>(std::strlen(text)));
    SleepForMs(50);
  };
  put("usage 100\n");
  Reader reader(name, 10);
  SleepForMs(50);
  const std::int64_t before_ns = NowNs();
  put("usage 900\n");
  put("usage 150\n");
  const std::vector<Reading> readings = reader.Finish();
  ::close(fd);
  ::unlink(name.c_str());
  ASSERT_EQ(readings.size(), 3u);
  EXPECT_EQ(readings[0].value, 1000);
  EXPECT_EQ(readings[1].value, 9000);
  EXPECT_GE(readings[1].seen_ns, before_ns - kMs);
  EXPECT_LT(readings[1].seen_ns, readings[2].seen_ns);
}

TEST(Memory, HeldBytesAreThoseThatWereTouched) {
  constexpr std::size_t kMapped = 64 << 20;
  constexpr std::size_t kTouched = 40 << 20;
  void* const memory =
      ::mmap(nullptr, kMapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::madvise(memory, kMapped, MADV_NOHUGEPAGE);
  std::memset(memory, 1, kTouched);
  EXPECT_EQ(HeldBytes(::getpid()), std::int64_t{kTouched});
  ::munmap(memory, kMapped);
  EXPECT_EQ(HeldBytes(0), -1);
}

// A file of eight blocks of 64 KiB, gone with this.
class OwnFile {
 public:
  static constexpr std::int64_t kBytes = 8 * Disk::kBlock;

  OwnFile() {
    const int fd = ::mkstemp(name_.data());
    const std::string zeros(kBytes, '\0');
    EXPECT_EQ(::write(fd, zeros.data(), zeros.size()), ssize_t{kBytes});
    EXPECT_EQ(::fsync(fd), 0);
    ::close(fd);
  }
  ~OwnFile() { ::unlink(name_.c_str()); }
  OwnFile(const OwnFile&) = delete;
  OwnFile& operator=(const OwnFile&) = delete;
  const std::string& name() const { return name_; }

 private:
  std::string name_ = "/var/tmp/faultline-witness-XXXXXX";
};

// A child that works until it is killed.
template <typename Work>
pid_t Start(const Work& work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::_exit(work());
  }
  return pid;
}

void End(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

TEST(Cached, IsWhatOfTheFileIsInMemory) {
  const OwnFile file;
  Cached cached;
  EXPECT_EQ(cached.bytes(), -1);
  const pid_t pid = Start([&] { return cached.Read(file.name()); });
  for (int i = 0; i < 1000 && cached.bytes() < OwnFile::kBytes; ++i) SleepForMs(5);
  EXPECT_EQ(cached.bytes(), OwnFile::kBytes);
  const std::int64_t begin_ns = NowNs();
  const int fd = ::open(file.name().c_str(), O_RDONLY | O_CLOEXEC);
  // Mapped pages stay, so it is tried until it meets those of a block that is not being read.
  std::vector<Reading> readings;
  for (int i = 0; i < 1000 && readings.size() < 3; ++i) {
    EXPECT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    SleepForMs(5);
    readings = cached.Since(begin_ns);
  }
  ::close(fd);
  End(pid);
  ASSERT_GE(readings.size(), 3u);
  EXPECT_EQ(readings.front().value, OwnFile::kBytes);
  EXPECT_LT(readings[1].value, OwnFile::kBytes);
}

TEST(Cached, ShortageIsUntilThereIsMoreThanTheLimit) {
  const std::vector<Reading> readings{{10, 1000}, {20, 950}, {30, 700}, {40, 400},
                                      {50, 450},  {60, 380}, {70, 600}, {80, 1000}};
  const Shortage shortage = ShortageOf(readings, 500, 100);
  EXPECT_EQ(shortage.begin_ns, 30);
  EXPECT_EQ(shortage.end_ns, 70);
  EXPECT_EQ(ShortageOf(readings, 300, 100).end_ns, 0);
  EXPECT_EQ(ShortageOf({}, 300, 100).begin_ns, 0);
}

TEST(Disk, TransfersFollowEachOther) {
  const OwnFile file;
  const int fd = ::open(file.name().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd < 0) GTEST_SKIP() << "the file system of /var/tmp has no O_DIRECT";
  ::close(fd);
  for (const bool write : {false, true}) {
    Disk disk;
    const pid_t pid =
        Start([&] { return write ? disk.Write(file.name()) : disk.Read(file.name()); });
    for (int i = 0; i < 1000 && disk.Since(0).size() < 10; ++i) SleepForMs(5);
    End(pid);
    const std::vector<Transfer> transfers = disk.Since(0);
    ASSERT_GE(transfers.size(), 10u);
    for (std::size_t i = 1; i < transfers.size(); ++i) {
      EXPECT_GE(transfers[i].begin_ns, transfers[i - 1].end_ns);
    }
    EXPECT_GT(BlocksPerSecond(transfers, 0), 0);
  }
}

TEST(Disk, RatesAndStallsAreThoseOfTheTransfers) {
  // Two at once after each pause.
  const std::vector<Transfer> transfers{
      {0, kMs},
      {kMs, 11 * kMs},
      {11 * kMs, 12 * kMs},
      {12 * kMs, 21 * kMs},
      {21 * kMs, 22 * kMs},
      {22 * kMs, 31 * kMs},
      {31 * kMs, 32 * kMs},
  };
  EXPECT_DOUBLE_EQ(BlocksPerSecond(transfers, 5 * kMs), 200);
  const std::vector<Stall> stalls = LongerThan(transfers, 5 * kMs);
  ASSERT_EQ(stalls.size(), 3u);
  EXPECT_EQ(stalls[0].length_ns(), 10 * kMs);
  EXPECT_EQ(BlocksPerSecond(transfers, 9 * kMs), 0) << "there is one such pause";
  EXPECT_EQ(BlocksPerSecond({}, 0), 0);
}

TEST(Life, EndsWhenTheProcessDoes) {
  const pid_t pid = Start([] { return ::pause(); });
  const Life life(pid);
  EXPECT_EQ(life.AwaitEndNs(10), 0);
  const std::int64_t begin_ns = NowNs();
  ::kill(pid, SIGKILL);
  EXPECT_GE(life.AwaitEndNs(10'000), begin_ns);
  ::waitpid(pid, nullptr, 0);
}

TEST(Packets, OfAPathThatLosesNothingAllArrive) {
  std::array<int, 2> pair{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  Packets packets({{pair[0], pair[1]}}, {.interval_ns = kMs, .payload = 64, .most = 1000});
  SleepForMs(100);
  packets.Finish();
  EXPECT_GT(packets.Of(0).size(), 10u);
  EXPECT_EQ(Lost(packets.Of(0)).count, 0);
  EXPECT_EQ(LatenciesUs(packets.Of(0)).size(), packets.Of(0).size());
  for (const int fd : pair) ::close(fd);
}

TEST(Packets, LostAndLateOnesAreFound) {
  const std::vector<Packet> packets{{10, 12}, {20, 0}, {30, 32}, {40, 45}, {50, 0}, {60, 61}};
  EXPECT_EQ(Lost(packets).count, 2);
  EXPECT_EQ(Lost(packets).first_ns, 20);
  EXPECT_EQ(Lost(packets).last_ns, 50);
  EXPECT_EQ(LostOrLate(packets, 1).count, 5);
  EXPECT_EQ(LostOrLate(packets, 1).first_ns, 10);
  EXPECT_EQ(LostOrLate(packets, 4).count, 3);
  EXPECT_EQ(Lost({}).first_ns, 0);
}

TEST(Packets, SilenceAtAnEdgeIsFound) {
  const std::vector<Packet> packets{{10, 12}, {20, 21}, {23, 0}, {24, 0},
                                    {30, 0},  {37, 38}, {99, 0}};
  EXPECT_EQ(SilenceAt(packets, {3, 23, 30}), 7);
  EXPECT_EQ(SilenceAt(packets, {2, 20, 24}), 10);
  EXPECT_EQ(SilenceAt(packets, {1, 10, 10}), 10);
  EXPECT_EQ(SilenceAt(packets, {7, 10, 99}), 0);
  EXPECT_EQ(SilenceAt({}, {}), 0);
}

TEST(Packets, ALateRunEndsWithTheLastThatWaitedBehindIt) {
  // Late by 5, and behind that less and less; the last one is late for another reason.
  const auto ms = [](std::initializer_list<std::pair<double, double>> stamps) {
    std::vector<Packet> packets;
    for (const auto& [sent, arrived] : stamps) {
      packets.push_back(
          {static_cast<std::int64_t>(sent * kMs), static_cast<std::int64_t>(arrived * kMs)});
    }
    return packets;
  };
  const std::vector<Packet> packets = ms({{10, 10.1},
                                          {20, 25},
                                          {21, 26},
                                          {22, 26},
                                          {23, 0},
                                          {24, 26.1},
                                          {25.5, 26},
                                          {27, 27.1},
                                          {28, 30}});
  const Met run = LateRun(packets, 4 * kMs);
  EXPECT_EQ(run.first_ns, 20 * kMs);
  EXPECT_EQ(run.last_ns, 25.5 * kMs);
  EXPECT_EQ(LateRun(packets, 10 * kMs).last_ns, 23 * kMs) << "a lost one is a run, too";
  // One that overtakes does not wait.
  EXPECT_EQ(LateRun(ms({{20, 25}, {21, 26}, {22, 22.1}, {23, 26.1}}), 4 * kMs).last_ns, 21 * kMs);
  EXPECT_EQ(LateRun(ms({{10, 10.1}}), 4 * kMs).first_ns, 0);
}

}  // namespace
}  // namespace faultline::witness
