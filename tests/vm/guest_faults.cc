// SPDX-License-Identifier: Apache-2.0
//
// Runs in a guest, as root, beside the packages' own services: starts faults by one connection,
// where the command line would spend a second of an emulated processor on each; kills or freezes
// the injector; and watches their effects by means of its own. What it reads is the kernel's.
//
//   guest_faults start SECONDS                   eight faults on t1 to t7; ends when all are
//                                                verified, with their ids
//   guest_faults closed REASON ID...             fails unless each of these faults has ended with a
//                                                reason that begins with REASON, and none is active
//   guest_faults kills COUNT SEED DIGEST         COUNT kills with eight faults acked, and one for
//                                                every three at a moment of their start; per kill
//                                                a line "kill all|start AFTER ACTIVE SECONDS":
//                                                which of the two, when, in ms after the first
//                                                Start, with how many faults acked, and how long
//                                                until the script DIGEST printed again what it had
//                                                before
//   guest_faults deadlines live|killed|frozen TRIALS
//                                                per effect a line "deadline KIND MS": its end
//                                                after the fault's deadline, negative if before;
//                                                killed: and "killed KIND MS", after the kill
//
// t1 to t7 are services of system.slice that sleep, d0 is a device that the injector may use.
#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "faultline/v1/faults.grpc.pb.h"
#include "tests/child.h"

namespace faultline {
namespace {

// Is there while a fault is open.
constexpr char kOpenMark[] = "/run/faultline/open";
constexpr char kSlice[] = "/sys/fs/cgroup/system.slice/";
constexpr std::int64_t kPatienceNs = 60 * kNsPerSecond;

std::int64_t NowNs() { return Clock::System().Now().boottime_ns; }
void SleepNs(std::int64_t ns) { std::this_thread::sleep_for(std::chrono::nanoseconds(ns)); }
double Ms(std::int64_t ns) { return static_cast<double>(ns) / 1e6; }

[[noreturn]] void Give(const std::string& why) {
  std::fprintf(stderr, "guest_faults: %s\n", why.c_str());
  std::exit(1);
}

// One fault to start.
struct Order {
  const char* kind;
  const char* type;
  // "cgroup:" or "unit:" and the service's name.
  const char* target;
  std::map<std::string, std::string> parameters;
};

const std::vector<Order>& EightOrders() {
  static const std::vector<Order> orders{
      {"sham", "sham", "cgroup:t1", {}},
      {"value", "cpu.limit", "cgroup:t2", {{"cpus", "0.3"}}},
      {"helper", "mem.leak", "cgroup:t3", {{"bytes", "8MiB"}, {"rate", "64MiB"}}},
      {"freezer", "process.pause", "cgroup:t4", {}},
      {"link", "net.loss", "cgroup:t5", {{"loss", "100%"}, {"direction", "in"}}},
      {"plane", "net.rate", "cgroup:t6", {{"rate", "1Mbit"}, {"device", "d0"}}},
      {"netem", "net.delay", "cgroup:t1", {{"delay", "50ms"}, {"device", "d0"}}},
      {"memory", "mem.limit", "unit:t7", {{"bytes", "64MiB"}}}};
  return orders;
}

// The service's injector: its socket and its process.
class Injector {
 public:
  // Waits until it answers.
  void Connect() {
    grpc::ChannelArguments own;
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    own.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
    own.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    own.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
    const auto channel = grpc::CreateCustomChannel("unix:/run/faultline/root.sock",
                                                   grpc::InsecureChannelCredentials(), own);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                   std::chrono::nanoseconds(kPatienceNs))) {
      Give("the injector does not answer");
    }
    stub_ = v1::Faults::NewStub(channel);
  }

  // Of the main process: in the service's group it is the one that runs the program's own file.
  static pid_t Pid() {
    const std::string procs =
        Slurp(absl::StrCat(kSlice, "faultline-injector.service/cgroup.procs"));
    for (const auto line : absl::StrSplit(procs, '\n', absl::SkipEmpty())) {
      if (Slurp(absl::StrCat("/proc/", line, "/comm")) == "faultline-injec\n") {
        return std::atoi(std::string(line).c_str());
      }
    }
    Give("the injector does not run");
  }
  static void Signal(int signal) {
    if (kill(Pid(), signal) != 0) Give("the injector took no signal");
  }

  grpc::Status Start(const Order& order, double seconds, v1::FaultState* state) {
    v1::StartRequest request;
    v1::FaultSpec* const spec = request.mutable_spec();
    spec->set_type(order.type);
    const std::pair<std::string, std::string> target =
        absl::StrSplit(order.target, absl::MaxSplits(':', 1));
    if (target.first == "unit") {
      spec->mutable_target()->set_unit(target.second + ".service");
    } else {
      spec->mutable_target()->set_cgroup("/system.slice/" + target.second + ".service");
    }
    for (const auto& [name, value] : order.parameters) (*spec->mutable_parameters())[name] = value;
    spec->set_duration_ns(static_cast<std::int64_t>(seconds * 1e9));
    grpc::ClientContext context;
    return stub_->Start(&context, request, state);
  }

  v1::ListResponse List(bool active_only) {
    grpc::ClientContext context;
    v1::ListRequest request;
    request.set_active_only(active_only);
    v1::ListResponse response;
    if (const auto status = stub_->List(&context, request, &response); !status.ok()) {
      Give(status.error_message());
    }
    return response;
  }
  int Active() { return List(true).faults_size(); }

 private:
  std::unique_ptr<v1::Faults::Stub> stub_;
};

// Their ids.
std::vector<std::string> StartEight(double seconds) {
  Injector injector;
  injector.Connect();
  std::vector<std::string> ids;
  for (const Order& order : EightOrders()) {
    v1::FaultState state;
    const grpc::Status status = injector.Start(order, seconds, &state);
    if (!status.ok()) Give(absl::StrCat(order.type, ": ", status.error_message()));
    ids.push_back(state.spec().id());
  }
  return ids;
}

int Closed(const std::string& reason, const std::vector<std::string>& ids) {
  Injector injector;
  injector.Connect();
  const v1::ListResponse all = injector.List(false);
  for (const std::string& id : ids) {
    const auto at = std::find_if(all.faults().begin(), all.faults().end(),
                                 [&id](const auto& fault) { return fault.spec().id() == id; });
    if (at == all.faults().end()) Give(absl::StrCat("fault ", id, " is not in the journal"));
    if (at->phase() < v1::PHASE_UNDONE || !absl::StartsWith(at->reason(), reason)) {
      Give(at->ShortDebugString());
    }
  }
  if (const int active = injector.Active(); active > 0) Give(absl::StrCat(active, " are active"));
  return 0;
}

std::string Digest(const std::string& script) {
  std::string text;
  if (RunToEnd({"/bin/bash", script}, &text) != 0) Give("the digest: " + text);
  return text;
}

bool QuotaIsOff(const std::string& unit) {
  const std::string quota = Slurp(absl::StrCat(kSlice, unit, ".service/cpu.max"));
  return quota.empty() || absl::StartsWith(quota, "max ");
}

// No process of the group but the one that the unit itself started.
bool HasOneProcess(const std::string& unit) {
  const std::string procs = Slurp(absl::StrCat(kSlice, unit, ".service/cgroup.procs"));
  return std::count(procs.begin(), procs.end(), '\n') == 1;
}

bool Thawed(const std::string& unit) {
  return absl::StrContains(Slurp(absl::StrCat(kSlice, unit, ".service/cgroup.events")), "frozen 0");
}

// One kill at `after_ns` from the first Start, or from when all are acked; false if not all was as
// in `base` in time.
bool KillOnce(const std::string& script, const std::string& base, std::int64_t after_ns,
              bool all_acked) {
  Injector injector;
  injector.Connect();
  std::atomic<int> acked = 0;
  const std::int64_t begin_ns = NowNs();
  std::thread starter([&] {
    for (const Order& order : EightOrders()) {
      v1::FaultState state;
      // From the kill on they fail.
      if (!injector.Start(order, 300, &state).ok()) return;
      ++acked;
    }
  });
  if (all_acked) {
    starter.join();
    if (acked != static_cast<int>(EightOrders().size())) Give("not every fault was taken");
  }
  SleepNs(all_acked ? after_ns : begin_ns + after_ns - NowNs());
  Injector::Signal(SIGKILL);
  const std::int64_t killed_ns = NowNs();
  const int active = acked;
  std::string now;
  std::int64_t looked_ns = 0;
  do {
    // The digest takes a second of the processor that the undo needs: not before it can be right.
    // The mark is only what the undo says of itself.
    do {
      SleepNs(20 * kNsPerMs);
      looked_ns = NowNs();
    } while ((access(kOpenMark, F_OK) == 0 || !QuotaIsOff("t2") || !HasOneProcess("t3") ||
              !Thawed("t4")) &&
             looked_ns < killed_ns + kPatienceNs);
    now = Digest(script);
  } while (now != base && looked_ns < killed_ns + kPatienceNs);
  if (!all_acked) starter.join();
  std::printf("kill %s %.0f %d %.2f\n", all_acked ? "all" : "start", Ms(killed_ns - begin_ns),
              active, Ms(looked_ns - killed_ns) / 1e3);
  std::fflush(stdout);
  if (now != base) std::printf("before:\n%s\nafter:\n%s\n", base.c_str(), now.c_str());
  injector.Connect();
  const int left = injector.Active();
  if (left != 0) std::printf("%d faults are open in the journal\n", left);
  return now == base && left == 0;
}

// Until nothing of the eight faults is left.
void AwaitBase(const std::string& script, const std::string& base) {
  const std::int64_t give_up_ns = NowNs() + kPatienceNs;
  while (Digest(script) != base) {
    if (NowNs() > give_up_ns) Give("what was killed is not undone");
  }
}

int Kills(int count, unsigned seed, const std::string& script) {
  const std::string base = Digest(script);
  std::mt19937 random(seed);
  // Eight Starts take half a second on an idle guest and many times that on a busy or a cold
  // one: two kills that do not count warm and measure them.
  std::int64_t eight_ns = 0;
  for (int i = 0; i < 2; ++i) {
    Injector().Connect();
    const std::int64_t begin_ns = NowNs();
    StartEight(300);
    eight_ns = NowNs() - begin_ns;
    if (Digest(script) == base) Give("the digest does not see eight faults");
    Injector::Signal(SIGKILL);
    AwaitBase(script, base);
  }
  std::uniform_int_distribution<std::int64_t> after_ns(0, eight_ns);
  for (int i = 0; i < count; ++i) {
    if (i % 3 == 0 && !KillOnce(script, base, after_ns(random), false)) return 1;
    if (!KillOnce(script, base, after_ns(random), true)) return 1;
  }
  return 0;
}

// A process of t5's with a UDP socket, and when it last received something.
class Receiver {
 public:
  Receiver() {
    void* const page =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_ = new (page) Shared();
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      Receive();
    }
    while (shared_->port == 0) SleepNs(kNsPerMs);
    sender_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in to = Loopback();
    to.sin_port = static_cast<in_port_t>(shared_->port);
    if (connect(sender_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) Give("connect");
  }
  ~Receiver() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    close(sender_);
    munmap(shared_, sizeof(Shared));
  }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  void Send() const { (void)send(sender_, "x", 1, MSG_DONTWAIT); }
  // 0: nothing yet.
  std::int64_t LastNs() const { return shared_->last_ns; }

 private:
  struct Shared {
    // In network order.
    std::atomic<int> port = 0;
    std::atomic<std::int64_t> last_ns = 0;
  };
  static sockaddr_in Loopback() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  [[noreturn]] void Receive() const {
    // A socket belongs to the group that it was made in.
    FILE* const procs = std::fopen(absl::StrCat(kSlice, "t5.service/cgroup.procs").c_str(), "we");
    if (procs == nullptr || std::fprintf(procs, "%d", getpid()) < 0 || std::fclose(procs) != 0) {
      _exit(1);
    }
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in at = Loopback();
    socklen_t size = sizeof(at);
    if (bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0) _exit(1);
    getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
    shared_->port = at.sin_port;
    for (char byte = 0; recv(fd, &byte, 1, 0) >= 0;) shared_->last_ns = NowNs();
    _exit(1);
  }

  Shared* shared_ = nullptr;
  pid_t child_ = -1;
  int sender_ = -1;
};

// A fault whose effect is watched.
struct Watched {
  Order order;
  // Whether its effect is over, by the kernel.
  std::function<bool()> over;
  std::int64_t acked_ns = 0;
  std::int64_t deadline_ns = 0;
  std::int64_t end_ns = 0;
};

std::vector<Watched> MakeWatched(const Receiver& receiver, const std::int64_t* link_acked_ns) {
  std::vector<Watched> watched;
  for (const Order& order : EightOrders()) {
    const absl::string_view kind = order.kind;
    if (kind == "value") watched.push_back({order, [] { return QuotaIsOff("t2"); }});
    if (kind == "helper") watched.push_back({order, [] { return HasOneProcess("t3"); }});
    if (kind == "freezer") watched.push_back({order, [] { return Thawed("t4"); }});
    if (kind == "link") {
      watched.push_back({order, [&receiver, link_acked_ns] {
                           receiver.Send();
                           return receiver.LastNs() > *link_acked_ns;
                         }});
    }
  }
  watched.push_back(
      {{"unit", "cpu.limit", "unit:t7", {{"cpus", "0.4"}}}, [] { return QuotaIsOff("t7"); }});
  return watched;
}

void Trial(const std::string& mode, std::mt19937& random) {
  Injector injector;
  injector.Connect();
  const Receiver receiver;
  std::int64_t link_acked_ns = 0;
  std::vector<Watched> all = MakeWatched(receiver, &link_acked_ns);
  constexpr double kSeconds = 4;
  std::int64_t first_ns = INT64_MAX;
  for (Watched& one : all) {
    v1::FaultState state;
    const grpc::Status status = injector.Start(one.order, kSeconds, &state);
    if (!status.ok()) Give(absl::StrCat(one.order.kind, ": ", status.error_message()));
    one.acked_ns = state.edges().acked().boottime_ns();
    one.deadline_ns = state.deadline_boottime_ns();
    first_ns = std::min(first_ns, one.deadline_ns);
    if (absl::string_view(one.order.kind) == "link") link_acked_ns = NowNs();
    if (one.over()) Give(absl::StrCat(one.order.kind, " has no effect"));
  }
  // In the last half second before the first deadline.
  std::uniform_int_distribution<std::int64_t> before_ns(1, kNsPerSecond / 2);
  std::int64_t strike_ns = mode == "live" ? INT64_MAX : first_ns - before_ns(random);
  std::int64_t struck_ns = 0;
  const std::int64_t give_up_ns = first_ns + kPatienceNs;
  for (std::size_t left = all.size(); left > 0 && NowNs() < give_up_ns; SleepNs(kNsPerMs)) {
    if (NowNs() >= strike_ns) {
      struck_ns = NowNs();
      Injector::Signal(mode == "killed" ? SIGKILL : SIGSTOP);
      strike_ns = INT64_MAX;
    }
    for (Watched& one : all) {
      if (one.end_ns != 0 || !one.over()) continue;
      one.end_ns = NowNs();
      --left;
    }
  }
  for (const Watched& one : all) {
    if (one.end_ns == 0) Give(absl::StrCat(one.order.kind, " does not end"));
    std::printf("deadline %s %.1f\n", one.order.kind, Ms(one.end_ns - one.deadline_ns));
    if (mode == "killed") {
      std::printf("killed %s %.1f\n", one.order.kind, Ms(one.end_ns - struck_ns));
    }
  }
  std::fflush(stdout);
  injector.Connect();
  while (injector.Active() > 0 && NowNs() < give_up_ns) SleepNs(50 * kNsPerMs);
}

int Main(const std::vector<std::string>& words) {
  int count = 0;
  if (words.size() == 2 && words[0] == "start" && absl::SimpleAtoi(words[1], &count)) {
    std::printf("%s\n", absl::StrJoin(StartEight(count), " ").c_str());
    return 0;
  }
  if (words.size() > 2 && words[0] == "closed") {
    return Closed(words[1], {words.begin() + 2, words.end()});
  }
  int seed = 0;
  if (words.size() == 4 && words[0] == "kills" && absl::SimpleAtoi(words[1], &count) &&
      absl::SimpleAtoi(words[2], &seed)) {
    return Kills(count, static_cast<unsigned>(seed), words[3]);
  }
  if (words.size() == 3 && words[0] == "deadlines" && absl::SimpleAtoi(words[2], &count)) {
    std::mt19937 random(1);
    for (int i = 0; i < count; ++i) Trial(words[1], random);
    return 0;
  }
  Give("its first lines in the source say what it takes");
}

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) { return faultline::Main({argv + 1, argv + argc}); }
