// SPDX-License-Identifier: Apache-2.0
//
// A rate, a delay and a loss on a device as people set them today, `tc qdisc ... root tbf` and
// `netem`, beside net.rate, net.delay and net.loss: how long the command takes, how many packets
// are lost by setting it and taking it away, and how much of it is given.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/bench/faults_parts.h"
#include "tests/trials/doses.h"
#include "tests/trials/families.h"
#include "tests/trials/others.h"
#include "tests/witness/now.h"
#include "tests/witness/wire.h"

namespace faultline {
namespace {

constexpr int kTcRounds = 200;
constexpr int kTcWarmUp = 3;
constexpr int kRateRounds = 5;
constexpr std::int64_t kHeldMs = 20;

// A pair of devices that has no plane, for the peer.
constexpr char kPeerDevice[] = "flpeer0";
constexpr char kPeerOther[] = "flpeer1";
constexpr UdpEnds kPeerEnds{"10.78.0.1", "10.78.0.2"};

// A command in the thread's namespace, to its end; the time that it took, ms.
absl::StatusOr<double> Command(std::vector<std::string> words) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::int64_t begin_ns = witness::NowNs();
  pid_t pid = -1;
  if (::posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ) != 0) {
    return absl::NotFoundError(absl::StrCat("there is no ", words[0]));
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  const double took_ms = static_cast<double>(witness::NowNs() - begin_ns) / witness::kMs;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return took_ms;
  return absl::UnavailableError(absl::StrCat("it failed: ", absl::StrJoin(words, " ")));
}

std::vector<std::string> Tbf(const char* rate, const char* burst) {
  return {"/usr/sbin/tc", "qdisc", "replace", "dev", kPeerDevice, "root", "tbf",
          "rate",         rate,    "burst",   burst, "limit",     "10mb"};
}

std::vector<std::string> NoQdisc() {
  return {"/usr/sbin/tc", "qdisc", "del", "dev", kPeerDevice, "root"};
}

struct Side {
  std::vector<double> start_ms;
  std::vector<double> end_ms;
  Others others;
};

absl::Status SetAndTakeAway(const OthersWatch& watch, const std::vector<std::string>& set,
                            const std::vector<std::string>& take, Side* side) {
  return watch.Watch(
      [&set, &take, side](std::vector<std::int64_t>* edges_ns) {
        edges_ns->push_back(witness::NowNs());
        const absl::StatusOr<double> began = Command(set);
        if (!began.ok()) return began.status();
        side->start_ms.push_back(*began);
        witness::SleepForMs(kHeldMs);
        edges_ns->push_back(witness::NowNs());
        const absl::StatusOr<double> ended = Command(take);
        if (!ended.ok()) return ended.status();
        side->end_ms.push_back(*ended);
        return absl::OkStatus();
      },
      &side->others);
}

absl::Status StartAndStop(TrialSite* site, const OthersWatch& watch, const v1::FaultSpec& spec,
                          Side* side) {
  return watch.Watch(
      [site, &spec, side](std::vector<std::int64_t>* edges_ns) {
        const std::int64_t begin_ns = witness::NowNs();
        edges_ns->push_back(begin_ns);
        const auto started = site->injector().Inject(spec);
        if (!started.ok()) return started.status();
        const std::int64_t began_ns = witness::NowNs();
        witness::SleepForMs(kHeldMs);
        const std::int64_t stop_ns = witness::NowNs();
        edges_ns->push_back(stop_ns);
        const auto stopped = site->injector().Stop(spec.id());
        if (!stopped.ok()) return stopped.status();
        side->start_ms.push_back(static_cast<double>(began_ns - begin_ns) / witness::kMs);
        side->end_ms.push_back(static_cast<double>(witness::NowNs() - stop_ns) / witness::kMs);
        return absl::OkStatus();
      },
      &side->others);
}

absl::Status MakePeerPair(TrialSite* site) {
  return site->network().AddLivePair({kPeerDevice, kPeerEnds.here, "fd78::1"},
                                     {kPeerOther, kPeerEnds.there, "fd78::2"});
}

v1::FaultSpec RateOf(TrialSite* site, const char* rate) {
  v1::FaultSpec spec = site->Spec("net.rate", 30);
  (*spec.mutable_parameters())["rate"] = rate;
  (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
  return spec;
}

void AddSides(const Side& ours, const Side& peer, Figures* figures) {
  const auto add = [figures](const char* name, const char* other, double value, double beside) {
    figures->push_back(
        {.name = name, .value = value, .unit = "ms", .peer = other, .peer_value = beside});
  };
  constexpr char kSet[] = "tc qdisc replace root tbf";
  constexpr char kTake[] = "tc qdisc del root";
  add("net.rate, Start as its caller waits, p50", kSet, Quantile(ours.start_ms, 0.5),
      Quantile(peer.start_ms, 0.5));
  add("net.rate, Start as its caller waits, p99", kSet, Quantile(ours.start_ms, 0.99),
      Quantile(peer.start_ms, 0.99));
  add("net.rate, Stop as its caller waits, p50", kTake, Quantile(ours.end_ms, 0.5),
      Quantile(peer.end_ms, 0.5));
  add("net.rate, Stop as its caller waits, p99", kTake, Quantile(ours.end_ms, 0.99),
      Quantile(peer.end_ms, 0.99));
  figures->push_back(
      {.name = "packets of others lost as a rate comes and goes",
       .value = static_cast<double>(ours.others.lost),
       .unit = "packets",
       .peer = "tc qdisc replace and del, root tbf",
       .peer_value = static_cast<double>(peer.others.lost),
       .reach_value = 0,
       .note = absl::StrCat("of ", ours.others.sent, " and ", peer.others.sent, " in ",
                            ours.start_ms.size(),
                            " rounds each, 10,000 a second; the rate is 1 Gbit/s, which holds "
                            "nobody up.")});
}

// Of 10 Mbit/s on the path, percent that it is off, while it is in force.
double RateErrorPct(const witness::Packets::Path& path) {
  constexpr std::size_t kPayload = 1000;
  constexpr std::int64_t kSettleMs = 300;
  constexpr std::int64_t kMeasuredMs = 2000;
  witness::Wire wire(path.sender, path.receiver, kPayload);
  wire.Settle(kSettleMs);
  return 100 * std::fabs(wire.BitsPerSecond(kMeasuredMs) / 10e6 - 1);
}

absl::Status AddRates(TrialSite* site, Figures* figures) {
  const absl::StatusOr<witness::Packets::Path> own = site->MakePath(&site->group(), true);
  if (!own.ok()) return own.status();
  const absl::StatusOr<witness::Packets::Path> foreign = site->MakePath(nullptr, true, kPeerEnds);
  if (!foreign.ok()) return foreign.status();
  std::vector<double> ours;
  std::vector<double> peer;
  for (int i = 0; i < std::min(TrialCount(kRateRounds), kRateRounds); ++i) {
    const v1::FaultSpec spec = RateOf(site, "10mbit");
    if (const auto begun = site->injector().Inject(spec); !begun.ok()) return begun.status();
    ours.push_back(RateErrorPct(*own));
    if (const auto ended = site->injector().Stop(spec.id()); !ended.ok()) return ended.status();
    // Of as many bytes as our class has: 10 ms of the rate.
    if (const auto set = Command(Tbf("10mbit", "12500")); !set.ok()) return set.status();
    peer.push_back(RateErrorPct(*foreign));
    if (const auto taken = Command(NoQdisc()); !taken.ok()) return taken.status();
  }
  figures->push_back({.name = "given beside asked, net.rate of 10 Mbit/s",
                      .value = Median(ours),
                      .unit = "% off",
                      .peer = "tc qdisc, tbf rate 10mbit",
                      .peer_value = Median(peer),
                      .reach_value = 2});
  return absl::OkStatus();
}

constexpr double kDelayMs = 50;
// Until the first that was delayed has come, and the last.
constexpr std::int64_t kDelaySettleMs = 200;

// Of a delay that `begin` sets and `end` takes away under traffic.
struct DelaySide {
  std::vector<double> error_pct;
  std::int64_t lost = 0;

  template <typename Begin, typename End>
  absl::Status Measure(const witness::Packets::Path& path, const Begin& begin, const End& end) {
    const double without_ms = MedianLatencyMs(path);
    if (absl::Status begun = begin(); !begun.ok()) return begun;
    witness::SleepForMs(kDelaySettleMs);
    error_pct.push_back(100 * std::fabs((MedianLatencyMs(path) - without_ms) / kDelayMs - 1));
    witness::Packets packets({path}, {.interval_ns = witness::kMs});
    witness::SleepForMs(kDelaySettleMs);
    absl::Status ended = end();
    witness::SleepForMs(kDelaySettleMs);
    packets.Finish();
    lost += witness::Lost(packets.Of(0)).count;
    return ended;
  }
};

constexpr double kLossShare = 0.1;
constexpr std::int64_t kLossMs = 3000;

// Of datagrams of which a tenth is to be lost, percent that the share is off.
double LossErrorPct(const witness::Packets::Path& path, std::size_t* sent) {
  witness::Packets packets({path}, {.interval_ns = witness::kMs});
  witness::SleepForMs(kLossMs);
  packets.Finish();
  *sent = packets.Of(0).size();
  const auto lost = static_cast<double>(witness::Lost(packets.Of(0)).count);
  return 100 * std::fabs(lost / static_cast<double>(*sent) / kLossShare - 1);
}

std::vector<std::string> NetemOnPeer(const std::string& what, const std::string& amount) {
  return {"/usr/sbin/tc", "qdisc", "replace", "dev",   kPeerDevice, "root",
          "netem",        what,    amount,    "limit", "100000"};
}

absl::Status AddLosses(TrialSite* site, const witness::Packets::Path& own,
                       const witness::Packets::Path& foreign, Figures* figures) {
  std::vector<double> ours;
  std::vector<double> peer;
  std::size_t sent = 0;
  for (int i = 0; i < std::min(TrialCount(kRateRounds), kRateRounds); ++i) {
    v1::FaultSpec spec = site->Spec("net.loss", 30);
    (*spec.mutable_parameters())["loss"] = absl::StrCat(100 * kLossShare, "%");
    (*spec.mutable_parameters())["direction"] = "out";
    (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    if (const auto begun = site->injector().Inject(spec); !begun.ok()) return begun.status();
    ours.push_back(LossErrorPct(own, &sent));
    if (const auto ended = site->injector().Stop(spec.id()); !ended.ok()) return ended.status();
    const auto set = Command(NetemOnPeer("loss", absl::StrCat(100 * kLossShare, "%")));
    if (!set.ok()) return set.status();
    std::size_t peer_sent = 0;
    peer.push_back(LossErrorPct(foreign, &peer_sent));
    if (const auto taken = Command(NoQdisc()); !taken.ok()) return taken.status();
  }
  const double sigma = std::sqrt((1 - kLossShare) / (kLossShare * static_cast<double>(sent)));
  figures->push_back({.name = "given beside asked, net.loss of 10 %",
                      .value = Median(ours),
                      .unit = "% off",
                      .peer = "tc qdisc, netem loss 10%",
                      .peer_value = Median(peer),
                      .reach_value = 300 * sigma,
                      .note = absl::StrCat("the middle of ", ours.size(), " times ", sent,
                                           " datagrams; the reach is 3 sigma of them.")});
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchDelayPeer(const BenchPlace& /*place*/, Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (!site.ok()) return site.status();
  if (absl::Status can = (*site)->Check("net.delay"); !can.ok()) return can;
  if (absl::Status status = MakePeerPair(site->get()); !status.ok()) return status;
  const absl::StatusOr<witness::Packets::Path> own = (*site)->MakePath(&(*site)->group(), true);
  if (!own.ok()) return own.status();
  const absl::StatusOr<witness::Packets::Path> foreign =
      (*site)->MakePath(nullptr, true, kPeerEnds);
  if (!foreign.ok()) return foreign.status();
  DelaySide ours;
  DelaySide peer;
  for (int i = 0; i < std::min(TrialCount(kRateRounds), kRateRounds); ++i) {
    v1::FaultSpec spec = (*site)->Spec("net.delay", 30);
    (*spec.mutable_parameters())["delay"] = absl::StrCat(kDelayMs, "ms");
    (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    absl::Status status = ours.Measure(
        *own, [&] { return (*site)->injector().Inject(spec).status(); },
        [&] { return (*site)->injector().Stop(spec.id()).status(); });
    if (status.ok()) {
      status = peer.Measure(
          *foreign,
          [] { return Command(NetemOnPeer("delay", absl::StrCat(kDelayMs, "ms"))).status(); },
          [] { return Command(NoQdisc()).status(); });
    }
    if (!status.ok()) return status;
  }
  constexpr char kTool[] = "tc qdisc, netem delay 50ms";
  figures->push_back({.name = "given beside asked, net.delay of 50 ms",
                      .value = Median(ours.error_pct),
                      .unit = "% off",
                      .peer = kTool,
                      .peer_value = Median(peer.error_pct),
                      .reach_value = 2});
  figures->push_back(
      {.name = "packets of the target lost as a delay ends",
       .value = static_cast<double>(ours.lost),
       .unit = "packets",
       .peer = kTool,
       .peer_value = static_cast<double>(peer.lost),
       .reach_value = 0,
       .note = absl::StrCat("in ", ours.error_pct.size(), " ends each, 1,000 packets a second.")});
  return AddLosses(site->get(), *own, *foreign, figures);
}

absl::Status BenchNetworkPeers(const BenchPlace& /*place*/, Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (!site.ok()) return site.status();
  if (absl::Status can = (*site)->Check("net.rate"); !can.ok()) return can;
  if (absl::Status status = MakePeerPair(site->get()); !status.ok()) return status;
  const absl::StatusOr<OthersWatch> own = OthersWatch::Create(site->get());
  if (!own.ok()) return own.status();
  const absl::StatusOr<OthersWatch> foreign = OthersWatch::Create(site->get(), kPeerEnds);
  if (!foreign.ok()) return foreign.status();
  const std::vector<std::string> set = Tbf("1gbit", "1mb");
  const std::vector<std::string> take = NoQdisc();
  Side ours;
  Side peer;
  for (int i = 0; i < kTcWarmUp + TrialCount(kTcRounds); ++i) {
    if (i == kTcWarmUp) ours = peer = Side();
    absl::Status status = StartAndStop(site->get(), *own, RateOf(site->get(), "1gbit"), &ours);
    if (status.ok()) status = SetAndTakeAway(*foreign, set, take, &peer);
    if (!status.ok()) return status;
  }
  AddSides(ours, peer, figures);
  return AddRates(site->get(), figures);
}

}  // namespace faultline
