// SPDX-License-Identifier: Apache-2.0
//
// What somebody else has set up, on the network and in control groups: the plane and each fault
// either leave it alone, in words that say what to do, or bring it back exactly. Told by tc(8) and
// by the files, before and after.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "tests/child.h"
#include "tests/kernel/fault_network.h"
#include "tests/kernel/test_disk.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

constexpr char kDevice[] = "flfor0";
constexpr char kTc[] = "/usr/sbin/tc";

// What tc says, without the counter that htb shows among its options.
std::string WithoutCounter(const std::string& text) {
  return std::regex_replace(text, std::regex("\"direct_packets_stat\":[0-9]+,"), "");
}

struct Foreign {
  const char* what;
  // Of tc, on the device.
  std::vector<const char*> made_by;
  // Why it gets no plane; empty: it gets one.
  const char* refused;
};

void PrintTo(const Foreign& foreign, std::ostream* out) { *out << foreign.what; }

// A device with two queues each way and something of somebody else's on it, beside the one that the
// injector was given.
class ForeignNetwork : public NetFaultTest, public testing::WithParamInterface<Foreign> {
 protected:
  void SetUp() override {
    if (access(kTc, X_OK) != 0) GTEST_SKIP() << "tc(8) is not here, so nobody sets up anything";
    NetFaultTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_EQ(Run("/usr/sbin/ip link add name flfor0 numtxqueues 2 numrxqueues 2 type veth peer "
                  "name flfor1 numtxqueues 2 numrxqueues 2"),
              0);
    ASSERT_EQ(Run("/usr/sbin/ip link set flfor1 up"), 0);
    ASSERT_EQ(Run("/usr/sbin/ip link set flfor0 up"), 0);
    for (const char* words : GetParam().made_by) {
      const std::string command = absl::StrCat(kTc, " ", words);
      if (Run(command) != 0) GTEST_SKIP() << "this kernel cannot: " << command;
    }
    foreign_ = TcDigest();
  }
  void TearDown() override {
    (void)TestNetwork::Remove(kDevice);
    NetFaultTest::TearDown();
  }

  static int Run(const std::string& command) {
    return RunToEnd(absl::StrSplit(command, ' '), nullptr);
  }
  // Everything on the device, without counters.
  static std::string TcDigest() {
    std::string text;
    for (const char* what :
         {"qdisc show dev flfor0", "class show dev flfor0", "filter show dev flfor0",
          "filter show dev flfor0 ingress", "filter show dev flfor0 egress"}) {
      std::string part;
      (void)RunToEnd(absl::StrSplit(absl::StrCat(kTc, " -j ", what), ' '), &part);
      absl::StrAppend(&text, what, ": ", part, "\n");
    }
    return WithoutCounter(text);
  }

  v1::FaultSpec On(const std::string& type) const {
    v1::FaultSpec spec = Spec(type, absl::StrCat(type.substr(4), "-", GetParam().what), 30);
    (*spec.mutable_parameters())["device"] = kDevice;
    if (type == "net.loss") (*spec.mutable_parameters())["loss"] = "10%";
    if (type == "net.loss") (*spec.mutable_parameters())["direction"] = "out";
    if (type == "net.rate") (*spec.mutable_parameters())["rate"] = "1mbit";
    if (type == "net.delay") (*spec.mutable_parameters())["delay"] = "10ms";
    return spec;
  }
  // Whether it could be started, and then stopped; why not in `why`.
  bool ComesAndGoes(const std::string& type, std::string* why) {
    const v1::FaultSpec spec = On(type);
    const absl::StatusOr<v1::FaultState> started = injector_.Inject(spec);
    *why = std::string(started.status().message());
    if (!started.ok()) return false;
    const absl::StatusOr<v1::FaultState> stopped = injector_.Stop(spec.id());
    EXPECT_TRUE(stopped.ok()) << stopped.status();
    EXPECT_EQ(stopped->phase(), v1::PHASE_UNDONE) << stopped->ShortDebugString();
    EXPECT_TRUE(stopped->residue().empty()) << stopped->ShortDebugString();
    return true;
  }

  std::string foreign_;
};

TEST_P(ForeignNetwork, IsLeftAloneOrBroughtBack) {
  const bool stands = *GetParam().refused == '\0';
  const size_t logged = injector_.Log().size();
  RestartWith({"--plane-device", kDevice});
  if (!stands) {
    EXPECT_THAT(injector_.Log().substr(logged), HasSubstr(GetParam().refused));
    EXPECT_EQ(TcDigest(), foreign_) << "before anything is changed";
  }
  const std::string beneath = TcDigest();
  for (const char* type : {"net.loss", "net.rate", "net.delay"}) {
    SCOPED_TRACE(type);
    std::string why;
    const bool came = ComesAndGoes(type, &why);
    EXPECT_EQ(TcDigest(), beneath);
    if (came) {
      // By tcx it needs no plane.
      EXPECT_TRUE(stands || absl::string_view(type) == "net.loss");
      continue;
    }
    std::printf("%s on %s: %s\n", type, GetParam().what, why.c_str());
    const bool no_netem =
        absl::string_view(type) == "net.delay" && absl::StrContains(why, "no qdisc netem");
    EXPECT_TRUE(no_netem || (!stands && absl::StrContains(why, GetParam().refused))) << why;
  }
  EXPECT_EQ(stands, beneath != foreign_);
  RestartAsBefore();
  EXPECT_EQ(TcDigest(), foreign_);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ForeignNetwork,
    testing::Values(
        Foreign{"noqueue", {}, ""},
        Foreign{"clsact",
                {"qdisc add dev flfor0 clsact",
                 "filter add dev flfor0 egress protocol ip pref 7 u32 match u32 0 0 classid 1:1",
                 "filter add dev flfor0 ingress protocol ip pref 7 u32 match u32 0 0 classid 1:1"},
                ""},
        Foreign{"fifo",
                {"qdisc add dev flfor0 root handle 1: pfifo limit 77"},
                "somebody's own (pfifo"},
        Foreign{"mq", {"qdisc add dev flfor0 root handle 8: mq"}, "somebody's own (mq"},
        Foreign{
            "htb",
            {"qdisc add dev flfor0 root handle 1: htb default 10",
             "class add dev flfor0 parent 1: classid 1:10 htb rate 10mbit",
             "qdisc add dev flfor0 parent 1:10 handle 10: pfifo limit 9",
             "filter add dev flfor0 parent 1: protocol ip pref 3 u32 match u32 0 0 classid 1:10"},
            "somebody's own (htb"},
        Foreign{"shaper",
                {"qdisc add dev flfor0 root handle 1: tbf rate 1mbit burst 10k latency 9ms"},
                "somebody's own (tbf"}),
    [](const auto& row) { return std::string(row.param.what); });

// A device with four queues and, as a network card has, the kernel's own mq. What it sends is read
// by the test, at all of its queues.
class SeveralQueues : public NetFaultTest {
 protected:
  static constexpr char kTun[] = "flmq0";
  static constexpr int kQueues = 4;

  void SetUp() override {
    if (access(kTc, X_OK) != 0) GTEST_SKIP() << "tc(8) is not here, so nobody sets up anything";
    NetFaultTest::SetUp();
    if (IsSkipped()) return;
    for (int i = 0; i < kQueues; ++i) {
      const int queue = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
      if (queue < 0) GTEST_SKIP() << "this kernel has no tun devices";
      queues_.push_back(queue);
      ifreq request{};
      std::snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", kTun);
      request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE;
      ASSERT_EQ(ioctl(queue, TUNSETIFF, &request), 0);
    }
    ASSERT_EQ(Run("/usr/sbin/ip addr add 10.79.0.1/24 dev flmq0"), 0);
    ASSERT_EQ(Run("/usr/sbin/ip link set flmq0 up"), 0);
  }
  void TearDown() override {
    for (const int queue : queues_) close(queue);
    NetFaultTest::TearDown();
  }

  static int Run(const std::string& command) {
    return RunToEnd(absl::StrSplit(command, ' '), nullptr);
  }
  static std::string Qdiscs() {
    std::string text;
    (void)RunToEnd({kTc, "-j", "-d", "qdisc", "show", "dev", kTun}, &text);
    return WithoutCounter(text);
  }
  static std::string Tc(const std::string& command) { return absl::StrCat(kTc, " ", command); }
  v1::FaultSpec Rate(const std::string& name, const std::string& rate) const {
    v1::FaultSpec spec = Spec("net.rate", name, 30);
    (*spec.mutable_parameters())["device"] = kTun;
    (*spec.mutable_parameters())["rate"] = rate;
    return spec;
  }
  // Bytes of UDP, headers included, that left by any queue within `ms`.
  std::int64_t Read(int ms) {
    std::int64_t bytes = 0;
    const std::int64_t end_ns = Clock::System().Now().boottime_ns + ms * kNsPerMs;
    while (Clock::System().Now().boottime_ns < end_ns) {
      for (const int queue : queues_) {
        std::array<char, 2048> packet{};
        ssize_t size = 0;
        while ((size = read(queue, packet.data(), packet.size())) > 0) {
          if (packet[0] >> 4 == 4 && packet[9] == IPPROTO_UDP) bytes += size;
        }
      }
      SleepMs(1);
    }
    return bytes;
  }

  std::vector<int> queues_;
};

TEST_F(SeveralQueues, AreMergedOnlyWhereTheOwnerAllowsIt_AndComeBack) {
  const std::string before = Qdiscs();
  ASSERT_THAT(before, HasSubstr("\"mq\""));
  RestartWith({"--plane-device", kTun});
  EXPECT_EQ(Qdiscs(), before);
  const absl::Status refused = injector_.Inject(Rate("refused", "1mbit")).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("with --plane-mq-device flmq0"));

  RestartWith({"--plane-device", kTun, "--plane-mq-device", kTun});
  const std::string plane = Qdiscs();
  EXPECT_THAT(plane, HasSubstr("\"htb\""));
  EXPECT_THAT(plane, testing::Not(HasSubstr("\"mq\"")));
  const int sender = TestNetwork::Socket(group_.get(), AF_INET, SOCK_DGRAM);
  ASSERT_EQ(TestNetwork::Connect(sender, "10.79.0.2", 7), 0);
  // So that it need not wait for what waits.
  const int size = 4 << 20;
  ASSERT_EQ(setsockopt(sender, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)), 0);
  const std::array<char, 972> datagram{};
  const auto send_some = [&] {
    for (int i = 0; i < 100; ++i) (void)send(sender, datagram.data(), datagram.size(), 0);
  };
  send_some();
  EXPECT_EQ(Read(200), 100'000) << "not targeted yet: all at once";
  const auto started = injector_.Inject(Rate("rate", "400kbit"));
  ASSERT_TRUE(started.ok()) << started.status();
  send_some();
  // 50 kB a second, and a burst of 10 ms of it or two frames.
  const std::int64_t first = Read(1000);
  EXPECT_NEAR(static_cast<double>(first), 52'000, 8'000);
  EXPECT_EQ(first + Read(1500), 100'000) << "the rest waits, and none is lost";
  ASSERT_TRUE(injector_.Stop(Id("rate")).ok());
  EXPECT_EQ(Qdiscs(), plane);
  // It stands while the injector does not, and one that was killed left it to the next.
  ASSERT_TRUE(injector_.Inject(Rate("killed", "1mbit")).ok());
  Kill();
  EXPECT_EQ(injector_.Undo(), 0);
  EXPECT_EQ(Qdiscs(), plane);
  ASSERT_TRUE(injector_.Start().ok());
  close(sender);
  RestartAsBefore();
  EXPECT_EQ(Qdiscs(), before);
}

// Those of somebody who gave them names, and below them other queues, are not the kernel's.
TEST_F(SeveralQueues, ThatSomebodySetUpAreLeftAlone) {
  ASSERT_EQ(Run(Tc("qdisc add dev flmq0 root handle 8: mq")), 0);
  ASSERT_EQ(Run(Tc("qdisc replace dev flmq0 parent 8:2 handle 12: pfifo limit 9")), 0);
  const std::string before = Qdiscs();
  RestartWith({"--plane-mq-device", kTun});
  EXPECT_EQ(Qdiscs(), before);
  const absl::Status refused = injector_.Inject(Rate("refused", "1mbit")).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("of somebody's own (mq 8:0)"));
  // Their owner takes them away, which is seen, and then the plane comes.
  ASSERT_EQ(Run(Tc("qdisc del dev flmq0 root")), 0);
  for (int i = 0; i < 300 && !absl::StrContains(Qdiscs(), "\"htb\""); ++i) SleepMs(10);
  EXPECT_THAT(Qdiscs(), HasSubstr("\"htb\""));
  RestartAsBefore();
  EXPECT_THAT(Qdiscs(), HasSubstr("\"mq\""));
}

// Limits of the administrator's own.
class ForeignLimits : public FaultTest {
 protected:
  void SetUp() override {
    injector_.SetOptions({"--max-faults", "5"});
    FaultTest::SetUp();
  }
  // In the files of whichever version has the controller.
  void Limit(const char* cpu_us, const char* memory) {
    const bool v1 = group_->Write("cpu", "cpu.cfs_period_us", "50000").ok();
    if (v1) {
      ASSERT_TRUE(group_->Write("cpu", "cpu.cfs_quota_us", cpu_us).ok());
    } else {
      ASSERT_TRUE(group_->Write("cpu", "cpu.max", absl::StrCat(cpu_us, " 50000")).ok());
    }
    const char* file = "memory.limit_in_bytes";
    if (!group_->Write("memory", file, memory).ok()) file = "memory.max";
    ASSERT_TRUE(group_->Write("memory", file, memory).ok());
    before_ = Digest();
  }
  // Bytes read a second and writes a second of the disk below /var/tmp; none if there is none.
  void LimitDisk(const char* read, const char* writes) {
    if (disk_.empty()) return;
    const absl::Status v1 =
        group_->Write("blkio", "blkio.throttle.read_bps_device", absl::StrCat(disk_, " ", read));
    if (v1.ok()) {
      ASSERT_TRUE(
          group_
              ->Write("blkio", "blkio.throttle.write_iops_device", absl::StrCat(disk_, " ", writes))
              .ok());
    } else {
      ASSERT_TRUE(
          group_->Write("io", "io.max", absl::StrCat(disk_, " rbps=", read, " wiops=", writes))
              .ok());
    }
    before_ = Digest();
  }
  // Each of a kind that some limit stands against, of the same group.
  std::vector<const char*> Types() const {
    std::vector<const char*> types{"cpu.limit", "mem.limit", "process.pause", "mem.leak"};
    if (!disk_.empty()) types.push_back("io.limit");
    return types;
  }
  v1::FaultSpec Small(const std::string& type) const {
    std::string name = type;
    std::replace(name.begin(), name.end(), '.', '-');
    v1::FaultSpec spec = Spec(type, name, 30);
    if (type == "cpu.limit") (*spec.mutable_parameters())["cpus"] = "0.5";
    if (type == "mem.leak") (*spec.mutable_parameters())["bytes"] = "8MiB";
    if (type == "mem.limit") (*spec.mutable_parameters())["bytes"] = "64MiB";
    if (type == "io.limit") {
      (*spec.mutable_parameters())["device"] = disk_;
      (*spec.mutable_parameters())["read"] = "1MiB/s";
    }
    return spec;
  }

  const std::string disk_ = TestFile::DiskOf("/var/tmp");
};

TEST_F(ForeignLimits, AreBroughtBack) {
  const Spinner spinner(group_.get());
  Limit("75000", "268435456");
  LimitDisk("8388608", "500");
  for (const char* type : Types()) {
    SCOPED_TRACE(type);
    const v1::FaultSpec spec = Small(type);
    const auto started = injector_.Inject(spec);
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_NE(Digest(), before_);
    ASSERT_TRUE(injector_.Stop(spec.id()).ok());
    EXPECT_EQ(Digest(), before_);
  }
  // All at once, and the injector killed.
  for (const char* type : Types()) {
    v1::FaultSpec spec = Small(type);
    spec.set_id(absl::StrCat(spec.id(), "-again"));
    const auto started = injector_.Inject(spec);
    ASSERT_TRUE(started.ok()) << started.status();
  }
  Kill();
  EXPECT_EQ(injector_.Undo(), 0);
  EXPECT_EQ(Digest(), before_);
  ASSERT_TRUE(injector_.Start().ok());
  EXPECT_TRUE(spinner.GetsOn());
}

// A fault takes away and never gives: what would be more than there is is refused.
TEST_F(ForeignLimits, ThatAreStricterAreKept) {
  Limit("10000", "4194304");
  LimitDisk("524288", "500");
  for (const absl::string_view type : Types()) {
    // It takes nothing that could be less.
    if (type == "process.pause") continue;
    SCOPED_TRACE(type);
    const auto started = injector_.Inject(Small(std::string(type)));
    EXPECT_TRUE(absl::IsFailedPrecondition(started.status())) << started.status();
    std::printf("%s\n", std::string(started.status().message()).c_str());
    EXPECT_EQ(Digest(), before_);
  }
}

}  // namespace
}  // namespace faultline
