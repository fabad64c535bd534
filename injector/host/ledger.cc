// SPDX-License-Identifier: Apache-2.0
#include "injector/host/ledger.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline {
namespace {

constexpr char kFolder[] = "/faultline";

std::string NameOf(std::uint32_t program_id) { return absl::StrCat(kFolder, "/dose-", program_id); }

bool IsBpffs(const std::string& path) {
  struct statfs fs {};
  return statfs(path.c_str(), &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

}  // namespace

absl::Status CheckBpffs(const std::string& bpffs) {
  if (IsBpffs(bpffs)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      bpffs, access(bpffs.c_str(), F_OK) == 0 ? " is no bpffs" : " does not exist",
      ", so what a network fault counts ends with the injector: should it be killed, a loss's "
      "dose is a lower bound that lacks up to its last second (of a rate or delay only "
      "packets_steered, "
      "buffers_steered and the touches are); mount one (`mount -t bpf bpf ",
      bpffs, "`) or name another with --bpffs"));
}

std::string LedgerPath(const std::string& bpffs, std::uint32_t program_id) {
  return IsBpffs(bpffs) ? bpffs + NameOf(program_id) : "";
}

absl::Status KeepLedger(int map_fd, const std::string& path) {
  const std::string folder = path.substr(0, path.rfind('/'));
  if (mkdir(folder.c_str(), 0750) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, absl::StrCat("make ", folder));
  }
  unlink(path.c_str());
  return BpfStatus(bpf_obj_pin(map_fd, path.c_str()), absl::StrCat("pin ", path));
}

int OpenLedger(const std::string& path) {
  return path.empty() ? -1 : std::max(-1, bpf_obj_get(path.c_str()));
}

absl::Status DropLedger(const std::string& path, std::uint32_t program_id) {
  if (path.empty()) return absl::OkStatus();
  if (!absl::EndsWith(path, NameOf(program_id))) {
    return absl::InvalidArgumentError(
        absl::StrCat("the journal names ", path, " as the ledger of program ", program_id));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) {
    return ErrnoStatus(errno, absl::StrCat("remove ", path));
  }
  // As long as there are others it is not empty.
  rmdir(path.substr(0, path.rfind('/')).c_str());
  return absl::OkStatus();
}

absl::StatusOr<fault_dose> ReadLedger(int map_fd) {
  fault_dose total{};
  const int cpus = libbpf_num_possible_cpus();
  std::vector<fault_dose> values(static_cast<size_t>(std::max(cpus, 0)));
  const std::uint32_t key = 0;
  if (map_fd < 0 || cpus <= 0 || bpf_map_lookup_elem(map_fd, &key, values.data()) != 0) {
    return absl::NotFoundError("the counts of the BPF program cannot be read");
  }
  for (const fault_dose& one : values) {
    total.hit_packets += one.hit_packets;
    total.hit_buffers += one.hit_buffers;
    total.hit_bytes += one.hit_bytes;
    total.passed_packets += one.passed_packets;
    total.passed_buffers += one.passed_buffers;
    if (one.first_ns != 0 && (total.first_ns == 0 || one.first_ns < total.first_ns)) {
      total.first_ns = one.first_ns;
    }
    total.last_ns = std::max(total.last_ns, one.last_ns);
  }
  return total;
}

}  // namespace faultline
