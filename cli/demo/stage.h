// SPDX-License-Identifier: Apache-2.0
//
// Everything that the demo puts on this host: a folder, a network, two control groups and the
// processes. Whatever way the demo ends, Clean takes all of it away again, and the destructor does
// what Clean had no chance to do; if the demo is killed, its children get the parent-death signal.
// Main thread, which must live as long as the children.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/cgroup_exec.h"
#include "cli/demo/network.h"
#include "cli/interrupt.h"
#include "cli/process.h"

namespace faultline::cli {

class Stage {
 public:
  struct Options {
    // Where faultline-collector, -agent and -injector are.
    std::string bin_dir;
    // Leave the folder with state and logs.
    bool keep_state = false;
  };

  static absl::StatusOr<std::unique_ptr<Stage>> Create(const Options& options,
                                                       Interrupt* interrupt);
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // Each returns when what it started answers, or with what its log says.
  absl::Status StartServer();
  absl::Status StartClient();
  absl::Status StartCollector();
  absl::Status StartInjector();
  absl::Status StartAgent();

  // Internal with the end of its log if a program has ended that should run; Cancelled after
  // Ctrl-C.
  absl::Status Check();
  // Check, at least every 100 ms, for `ms`.
  absl::Status Pause(int ms);

  // Takes everything away: faults first, then processes, groups, network and folder. Says what
  // could not be. Once.
  absl::Status Clean();

  const std::string& folder() const { return folder_; }
  const std::string& collector_address() const { return collector_address_; }
  std::string injector_address() const { return "unix:" + folder_ + "/run/root.sock"; }
  const DemoNetwork& network() const { return *network_; }
  const CgroupTree& tree() const { return tree_; }
  // Path of the server's control group.
  const std::string& server_cgroup() const { return server_->path(); }

 private:
  Stage(Options options, CgroupTree tree, Interrupt* interrupt);
  absl::Status MakeFolder();
  // A program of ours or the load, with its output in log/NAME.log.
  absl::Status Start(const std::string& name, SpawnSpec spec, ExecGroup* group);
  std::string LogTail(const std::string& name) const;
  // Waits until `path` exists, at most 15 s.
  absl::Status AwaitFile(const std::string& path);
  void End(const std::string& name, absl::Duration grace);
  std::string Log(const std::string& name) const { return folder_ + "/log/" + name + ".log"; }

  const Options options_;
  const CgroupTree tree_;
  Interrupt* const interrupt_;
  std::string folder_;
  std::string collector_address_;
  std::unique_ptr<DemoNetwork> network_;
  std::unique_ptr<ExecGroup> server_;
  std::unique_ptr<ExecGroup> client_;
  std::map<std::string, Process> processes_;
  bool cleaned_ = false;
};

}  // namespace faultline::cli
