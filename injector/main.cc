// SPDX-License-Identifier: Apache-2.0
//
// faultline-injector: wires the parts, waits for a signal, undoes everything. With --undo it only
// undoes what an earlier process left.
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "base/open_mark.h"
#include "base/status.h"
#include "base/supervisor.h"
#include "bpf/fault.h"
#include "injector/controller.h"
#include "injector/docs.h"
#include "injector/host/hold.h"
#include "injector/host/host.h"
#include "injector/host/real_kernel.h"
#include "injector/host_readings.h"
#include "injector/keeper.h"
#include "injector/limit_options.h"
#include "injector/options.h"
#include "injector/planes.h"
#include "injector/server.h"
#include "injector/state_lock.h"
#include "proto/words.h"

namespace faultline {
namespace {

// How long a stopping injector repeats what it could not undo at once; then --undo has to.
constexpr std::int64_t kEndTimeoutNs = 5 * kNsPerSecond;
// The same of what a predecessor left, before anything can be started.
constexpr std::int64_t kSettleTimeoutNs = 2 * kNsPerSecond;

// A fault loads the machine on purpose; the undo must not wait in its queue.
constexpr int kNice = -10;

// Exit codes that every program of Faultline shares.
constexpr int kFailed = 1;
constexpr int kUsage = 2;
// Of --undo that may have been told the wrong folder.
constexpr int kNoJournal = 2;

// False only if there surely is none: one that cannot be reached is told by opening it.
bool HasJournal(const std::string& state_dir) {
  return Journal::IsIn(state_dir) || (errno != ENOENT && errno != ENOTDIR);
}

// The folder of the helper programs.
std::string FindHelpers(const InjectorOptions& options) {
  if (!options.helpers.empty()) return options.helpers;
  std::error_code error;
  const std::filesystem::path self =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const std::filesystem::path& folder : {self, self / "../libexec/faultline"}) {
    const std::filesystem::path path = (folder / kHoldProgram).lexically_normal();
    if (::access(path.c_str(), X_OK) == 0) return path.parent_path();
  }
  return self;
}

// What the programs hold is enough for all that is spared: the owner's peers, ssh, the collector.
static_assert(kMaxExempt + 1 + Lease::kMaxCollectors <= FAULT_EXEMPT);

// The owner's peers, and ssh, from either end.
std::vector<v1::PeerFilter> ExemptOf(const InjectorOptions& options) {
  std::vector<v1::PeerFilter> exempt = options.exempt;
  if (options.ssh_port == 0) return exempt;
  v1::PeerFilter ssh;
  ssh.set_protocol("tcp");
  ssh.set_port_first(static_cast<std::uint32_t>(options.ssh_port));
  ssh.set_port_last(ssh.port_first());
  exempt.push_back(std::move(ssh));
  return exempt;
}

absl::StatusOr<std::unique_ptr<Controller>> MakeController(const InjectorOptions& options,
                                                           const RealKernel& kernel, Host* host,
                                                           HostReadings* readings,
                                                           std::unique_ptr<Journal> journal) {
  absl::StatusOr<std::string> boot_id = ReadBootId();
  if (!boot_id.ok()) return boot_id.status();
  Controller::Options how;
  how.guard.max_faults = options.max_faults;
  how.guard.max_duration_ns = options.max_duration_ns;
  how.guard.protected_cgroups = options.protected_cgroups;
  how.guard.protected_homes = kernel.HomesOf(1);
  for (std::vector<std::string> homes :
       {UndoHomes(how.guard.protected_homes), kernel.HomesOf(::getpid())}) {
    for (std::string& home : homes) how.guard.protected_homes.push_back(std::move(home));
  }
  if (!options.protected_units.empty() && !kernel.has_systemd()) {
    LogWarning(
        "--protect-unit protects nothing here, as systemd is not the init of this host; "
        "name control groups by --protect-cgroup");
  }
  how.guard.max_hour_share = options.max_hour_share;
  how.guard.protection.emplace(options.protected_units);
  how.exempt = ExemptOf(options);
  how.autonomous = options.autonomous;
  how.stop = options.stop;
  how.readings = readings;
  how.boot_id = *boot_id;
  if (!options.enabled) {
    how.disabled =
        "this host takes no faults: its owner has not set `enabled: true` in the injector's "
        "configuration file, /etc/faultline/injector.yaml, and restarted it";
  }
  how.halt_path = options.state_dir + "/halted";
  how.open_mark = OpenMark(options.run_dir);
  how.collector_path = options.run_dir + "/collector";
  how.lease_path = Lease::TermFile(options.run_dir);
  how.run_thread = !options.undo;
  return Controller::Create(std::move(how), host, &Clock::System(), std::move(journal));
}

// All is tried again every tenth of a second, and what settles when it is due.
bool EndEverything(Controller& controller, const std::string& reason) {
  Clock& clock = Clock::System();
  const std::int64_t end_ns = clock.Now().boottime_ns + kEndTimeoutNs;
  std::int64_t next_try_ns = 0;
  while (true) {
    const std::int64_t now_ns = clock.Now().boottime_ns;
    if (now_ns >= next_try_ns) {
      if (controller.EndAll(reason)) return true;
      next_try_ns = clock.Now().boottime_ns + 100 * kNsPerMs;
    } else {
      controller.RunDue();
      if (controller.Idle()) return true;
    }
    if (now_ns >= end_ns) return false;
    const std::int64_t due_ns = std::max(controller.NextDue(), now_ns + 5 * kNsPerMs);
    clock.WaitUntil(std::min(due_ns, next_try_ns), std::stop_token());
  }
}

// What a predecessor left and takes its time to end has ended before anything begins, if a moment
// is enough for it.
void LetSettle(Controller& controller) {
  Clock& clock = Clock::System();
  const std::int64_t end_ns = clock.Now().boottime_ns + kSettleTimeoutNs;
  for (std::int64_t now_ns = 0; controller.Settling() && now_ns < end_ns;) {
    now_ns = clock.Now().boottime_ns;
    clock.WaitUntil(now_ns + 10 * kNsPerMs, std::stop_token());
  }
}

// Prints what was undone; false if something is left.
bool UndoAndTell(Controller& controller) {
  const bool done = EndEverything(controller, "the injector died");
  if (controller.recovered().empty() && controller.complaints().empty()) {
    std::printf("nothing to undo\n");
  }
  const v1::ListResponse list = controller.List(false);
  for (const v1::FaultState& recovered : controller.recovered()) {
    for (const v1::FaultState& state : list.faults()) {
      if (state.spec().id() != recovered.spec().id()) continue;
      std::printf("%s %s %s %s, %s%s%s\n", state.spec().id().c_str(), state.spec().type().c_str(),
                  state.cgroup().c_str(), std::string(PhaseWord(state.phase())).c_str(),
                  state.reason().c_str(), state.residue().empty() ? "" : ": ",
                  state.residue().empty() ? "" : state.residue(0).c_str());
    }
  }
  // A keeper rests before it ends.
  std::fflush(stdout);
  return done && controller.complaints().empty();
}

// How late the controller's thread may be before it counts as stuck: an undo that the kernel holds
// up takes less.
constexpr std::int64_t kOverdueNs = 3 * kNsPerSecond;

// Until a signal comes the supervisor hears of us as long as nothing is overdue. NextDue waits for
// the controller's mutex, so one that is never given back is silence too. Devices that come
// meanwhile get their planes.
void WaitForSignal(int signals, Controller& controller, Planes& planes, Supervisor* supervisor) {
  std::array<pollfd, 2> arrived{{{signals, POLLIN, 0}, {planes.events(), POLLIN, 0}}};
  const std::int64_t every_ns = supervisor->alive_every_ns();
  const int timeout_ms = every_ns == 0 ? -1 : static_cast<int>(every_ns / kNsPerMs);
  while (true) {
    const int count = ::poll(arrived.data(), arrived.size(), timeout_ms);
    if (count < 0 && errno != EINTR) return;
    if (count > 0 && arrived[0].revents != 0) return;
    if (count > 0 && planes.Changed()) {
      controller.Maintain([&planes](Journal& journal) { planes.SetUpChanged(journal); });
    }
    const std::int64_t now_ns = Clock::System().Now().boottime_ns;
    if (controller.NextDue() > now_ns - kOverdueNs) supervisor->Alive(now_ns);
  }
}

// As Run.
absl::StatusOr<int> Serve(const InjectorOptions& options, Controller& controller, Planes& planes,
                          int signals, Supervisor* supervisor) {
  LetSettle(controller);
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start({options.run_dir, options.group}, &controller);
  if (!server.ok()) return server.status();
  LogEvent(Event::kInjectorReady, {}, "faultline-injector ", FAULTLINE_VERSION, " listens on ",
           options.run_dir, "/{agent,root}.sock");
  supervisor->Ready(absl::StrCat("listening in ", options.run_dir));
  WaitForSignal(signals, controller, planes, supervisor);
  supervisor->Stopping();
  LogEvent(Event::kStopping, {}, "stopping");
  // Before the sockets close, so that watchers hear of it.
  if (EndEverything(controller, "the injector was stopped")) return 0;
  LogError("not everything is undone: run faultline-injector --undo");
  return kFailed;
}

// What has to be undone now, by whoever gets the lock. With --keep: as soon as there is something;
// none: nothing is open any more.
absl::StatusOr<std::optional<StateLock>> TakeLock(const InjectorOptions& options) {
  if (!options.keep) {
    return StateLock::Take(options.state_dir,
                           options.undo ? StateLock::Role::kUndo : StateLock::Role::kInjector);
  }
  absl::StatusOr<std::string> boot_id = ReadBootId();
  if (!boot_id.ok()) return boot_id.status();
  return Keeper(options.state_dir, options.run_dir, *boot_id, &Clock::System()).WaitForTurn();
}

std::vector<PlaneDevice> WantedPlanes(const InjectorOptions& options) {
  const std::vector<std::string>& merged = options.plane_mq_devices;
  std::vector<PlaneDevice> wanted;
  for (const std::string& name : options.plane_devices) {
    if (std::find(merged.begin(), merged.end(), name) == merged.end()) wanted.push_back({name});
  }
  for (const std::string& name : merged) wanted.push_back({name, true});
  return wanted;
}

// The exit status; an error is why it could not start.
absl::StatusOr<int> Run(const InjectorOptions& options, int signals, Supervisor* supervisor) {
  if (::geteuid() != 0) {
    return absl::PermissionDeniedError(
        "run it as root: it changes control groups, the network and the memory of other users' "
        "processes");
  }
  if (!options.undo && !options.remove_planes) {
    if (absl::Status owned = CheckOwnedByRoot(options.config_file); !owned.ok()) return owned;
  }
  for (const std::string& folder : {options.state_dir, options.run_dir}) {
    if (::access(folder.c_str(), F_OK) != 0) continue;
    // What stands in the journal is undone as root.
    absl::Status owned = CheckOwnedByRoot(folder, "holds what is done to this host as root");
    if (!owned.ok()) return owned;
  }
  if (options.undo && !HasJournal(options.state_dir)) {
    LogError("there is no journal in ", options.state_dir,
             ": nothing was undone; is --state-dir right?");
    return kNoJournal;
  }
  absl::StatusOr<std::optional<StateLock>> lock = TakeLock(options);
  if (!lock.ok()) return lock.status();
  if (!lock->has_value()) return 0;
  const absl::StatusOr<std::unique_ptr<RealKernel>> kernel = RealKernel::Create(
      {.helpers = {.programs = FindHelpers(options), .report_dir = options.run_dir},
       .bpffs = options.bpffs},
      &Clock::System());
  if (!kernel.ok()) return kernel.status();
  const std::vector<PlaneDevice> planed = WantedPlanes(options);
  Host host({.plane_devices = planed, .memory_reserve = options.memory_reserve}, (*kernel)->Get());
  absl::StatusOr<std::unique_ptr<Journal>> journal =
      Journal::Open(Journal::PathIn(options.state_dir));
  if (!journal.ok()) return journal.status();
  if (options.remove_planes) {
    if (const absl::Status removed = RemovePlanes(**journal, host); !removed.ok()) return removed;
    return 0;
  }
  if (!options.undo) {
    // Before anything is changed for a service that could not listen.
    const absl::Status free = Server::Check({options.run_dir, options.group});
    if (!free.ok()) return free;
    (*journal)->Reserve();
  }
  Planes planes((*kernel)->Get().net, options.undo ? std::vector<PlaneDevice>() : planed);
  planes.SetUp(**journal);
  RealHostReadings readings(options.state_dir);
  absl::StatusOr<std::unique_ptr<Controller>> controller =
      MakeController(options, **kernel, &host, &readings, std::move(*journal));
  if (!controller.ok()) return controller.status();
  if (options.undo) return UndoAndTell(**controller) ? 0 : kFailed;
  if (const absl::Status kept = host.Probe("ledger"); !kept.ok()) {
    LogWarning("no dose ledger: ", kept.message());
  }
  if (const absl::Status seen = host.Probe("watch"); !seen.ok()) {
    LogWarning("the touches of cpu.limit will be read from cpu.stat: ", seen.message());
  }
  return Serve(options, **controller, planes, signals, supervisor);
}

// A start that fails is an event, so that it is found in a fleet.
int CannotStart(const absl::Status& why) {
  LogEvent(Event::kCannotStart, {{kReasonField, why.message()}}, why.message());
  return kFailed;
}

// A task tells who called it. --keep is --undo too.
int Fail(const InjectorOptions& options, const absl::Status& why) {
  if (!options.undo && !options.remove_planes) return CannotStart(why);
  LogError(why.message());
  return kFailed;
}

// Signals come through a descriptor, so they are blocked before the first thread starts.
int BlockSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t ending;
  ::sigemptyset(&ending);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&ending, signal);
  ::pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  return ::signalfd(-1, &ending, SFD_CLOEXEC);
}

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) {
  const absl::StatusOr<faultline::InjectorOptions> options =
      faultline::ParseInjectorOptions(argc, argv);
  if (absl::IsCancelled(options.status())) return 0;
  if (!options.ok()) {
    if (!options.status().message().empty()) faultline::CannotStart(options.status());
    return faultline::kUsage;
  }
  if (options->faults_doc) {
    std::fputs(faultline::FaultsDoc().c_str(), stdout);
    return 0;
  }
  // Inherited by the threads to come, not by helpers (BecomeHelper). Without the right to it,
  // deadlines are only less exact; as a service it has its unit's CPUWeight= instead.
  ::setpriority(PRIO_PROCESS, 0, faultline::kNice);
  // Whatever is made below is root's alone until it is given away.
  ::umask(0077);
  faultline::Supervisor supervisor = faultline::Supervisor::FromEnvironment();
  // A keeper that is told to end ends where it is: another one undoes what it began.
  const int signals = options->keep ? -1 : faultline::BlockSignals();
  const absl::StatusOr<int> ended = faultline::Run(*options, signals, &supervisor);
  const int status = ended.ok() ? *ended : faultline::Fail(*options, ended.status());
  // systemd starts it again a second later.
  if (options->keep && status != 0) {
    faultline::Keeper::Rest(options->state_dir, options->run_dir, &faultline::Clock::System());
  }
  return status;
}
