// SPDX-License-Identifier: Apache-2.0
#include "tests/injector/fake_kernel.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace faultline {
namespace {

constexpr int kEth0 = 2;

std::string HookKey(const Hook& hook) {
  return absl::StrCat(HookName(hook.kind), " ", hook.object);
}

// The freezer has one value, which stands without its controller.
std::string KeyOf(const std::string& cgroup, const std::string& controller,
                  const std::string& file) {
  return controller == "freezer" ? absl::StrCat(cgroup, " ", file)
                                 : absl::StrCat(cgroup, " ", controller, ":", file);
}

}  // namespace

class FakeKernel::FakeFound final : public RunningHelper {
 public:
  FakeFound(FakeKernel* kernel, pid_t pid) : kernel_(kernel), pid_(pid) {}
  pid_t pid() const override { return pid_; }
  bool Running() const override { return kernel_->helpers.count(pid_) == 1; }
  absl::Status End(bool kill) override {
    if (kernel_->Lingers(kill)) return absl::UnavailableError("it has not ended yet");
    return kernel_->SureChange([this] { kernel_->KillHelper(pid_); });
  }

 private:
  FakeKernel* const kernel_;
  const pid_t pid_;
};

class FakeKernel::FakeHelper final : public HelperProcess {
 public:
  FakeHelper(FakeKernel* kernel, pid_t pid) : kernel_(kernel), pid_(pid) {}
  // The end of its pipe ends it, if it can still read.
  ~FakeHelper() override {
    if (!kernel_->helpers_outlive) kernel_->KillHelper(pid_);
  }
  FakeHelper(const FakeHelper&) = delete;
  FakeHelper& operator=(const FakeHelper&) = delete;

  pid_t pid() const override { return pid_; }
  HelperReport Report() const override { return kernel_->Report(); }
  absl::Status Go() override { return kernel_->Step("read"); }
  bool Running() const override { return kernel_->helpers.count(pid_) == 1; }
  absl::Status End(bool kill) override {
    if (kernel_->Lingers(kill)) return absl::UnavailableError("it has not ended yet");
    return kernel_->SureChange([this] {
      if (Running()) kernel_->closed_ns = kernel_->clock_.Now().boottime_ns;
      kernel_->KillHelper(pid_);
    });
  }

 private:
  FakeKernel* const kernel_;
  const pid_t pid_;
};

class FakeKernel::FakePage final : public ReportPage {
 public:
  explicit FakePage(const FakeKernel* kernel) : kernel_(kernel) {}
  HelperReport Read() const override { return kernel_->Report(); }

 private:
  const FakeKernel* const kernel_;
};

class FakeKernel::FakeWatch final : public ThrottleWatch {
 public:
  FakeWatch(FakeKernel* kernel, std::string group) : kernel_(kernel), group_(std::move(group)) {}
  ~FakeWatch() override { Forget(); }
  FakeWatch(const FakeWatch&) = delete;
  FakeWatch& operator=(const FakeWatch&) = delete;

  absl::Status Attach() override {
    if (!kernel_->attaches_watch) return absl::ResourceExhaustedError("no room for programs");
    return kernel_->Change([this] {
      kernel_->watched.insert(group_);
      attached_ = true;
    });
  }
  // Close never fails.
  void Detach() override {
    if (!attached_) return;
    [[maybe_unused]] const absl::Status detached = kernel_->Change([this] { Forget(); });
    Forget();
  }
  absl::StatusOr<fault_throttle> Read() const override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    return kernel_->throttle;
  }

 private:
  void Forget() {
    const auto at = kernel_->watched.find(group_);
    if (attached_ && at != kernel_->watched.end()) kernel_->watched.erase(at);
    attached_ = false;
  }

  FakeKernel* const kernel_;
  const std::string group_;
  bool attached_ = false;
};

class FakeKernel::FakeLedger final : public Ledger {
 public:
  explicit FakeLedger(const FakeKernel* kernel) : kernel_(kernel) {}
  absl::StatusOr<fault_dose> Read() const override { return kernel_->Dose(); }

 private:
  const FakeKernel* const kernel_;
};

class FakeKernel::FakeProgram final : public Program {
 public:
  FakeProgram(FakeKernel* kernel, Hook hook, std::uint32_t id)
      : kernel_(kernel), hook_(std::move(hook)), id_(id) {}
  ~FakeProgram() override { kernel_->links.erase(id_); }
  FakeProgram(const FakeProgram&) = delete;
  FakeProgram& operator=(const FakeProgram&) = delete;

  std::uint32_t id() const override { return id_; }
  absl::Status Attach() override {
    return kernel_->Change([this] { kernel_->links[id_] = HookKey(hook_); });
  }
  // Close never fails, and a detach that does is only warned of.
  void Detach() override {
    [[maybe_unused]] const absl::Status detached =
        kernel_->Change([this] { kernel_->links.erase(id_); });
    kernel_->links.erase(id_);
  }
  absl::Status GoOn(std::int64_t until_ns) override {
    return kernel_->Change([this, until_ns] { kernel_->steered_until_ns[id_] = until_ns; });
  }
  absl::Status Keep(const std::string& ledger) override {
    return kernel_->SureChange([this, ledger] { kernel_->ledgers.insert(ledger); });
  }
  absl::StatusOr<fault_dose> Read() const override { return kernel_->Dose(); }

 private:
  FakeKernel* const kernel_;
  const Hook hook_;
  const std::uint32_t id_;
};

class FakeKernel::FakeTraffic final : public Traffic {
 public:
  explicit FakeTraffic(FakeKernel* kernel) : kernel_(kernel) {}

  absl::StatusOr<std::vector<NetDevice>> Devices() override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    return kernel_->devices;
  }
  absl::StatusOr<NetDevice> Device(const std::string& name) override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    for (const NetDevice& device : kernel_->devices) {
      if (device.name == name) return device;
    }
    return absl::NotFoundError(absl::StrCat("there is no network device ", name));
  }
  absl::StatusOr<Qdisc> Root(int ifindex) override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    const auto at = kernel_->roots.find(ifindex);
    return at == kernel_->roots.end() ? Qdisc{"noqueue", 0} : at->second;
  }
  absl::StatusOr<std::vector<Qdisc>> Below(int /*ifindex*/, std::uint32_t /*root*/) override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    return kernel_->queues;
  }
  absl::StatusOr<std::string> DefaultKind() override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    if (kernel_->default_kind.empty()) return absl::NotFoundError("not here");
    return kernel_->default_kind;
  }
  absl::Status AddHtbRoot(const NetDevice& device, std::uint32_t handle,
                          std::uint32_t /*default_class*/) override {
    return kernel_->Change([this, index = device.index, handle] {
      const auto before = kernel_->roots.find(index);
      if (before != kernel_->roots.end() && before->second.handle == 0) {
        kernel_->default_roots[index] = before->second;
      }
      kernel_->roots[index] = {"htb", handle};
    });
  }
  absl::Status DeleteRoot(int ifindex, std::uint32_t /*handle*/) override {
    return kernel_->Change([this, ifindex] {
      kernel_->roots.erase(ifindex);
      const auto before = kernel_->default_roots.find(ifindex);
      if (before != kernel_->default_roots.end()) kernel_->roots[ifindex] = before->second;
      if (ifindex == kEth0) kernel_->classes.clear();
      if (ifindex == kEth0) kernel_->leaves.clear();
      if (ifindex == kEth0) kernel_->netems.clear();
    });
  }
  absl::Status AddLeaf(int /*ifindex*/, std::uint32_t parent_class, absl::string_view kind,
                       std::uint32_t /*limit*/) override {
    if (kernel_->classes.count(parent_class) == 0) return absl::NotFoundError("no such class");
    return kernel_->Change(
        [this, parent_class, text = std::string(kind)] { kernel_->leaves[parent_class] = text; });
  }
  absl::Status SetNetem(int /*ifindex*/, std::uint32_t parent_class, const Netem& netem,
                        bool create) override {
    if (kernel_->classes.count(parent_class) == 0) return absl::NotFoundError("no such class");
    if (!create && kernel_->netems.count(parent_class) == 0) {
      return absl::InvalidArgumentError("the leaf is of another kind");
    }
    return kernel_->Change([this, parent_class, netem] { kernel_->SetNetem(parent_class, netem); });
  }
  absl::StatusOr<Netem> GetNetem(int /*ifindex*/, std::uint32_t parent_class) override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    const auto at = kernel_->netems.find(parent_class);
    if (at == kernel_->netems.end()) return absl::NotFoundError("no queue that delays");
    return at->second;
  }
  absl::Status Probe(ProbedKind kind) override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    if (kind == ProbedKind::kHtb || kernel_->has_netem) return absl::OkStatus();
    return absl::UnimplementedError("this kernel has no qdisc netem");
  }
  absl::StatusOr<std::vector<HtbClass>> Classes(int ifindex) override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    std::vector<HtbClass> found;
    if (ifindex != kEth0) return found;
    for (const auto& [handle, one] : kernel_->classes) {
      found.push_back(kernel_->ClassNow(handle));
    }
    return found;
  }
  absl::StatusOr<HtbClass> Class(int ifindex, std::uint32_t handle) override {
    if (absl::Status status = kernel_->Step("read"); !status.ok()) return status;
    const auto at = kernel_->classes.find(handle);
    if (ifindex != kEth0 || at == kernel_->classes.end()) {
      return absl::NotFoundError("no such class");
    }
    return kernel_->ClassNow(handle);
  }
  absl::Status SetClass(int /*ifindex*/, std::uint32_t /*parent*/, std::uint32_t handle,
                        std::uint64_t bytes_per_second, bool exclusive) override {
    if (exclusive && kernel_->classes.count(handle) == 1) {
      return absl::AlreadyExistsError("the class stands");
    }
    return kernel_->Change([this, handle, bytes_per_second] {
      HtbClass& one = kernel_->classes[handle];
      one.handle = handle;
      one.bytes_per_second = bytes_per_second;
    });
  }
  absl::Status DeleteClass(int /*ifindex*/, std::uint32_t handle) override {
    return kernel_->Change([this, handle] {
      if (kernel_->classes.count(handle) == 1) {
        kernel_->lost_packets += kernel_->ClassNow(handle).queued_packets;
      }
      kernel_->classes.erase(handle);
      kernel_->leaves.erase(handle);
      kernel_->netems.erase(handle);
      kernel_->waits_until_ns.erase(handle);
    });
  }
  absl::Status AddBpfFilter(int /*ifindex*/, std::uint32_t /*parent*/, int /*program_fd*/,
                            const char* /*name*/) override {
    return absl::OkStatus();
  }

 private:
  FakeKernel* const kernel_;
};

FakeKernel::FakeKernel(FakeClock* clock)
    : units(&values, [this](const std::string& step) { return Step(step.c_str()); }),
      subtrees(&values, [this](const std::string& step) { return Step(step.c_str()); }),
      processes([this](const std::string& step) { return Step(step.c_str()); }),
      clock_(clock) {
  for (const char* group : {"/web", "/db", "/web/worker"}) {
    AddGroup(group);
    processes.Add(group);
  }
  NetDevice loopback;
  loopback.index = 1;
  loopback.name = "lo";
  loopback.up = true;
  loopback.loopback = true;
  NetDevice ethernet;
  ethernet.index = kEth0;
  ethernet.name = "eth0";
  ethernet.up = true;
  ethernet.root_kind = "htb";
  devices = {loopback, ethernet};
  roots[kEth0] = {"htb", FAULT_PLANE_HANDLE};
  for (const std::uint32_t handle :
       {std::uint32_t{FAULT_SINK_CLASS}, std::uint32_t{FAULT_SINK_CHILD}}) {
    classes[handle].handle = handle;
    classes[handle].bytes_per_second = kUnlimitedRate;
  }
}

Kernel FakeKernel::Get() {
  return {.cgroups = this,
          .subtrees = &subtrees,
          .units = &units,
          .helpers = this,
          .processes = &processes,
          .throttling = this,
          .net = {this, this, &clock_},
          .clock = &clock_,
          .cpus = 4,
          .blocks = this};
}

void FakeKernel::AddGroup(const std::string& path) {
  values[path + " cpu:cpu.cfs_quota_us"] = "-1";
  values[path + " cpu:cpu.cfs_period_us"] = "100000";
  values[path + " freezer.state"] = "THAWED";
  values[path + " memory:memory.limit_in_bytes"] = "9223372036854771712";
  values[path + " memory:memory.usage_in_bytes"] = "1000000";
  for (const char* limit : {"read_bps", "write_bps", "read_iops", "write_iops"}) {
    values[absl::StrCat(path, " blkio:blkio.throttle.", limit, "_device")] = "";
  }
}

void FakeKernel::ProcessDied() {
  links.clear();
  watched.clear();
  if (helpers_outlive) return;
  helpers.clear();
  homes.clear();
}

absl::Status FakeKernel::Step(const char* step) const {
  return on_step == nullptr ? absl::OkStatus() : on_step(step);
}

absl::Status FakeKernel::Change(const std::function<void()>& effect) const {
  const absl::Status before = Step("change");
  if (absl::IsDataLoss(before)) {
    ++lost_;
    return absl::OkStatus();
  }
  if (!before.ok()) return before;
  effect();
  const absl::Status after = Step("change");
  return absl::IsDataLoss(after) ? absl::OkStatus() : after;
}

absl::Status FakeKernel::SureChange(const std::function<void()>& effect) const {
  absl::Status before = Step("change");
  if (!before.ok() && !absl::IsDataLoss(before)) return before;
  effect();
  absl::Status after = Step("change");
  return absl::IsDataLoss(after) ? absl::OkStatus() : after;
}

fault_dose FakeKernel::Dose() const {
  fault_dose dose{};
  dose.hit_packets = static_cast<std::uint64_t>(dropped);
  dose.first_ns = static_cast<std::uint64_t>(first_drop_ns);
  dose.last_ns = static_cast<std::uint64_t>(last_drop_ns);
  return dose;
}

HelperReport FakeKernel::Report() const {
  HelperReport report;
  report.held_bytes = held_bytes;
  report.burnt_ns = burnt_ns;
  report.closing_ns = closing_ns != 0 ? closing_ns : closed_ns;
  report.closed_ns = closed_ns;
  if (held_bytes + burnt_ns > 0) report.first_touch_ns = clock_.Now().boottime_ns;
  report.last_touch_ns = report.first_touch_ns;
  return report;
}

void FakeKernel::KillHelper(pid_t pid) {
  helpers.erase(pid);
  homes.erase(pid);
}

std::string FakeKernel::Digest() const {
  std::string text;
  for (const auto& [key, value] : values) absl::StrAppend(&text, key, "=", value, "\n");
  for (const auto& [pid, fault] : helpers) absl::StrAppend(&text, "helper of ", fault, "\n");
  for (const std::string& report : reports) absl::StrAppend(&text, "report ", report, "\n");
  for (const auto& [id, hook] : links) absl::StrAppend(&text, "program on ", hook, "\n");
  for (const std::string& group : watched) absl::StrAppend(&text, "watch of ", group, "\n");
  for (const std::string& kept : ledgers) absl::StrAppend(&text, "ledger ", kept, "\n");
  for (const auto& [ifindex, root] : roots) {
    absl::StrAppend(&text, "root of ", ifindex, " ", root.kind, " ", root.handle, "\n");
  }
  for (const auto& [handle, one] : classes) {
    absl::StrAppend(&text, "class ", handle, " ", one.bytes_per_second, "\n");
  }
  for (const auto& [handle, kind] : leaves) {
    absl::StrAppend(&text, "leaf ", handle, " ", kind, "\n");
  }
  for (const auto& [handle, netem] : netems) {
    absl::StrAppend(&text, "delay ", handle, " ", netem.delay_ns, "\n");
  }
  text += units.Digest();
  return text;
}

// ---- Cgroups

absl::StatusOr<bool> FakeKernel::IsV2(const std::string& controller) const {
  return controller != "freezer" && cpu_version == "v2";
}

absl::Status FakeKernel::Check(const std::string& cgroup, const std::string& /*controller*/) const {
  if (removed.count(cgroup) == 0 && (cgroup != FakeUnits::kGroup || units.Has(cgroup))) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat(cgroup, " does not exist"));
}

absl::Status FakeKernel::Exists(const std::string& cgroup) const {
  const bool known = cgroup == "/" || values.count(cgroup + " freezer.state") == 1;
  if (known && removed.count(cgroup) == 0) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("there is no control group ", cgroup));
}

absl::StatusOr<std::vector<std::uint64_t>> FakeKernel::Ids(const std::string& cgroup) const {
  if (absl::Status status = Check(cgroup, ""); !status.ok()) return status;
  return std::vector<std::uint64_t>{ids.count(cgroup) == 0 ? 1 : ids.at(cgroup) + 1};
}

absl::StatusOr<std::string> FakeKernel::Read(const std::string& cgroup,
                                             const std::string& controller,
                                             const std::string& file) const {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  if (removed.count(cgroup) == 1) return absl::NotFoundError(absl::StrCat(cgroup, " is gone"));
  if (file == "cpu.stat") {
    return absl::StrCat("nr_periods 7\nnr_throttled ", throttled_periods, "\nthrottled_time ",
                        throttled_ns, "\n");
  }
  if (const std::optional<std::string> count = counters.Text(file)) {
    return counters.broken ? absl::StatusOr<std::string>(absl::UnavailableError("broken")) : *count;
  }
  if (file == "freezer.self_freezing") {
    return values.at(cgroup + " freezer.state") == "THAWED" ? "0" : "1";
  }
  const auto at = values.find(KeyOf(cgroup, controller, file));
  if (at == values.end()) return absl::NotFoundError(absl::StrCat(cgroup, " has no ", file));
  return at->second;
}

absl::Status FakeKernel::Write(const std::string& cgroup, const std::string& controller,
                               const std::string& file, const std::string& value) {
  if (removed.count(cgroup) == 1) return absl::NotFoundError(absl::StrCat(cgroup, " is gone"));
  return Change([&] {
    std::string& now = values[KeyOf(cgroup, controller, file)];
    now = IsKeyedFile(file) ? WithLine(now, value) : value;
  });
}

// As v1: the value is set at the end, unless it was left before.
class FakeKernel::FakeSlowWrite final : public SlowWrite {
 public:
  FakeSlowWrite(FakeKernel* kernel, std::function<absl::Status()> write)
      : kernel_(kernel),
        write_(std::move(write)),
        end_ns_(kernel->clock_.Now().boottime_ns + kernel->reclaim_ns) {}

  std::optional<absl::Status> Result() override {
    if (result_.has_value()) return result_;
    if (kernel_->clock_.Now().boottime_ns < end_ns_) return {};
    result_ = left_ ? absl::CancelledError("interrupted") : write_();
    return result_;
  }
  void Interrupt() override {
    if (std::exchange(left_, true)) return;
    end_ns_ = std::min(end_ns_, kernel_->clock_.Now().boottime_ns + kernel_->leave_ns);
  }

 private:
  FakeKernel* const kernel_;
  const std::function<absl::Status()> write_;
  std::int64_t end_ns_;
  bool left_ = false;
  std::optional<absl::Status> result_;
};

absl::StatusOr<std::unique_ptr<SlowWrite>> FakeKernel::BeginWrite(const std::string& cgroup,
                                                                  const std::string& controller,
                                                                  const std::string& file,
                                                                  const std::string& value) {
  if (removed.count(cgroup) == 1) return absl::NotFoundError(absl::StrCat(cgroup, " is gone"));
  if (no_threads) return absl::ResourceExhaustedError("no thread");
  return std::make_unique<FakeSlowWrite>(this, [this, cgroup, controller, file, value] {
    return Write(cgroup, controller, file, value);
  });
}

absl::StatusOr<std::string> FakeKernel::FileOf(const std::string& cgroup,
                                               const std::string& controller,
                                               const std::string& file) const {
  if (absl::Status status = Check(cgroup, controller); !status.ok()) return status;
  return absl::StrCat("/", controller, cgroup, "/", file);
}

absl::StatusOr<bool> FakeKernel::HasProcess(const std::string& cgroup,
                                            const std::string& controller,
                                            const Ignored& ignored) const {
  if (absl::Status status = Check(cgroup, controller); !status.ok()) return status;
  const bool helper = std::any_of(homes.begin(), homes.end(), [&](const auto& home) {
    return (ignored == nullptr || !ignored(home.first)) &&
           home.second.count(absl::StrCat(controller, " ", cgroup)) == 1;
  });
  return helper || empty.count(cgroup) == 0;
}

absl::StatusOr<std::vector<pid_t>> FakeKernel::ProcessesOf(const std::string& cgroup) const {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  if (absl::Status status = Check(cgroup, ""); !status.ok()) return status;
  return MembersOf(cgroup);
}

absl::StatusOr<bool> FakeKernel::Holds(const std::string& cgroup, pid_t pid) const {
  const auto at = processes.all.find(pid);
  if (at == processes.all.end()) return absl::NotFoundError("no such process");
  return at->second.cgroup == cgroup || absl::StartsWith(at->second.cgroup, cgroup + "/");
}

bool FakeKernel::HasAnyProcess(const std::string& cgroup) const { return empty.count(cgroup) == 0; }

std::vector<pid_t> FakeKernel::MembersOf(const std::string& cgroup) const {
  std::vector<pid_t> found;
  for (const auto& [pid, one] : processes.all) {
    if (one.cgroup == cgroup || absl::StartsWith(one.cgroup, cgroup + "/")) found.push_back(pid);
  }
  return found;
}

absl::StatusOr<std::string> FakeKernel::HomeOf(pid_t pid, const std::string& controller) const {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  const auto at = homes.find(pid);
  if (at == homes.end()) return absl::NotFoundError(absl::StrCat("no process ", pid));
  for (const std::string& home : at->second) {
    absl::string_view path = home;
    if (absl::ConsumePrefix(&path, controller + " ")) return std::string(path);
  }
  return std::string("/");
}

absl::StatusOr<std::string> FakeKernel::TargetOf(pid_t pid) const {
  const auto at = processes.all.find(pid);
  return at == processes.all.end() ? HomeOf(pid, "cpu") : at->second.cgroup;
}

absl::Status FakeKernel::Attach(const std::string& cgroup, const std::string& controller,
                                pid_t pid) {
  if (absl::Status status = Check(cgroup, controller); !status.ok()) return status;
  return Change([&] { homes[pid].insert(absl::StrCat(controller, " ", cgroup)); });
}

void FakeKernel::AttachForMetrics(const std::string& /*cgroup*/, pid_t /*pid*/) {}

// ---- Helpers

absl::StatusOr<std::string> FakeKernel::Meminfo() const {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  return std::string("MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n");
}

absl::Status FakeKernel::CheckProgram(const std::string& program) const {
  if (no_programs.count(program) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(program, " is not there"));
}

absl::StatusOr<std::unique_ptr<HelperProcess>> FakeKernel::Start(const HelperOrder& order) {
  last_order = order;
  closed_ns = 0;
  const pid_t pid = ++last_pid_;
  // It stands from here on, whether or not the caller learns of it.
  absl::Status started = SureChange([&] {
    reports.insert(order.report);
    helpers[pid] = order.arguments.at(1);
    homes[pid] = {};
  });
  if (!started.ok()) return started;
  return std::make_unique<FakeHelper>(this, pid);
}

std::unique_ptr<ReportPage> FakeKernel::OpenReport(const std::string& report) {
  return reports.count(report) == 0 ? nullptr : std::make_unique<FakePage>(this);
}

absl::Status FakeKernel::RemoveReport(const std::string& report) {
  return SureChange([&] { reports.erase(report); });
}

std::vector<pid_t> FakeKernel::Find(const std::string& id) const {
  std::vector<pid_t> found;
  if (helpers_die) return found;
  for (const auto& [pid, fault] : helpers) {
    if (fault == id) found.push_back(pid);
  }
  return found;
}

absl::StatusOr<std::unique_ptr<RunningHelper>> FakeKernel::Open(pid_t pid,
                                                                const std::string& /*id*/) {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  if (helpers.count(pid) == 0) return absl::NotFoundError("no such helper");
  return std::make_unique<FakeFound>(this, pid);
}

bool FakeKernel::Lingers(bool kill) {
  if (kill) ++helper_kills;
  if (helper_looks == 0) return false;
  --helper_looks;
  return true;
}

// ---- Throttling

absl::StatusOr<std::unique_ptr<ThrottleWatch>> FakeKernel::Watch(const std::string& cgroup) {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  if (absl::Status status = CheckProgram("throttle"); !status.ok()) return status;
  return std::make_unique<FakeWatch>(this, cgroup);
}

// ---- Programs

absl::StatusOr<std::unique_ptr<Program>> FakeKernel::Load(const ProgramSpec& spec) {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  deadlines_ns[++last_program_] = static_cast<std::int64_t>(spec.rule.deadline_ns);
  return std::make_unique<FakeProgram>(this, spec.hook, last_program_);
}

absl::StatusOr<std::vector<std::uint32_t>> FakeKernel::Attached(const Hook& hook) {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  if (removed.count(hook.object) == 1) return absl::NotFoundError("the group is gone");
  std::vector<std::uint32_t> found;
  for (const auto& [id, key] : links) {
    if (key == HookKey(hook)) found.push_back(id);
  }
  return found;
}

absl::Status FakeKernel::AddSink(Traffic& /*traffic*/, int /*ifindex*/, std::uint32_t /*parent*/) {
  return absl::OkStatus();
}

absl::Status FakeKernel::CheckLedgers() {
  return has_bpffs ? absl::OkStatus() : absl::FailedPreconditionError("no bpffs");
}

std::string FakeKernel::LedgerPath(std::uint32_t id) {
  return has_bpffs ? absl::StrCat("/bpf/", id) : "";
}

std::unique_ptr<Ledger> FakeKernel::OpenLedger(const std::string& ledger) {
  return ledgers.count(ledger) == 0 ? nullptr : std::make_unique<FakeLedger>(this);
}

absl::Status FakeKernel::DropLedger(const std::string& ledger, std::uint32_t /*id*/) {
  if (ledger.empty()) return absl::OkStatus();
  return SureChange([&] { ledgers.erase(ledger); });
}

// ---- Network

// While its delay is there, something waits in it; when that ends, what waits leaves in the end.
void FakeKernel::SetNetem(std::uint32_t handle, const Netem& netem) {
  const std::int64_t before_ns = netems.count(handle) == 0 ? 0 : netems[handle].delay_ns;
  if (busy && before_ns > 0) waits_until_ns[handle] = clock_.Now().boottime_ns + before_ns;
  netems[handle] = netem;
  leaves[handle] = "netem";
}

HtbClass FakeKernel::ClassNow(std::uint32_t handle) const {
  HtbClass one = classes.at(handle);
  const auto waits = waits_until_ns.find(handle);
  const bool leaving = waits != waits_until_ns.end() && clock_.Now().boottime_ns < waits->second;
  if (leaving) one.queued_packets = 3;
  const auto netem = netems.find(handle);
  if (netem == netems.end()) return one;
  if (leaving || (busy && netem->second.delay_ns > 0)) one.queued_packets = 3;
  return one;
}

absl::StatusOr<std::unique_ptr<Traffic>> FakeKernel::Open() {
  return std::make_unique<FakeTraffic>(this);
}

// ---- Blocks

absl::StatusOr<BlockDevice> FakeKernel::Named(const std::string& device) const {
  if (absl::Status status = Step("read"); !status.ok()) return status;
  if (device == "vda" || device == "254:0") return BlockDevice{"vda", "254:0", false, ""};
  if (device == "vda1") return BlockDevice{"vda1", "254:1", true, "vda"};
  return absl::NotFoundError(absl::StrCat("there is no block device ", device));
}

// ---- Subtrees

absl::StatusOr<bool> FakeSubtrees::HasOn(const std::string& group, const std::string& controller) {
  if (absl::Status status = step_("read"); !status.ok()) return status;
  if (removed.count(group) == 1) return absl::NotFoundError(absl::StrCat(group, " is gone"));
  return values_->count(absl::StrCat(group, " has on ", controller)) == 1;
}

absl::Status FakeSubtrees::Turn(const std::string& group, const std::string& controller, bool on) {
  absl::Status before = step_("change");
  if (!before.ok() && !absl::IsDataLoss(before)) return before;
  const std::string key = absl::StrCat(group, " has on ", controller);
  const std::string above = absl::StrCat(ParentGroup(group), " has on ", controller);
  if (on && group != "/" && values_->count(above) == 0) {
    return absl::NotFoundError(absl::StrCat(controller, " is not on for ", group));
  }
  for (const auto& [other, value] : *values_) {
    const std::string below = other.substr(0, other.find(' '));
    const bool inside = below != group && absl::EndsWith(other, " has on " + controller) &&
                        (group == "/" || absl::StartsWith(below, group + "/"));
    if (!on && inside) return absl::FailedPreconditionError("busy");
  }
  if (on) {
    (*values_)[key] = "1";
  } else {
    values_->erase(key);
  }
  absl::Status after = step_("change");
  return absl::IsDataLoss(after) ? absl::OkStatus() : after;
}

}  // namespace faultline
