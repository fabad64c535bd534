// SPDX-License-Identifier: Apache-2.0
#include "collector/authority_table.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/status.h"

namespace faultline {
namespace {

// A collector's certificate may call nothing: it is there to be called.
constexpr std::array<AuthorityRow, 17> kTable{{
    // method                                             node   operator command
    {"/faultline.v1.Ingest/Stream", true, false, false},
    {"/faultline.v1.Faults/GetCapabilities", false, true, false},
    {"/faultline.v1.Faults/Validate", false, true, false},
    {"/faultline.v1.Faults/Start", false, true, true},
    {"/faultline.v1.Faults/Stop", false, true, true},
    {"/faultline.v1.Faults/Halt", false, true, true},
    // Refused by the service, which says where a halt is released.
    {"/faultline.v1.Faults/Release", false, true, false},
    {"/faultline.v1.Faults/List", false, true, false},
    {"/faultline.v1.Faults/Watch", false, true, false},
    // The service does not have it: only a node's own injector takes a lease.
    {"/faultline.v1.Faults/RenewLease", false, true, false},
    // What other nodes are and did is no node's business.
    {"/faultline.v1.Nodes/ListNodes", false, true, false},
    {"/faultline.v1.Runs/StartRun", false, true, true},
    {"/faultline.v1.Runs/StopRun", false, true, true},
    {"/faultline.v1.Runs/ListRuns", false, true, false},
    {"/faultline.v1.Datasets/Export", false, true, false},
    // How a node finds out whether it may speak to this collector at all.
    {"/grpc.health.v1.Health/*", true, true, false},
    {"/grpc.reflection.v1alpha.ServerReflection/*", false, true, false},
}};

bool Means(absl::string_view row, absl::string_view method) {
  return absl::ConsumeSuffix(&row, "*") ? absl::StartsWith(method, row) : row == method;
}

const AuthorityRow* RowOf(absl::string_view method) {
  const auto row = std::find_if(kTable.begin(), kTable.end(), [&](const AuthorityRow& candidate) {
    return Means(candidate.method, method);
  });
  return row == kTable.end() ? nullptr : &*row;
}

// Who is refused may call again at once; the log must not be what suffers.
class DenialLog {
 public:
  void Tell(const absl::StatusOr<Peer>& peer, const std::string& method, const absl::Status& why)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    std::int64_t untold = 0;
    {
      const std::lock_guard lock(mutex_);
      const std::int64_t now_ns = Clock::System().Now().boottime_ns;
      if (now_ns - begin_ns_ >= kMinuteNs) {
        begin_ns_ = now_ns;
        told_ = 0;
      }
      if (told_ == kToldPerMinute) {
        ++untold_;
        return;
      }
      ++told_;
      untold = std::exchange(untold_, 0);
    }
    LogEvent(Event::kCallDenied,
             {{kMethodField, method},
              {kRoleField, peer.ok() ? RoleWord(peer->role) : ""},
              {kPeerField, peer.ok() ? peer->name : ""},
              {kReasonField, why.message()},
              {kCountField, untold == 0 ? "" : absl::StrCat(untold)}},
             "denied: ", why.message(),
             untold == 0 ? "" : absl::StrCat(" (and ", untold, " calls before it)"));
  }

 private:
  static constexpr std::int64_t kMinuteNs = 60 * kNsPerSecond;
  static constexpr int kToldPerMinute = 10;

  std::mutex mutex_;
  std::int64_t begin_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  int told_ ABSL_GUARDED_BY(mutex_) = 0;
  std::int64_t untold_ ABSL_GUARDED_BY(mutex_) = 0;
};

class AuthorityCheck final : public grpc::AuthMetadataProcessor {
 public:
  // Looks into a table only.
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context,
                       OutputMetadata* /*consumed*/, OutputMetadata* /*response*/) override {
    const absl::StatusOr<Peer> peer = PeerOf(*context);
    const auto path = metadata.find(":path");
    const std::string method =
        path == metadata.end() ? "" : std::string(path->second.data(), path->second.size());
    const absl::Status may = peer.ok() ? MayCall(*peer, method) : peer.status();
    if (!may.ok()) {
      denials_.Tell(peer, method, may);
      return ToGrpc(may);
    }
    if (RowOf(method)->command) {
      LogEvent(
          Event::kCommandTaken,
          {{kMethodField, method}, {kRoleField, RoleWord(peer->role)}, {kPeerField, peer->name}},
          RoleWord(peer->role), " ", peer->name, " calls ", method);
    }
    return grpc::Status::OK;
  }

 private:
  DenialLog denials_;
};

}  // namespace

absl::Span<const AuthorityRow> AuthorityTable() { return kTable; }

absl::Status MayCall(const Peer& peer, absl::string_view method) {
  const AuthorityRow* const row = RowOf(method);
  const bool listed = row != nullptr;
  if (listed && peer.role == Role::kNode && row->node) return absl::OkStatus();
  if (listed && peer.role == Role::kOperator && row->operator_) return absl::OkStatus();
  const absl::string_view needed = !listed          ? "nobody's"
                                   : row->operator_ ? "an operator's"
                                                    : "a node's";
  return absl::PermissionDeniedError(absl::StrCat(method, " needs ", needed,
                                                  " certificate; this one is of ",
                                                  RoleWord(peer.role), " ", peer.name));
}

std::shared_ptr<grpc::AuthMetadataProcessor> NewAuthorityCheck() {
  return std::make_shared<AuthorityCheck>();
}

}  // namespace faultline
