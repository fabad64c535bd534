// SPDX-License-Identifier: Apache-2.0
//
// The ledger of a BPF program: the map in which it counts what it did, pinned on a bpffs so that
// the counts outlive the process that attached it. Only the map is pinned, never the link, so the
// fault itself still ends with its process. Stateless; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/fault.h"

namespace faultline {

// OK if `bpffs` is a mounted bpffs. FailedPrecondition: one sentence that says why not, what that
// costs and what to do.
absl::Status CheckBpffs(const std::string& bpffs);

// Where the ledger of program `program_id` stands; empty where `bpffs` is no bpffs.
std::string LedgerPath(const std::string& bpffs, std::uint32_t program_id);

// Pins map `map_fd` at `path`. Ids come again only after a reboot, which empties a bpffs, so what
// has that name is the program's own.
absl::Status KeepLedger(int map_fd, const std::string& path);

// A descriptor of the map at `path`, for the caller to close; -1 if there is none.
int OpenLedger(const std::string& path);

// Removes it, and the folder with the last one. OK where there is none; InvalidArgument: `path` is
// no ledger of `program_id`.
absl::Status DropLedger(const std::string& path, std::uint32_t program_id);

// Sums over the CPUs. NotFound: the map cannot be read.
absl::StatusOr<fault_dose> ReadLedger(int map_fd);

}  // namespace faultline
