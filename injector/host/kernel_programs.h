// SPDX-License-Identifier: Apache-2.0
//
// Programs in this machine's kernel, by libbpf. Counts are kept on a bpffs, where there is one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bpf_object.h"
#include "injector/host/programs.h"
#include "injector/host/socket_groups.h"
#include "injector/host/spare_programs.h"
#include "injector/host/tcx_links.h"

namespace faultline {

class KernelPrograms final : public Programs {
 public:
  // Where what programs count outlives this process; no bpffs: it does not.
  explicit KernelPrograms(std::string bpffs = "/sys/fs/bpf");

  absl::Status CheckGroup(const std::string& cgroup) override;
  absl::Status CheckNamespace(const std::string& cgroup) override;
  absl::Status Check(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<Program>> Load(const ProgramSpec& spec) override;
  absl::StatusOr<std::vector<std::uint32_t>> Attached(const Hook& hook) override;
  absl::Status HoldTcx(const std::string& device) override;
  absl::Status AddSink(Traffic& traffic, int ifindex, std::uint32_t parent) override;
  absl::Status CheckLedgers() override;
  std::string LedgerPath(std::uint32_t id) override;
  std::unique_ptr<Ledger> OpenLedger(const std::string& ledger) override;
  absl::Status DropLedger(const std::string& ledger, std::uint32_t id) override;
  std::string BootId() override;

 private:
  const std::string bpffs_;
  SocketGroups groups_;
  // Of its programs as well.
  const std::shared_ptr<TcxLinks> tcx_ = std::make_shared<TcxLinks>();
  const std::shared_ptr<SparePrograms> spares_;
};

// The program `spec.name` of `object`, which is loaded, for the hook of `spec`.
absl::StatusOr<std::unique_ptr<Program>> TakeProgram(const ProgramSpec& spec,
                                                     std::unique_ptr<BpfObject> object);

}  // namespace faultline
