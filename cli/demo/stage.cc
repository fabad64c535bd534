// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/stage.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "cli/demo/load.h"

namespace faultline::cli {
namespace {

constexpr int kLookEveryMs = 50;

// Whom the agent runs as: the package's user, or on a host without the package the one that owns
// nothing.
struct AgentUser {
  uid_t uid = 65534;
  gid_t gid = 65534;
  std::string group = "nogroup";
};

AgentUser FindAgentUser() {
  AgentUser user;
  const passwd* entry = ::getpwnam("faultline");
  if (entry == nullptr) entry = ::getpwuid(user.uid);
  if (entry == nullptr) return user;
  user.uid = entry->pw_uid;
  user.gid = entry->pw_gid;
  const group* group = ::getgrgid(user.gid);
  if (group != nullptr) user.group = group->gr_name;
  return user;
}

std::string ReadLog(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

bool Answers(const std::string& address, std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
  ::close(fd);
  return result == 0;
}

constexpr absl::string_view kGroupPrefix = "faultline-demo-";

// Groups of demos that were killed before they could remove them; rmdir takes empty ones only.
void RemoveStaleGroups(const CgroupTree& tree) {
  for (const CgroupTree::Hierarchy& hierarchy : tree.hierarchies()) {
    std::error_code error;
    std::vector<std::string> stale;
    for (const auto& entry : std::filesystem::directory_iterator(hierarchy.mount, error)) {
      const std::string name = entry.path().filename().string();
      absl::string_view rest = name;
      pid_t pid = 0;
      if (!absl::ConsumePrefix(&rest, kGroupPrefix)) continue;
      if (!absl::SimpleAtoi(rest.substr(0, rest.find('-')), &pid)) continue;
      if (::kill(pid, 0) != 0 && errno == ESRCH) stale.push_back(entry.path().string());
    }
    for (const std::string& dir : stale) ::rmdir(dir.c_str());
  }
}

}  // namespace

Stage::Stage(Options options, CgroupTree tree, Interrupt* interrupt)
    : options_(std::move(options)), tree_(std::move(tree)), interrupt_(interrupt) {}

absl::StatusOr<std::unique_ptr<Stage>> Stage::Create(const Options& options, Interrupt* interrupt) {
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return tree.status();
  std::unique_ptr<Stage> stage(new Stage(options, *std::move(tree), interrupt));
  RemoveStaleGroups(stage->tree_);
  const absl::Status status = stage->MakeFolder();
  if (!status.ok()) return status;

  absl::StatusOr<std::unique_ptr<DemoNetwork>> network = DemoNetwork::Create(::getpid());
  if (!network.ok()) return network.status();
  stage->network_ = *std::move(network);
  for (auto& [name, group] :
       {std::make_pair("server", &stage->server_), std::make_pair("client", &stage->client_)}) {
    absl::StatusOr<std::unique_ptr<ExecGroup>> made =
        ExecGroup::Create(stage->tree_, absl::StrCat(kGroupPrefix, ::getpid(), "-", name));
    if (!made.ok()) return made.status();
    *group = *std::move(made);
  }
  return stage;
}

Stage::~Stage() {
  const absl::Status status = Clean();
  status.IgnoreError();
}

absl::Status Stage::MakeFolder() {
  const char* base = std::getenv("TMPDIR");
  std::string path = absl::StrCat(base == nullptr ? "/tmp" : base, "/faultline-demo-XXXXXX");
  if (::mkdtemp(path.data()) == nullptr) return ErrnoStatus(errno, "make folder " + path);
  folder_ = path;
  // The agent and nginx's worker are other users and must pass through.
  if (::chmod(path.c_str(), 0755) != 0) return ErrnoStatus(errno, "open folder " + path);
  for (const char* part : {"/log", "/collector", "/injector", "/run", "/server"}) {
    if (::mkdir((path + part).c_str(), 0755) != 0) {
      return ErrnoStatus(errno, absl::StrCat("make folder ", path, part));
    }
  }
  return absl::OkStatus();
}

absl::Status Stage::Start(const std::string& name, SpawnSpec spec, ExecGroup* group) {
  const int log = ::open(Log(name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return ErrnoStatus(errno, "make " + Log(name));
  spec.out = log;
  spec.err = log;
  spec.no_input = true;
  // Clean ends them, in its order.
  spec.own_group = true;
  spec.mask = interrupt_->before();
  if (spec.parent_death_signal == 0) spec.parent_death_signal = SIGTERM;
  absl::StatusOr<Process> process =
      group == nullptr ? Process::Spawn(spec) : group->Start(std::move(spec));
  ::close(log);
  if (!process.ok()) return WithContext(process.status(), name);
  const absl::Status started = process->AwaitExec();
  if (!started.ok()) return WithContext(started, name);
  processes_.insert_or_assign(name, *std::move(process));
  return absl::OkStatus();
}

std::string Stage::LogTail(const std::string& name) const {
  constexpr size_t kTail = 600;
  std::string text = ReadLog(Log(name));
  if (name == "nginx") text += ReadLog(folder_ + "/server/nginx-error.log");
  absl::StripAsciiWhitespace(&text);
  if (text.size() > kTail) text = "..." + text.substr(text.size() - kTail);
  return text.empty() ? "it said nothing" : text;
}

absl::Status Stage::Check() {
  if (interrupt_->Within(0)) return absl::CancelledError("interrupted");
  for (auto& [name, process] : processes_) {
    const std::optional<int> status = process.Poll();
    if (!status) continue;
    return absl::InternalError(
        absl::StrCat(name, " ended with status ", ShellStatus(*status), ": ", LogTail(name)));
  }
  return absl::OkStatus();
}

absl::Status Stage::Pause(int ms) {
  const absl::Time end = absl::Now() + absl::Milliseconds(ms);
  absl::Status status = Check();
  while (status.ok() && absl::Now() < end) {
    const auto left = absl::ToInt64Milliseconds(end - absl::Now());
    interrupt_->Within(static_cast<int>(std::clamp<std::int64_t>(left, 1, 100)));
    status = Check();
  }
  return status;
}

absl::Status Stage::AwaitFile(const std::string& path) {
  const absl::Time deadline = absl::Now() + absl::Seconds(15);
  while (::access(path.c_str(), F_OK) != 0) {
    absl::Status status = Pause(kLookEveryMs);
    if (!status.ok()) return status;
    if (absl::Now() > deadline) {
      return absl::InternalError(absl::StrCat(path, " did not appear within 15 s"));
    }
  }
  return absl::OkStatus();
}

absl::Status Stage::StartServer() {
  const std::string dir = folder_ + "/server";
  absl::Status status = WriteServerFiles(dir, network_->server_address());
  SpawnSpec spec;
  spec.argv = ServerCommand(dir);
  if (status.ok()) status = Start("nginx", std::move(spec), server_.get());
  const absl::Time deadline = absl::Now() + absl::Seconds(15);
  while (status.ok() && !Answers(network_->server_address(), kServerPort)) {
    status = Pause(kLookEveryMs);
    if (absl::Now() > deadline) {
      return absl::InternalError("nginx does not answer: " + LogTail("nginx"));
    }
  }
  return status;
}

absl::Status Stage::StartClient() {
  SpawnSpec spec;
  spec.argv = ClientCommand(network_->server_address());
  spec.netns = network_->namespace_fd();
  spec.parent_death_signal = SIGKILL;
  return Start("h2load", std::move(spec), client_.get());
}

absl::Status Stage::StartCollector() {
  const std::string address = folder_ + "/collector/address";
  SpawnSpec spec;
  spec.argv = {options_.bin_dir + "/faultline-collector",
               "--listen",
               "127.0.0.1:0",
               "--state-dir",
               folder_ + "/collector",
               "--address-file",
               address};
  absl::Status status = Start("faultline-collector", std::move(spec), nullptr);
  if (status.ok()) status = AwaitFile(address);
  collector_address_ = ReadLog(address);
  absl::StripAsciiWhitespace(&collector_address_);
  return status;
}

absl::Status Stage::StartInjector() {
  SpawnSpec spec;
  spec.argv = {options_.bin_dir + "/faultline-injector",
               "--state-dir",
               folder_ + "/injector",
               "--run-dir",
               folder_ + "/run",
               "--group",
               FindAgentUser().group,
               "--plane-device",
               network_->device()};
  absl::Status status = Start("faultline-injector", std::move(spec), nullptr);
  if (status.ok()) status = AwaitFile(folder_ + "/run/root.sock");
  return status.ok() ? AwaitFile(folder_ + "/run/agent.sock") : status;
}

absl::Status Stage::StartAgent() {
  const AgentUser user = FindAgentUser();
  SpawnSpec spec;
  spec.argv = {options_.bin_dir + "/faultline-agent",
               "--node",
               "demo",
               "--collector",
               collector_address_,
               "--injector",
               "unix:" + folder_ + "/run/agent.sock",
               "--interval",
               "1s"};
  spec.identity =
      Identity{user.uid, user.gid, std::uint64_t{1} << CAP_BPF | std::uint64_t{1} << CAP_PERFMON};
  return Start("faultline-agent", std::move(spec), nullptr);
}

void Stage::End(const std::string& name, absl::Duration grace) {
  const auto found = processes_.find(name);
  if (found == processes_.end()) return;
  found->second.End(grace);
  processes_.erase(found);
}

absl::Status Stage::Clean() {
  if (cleaned_) return absl::OkStatus();
  cleaned_ = true;
  End("h2load", absl::Seconds(1));
  // First, while everything that it acts on still stands: it ends its faults and restores.
  End("faultline-injector", absl::Seconds(10));
  End("faultline-agent", absl::Seconds(5));
  End("faultline-collector", absl::Seconds(5));
  End("nginx", absl::Seconds(3));
  absl::Status status;
  for (std::unique_ptr<ExecGroup>* group : {&server_, &client_}) {
    if (*group != nullptr) status.Update((*group)->Remove(absl::Seconds(3)));
  }
  if (network_ != nullptr) status.Update(network_->Remove());
  network_.reset();
  std::error_code error;
  if (!folder_.empty() && !options_.keep_state) std::filesystem::remove_all(folder_, error);
  if (error) status.Update(ErrnoStatus(error.value(), "remove " + folder_));
  return status;
}

}  // namespace faultline::cli
