// SPDX-License-Identifier: Apache-2.0
#include "collector/authority_table.h"

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace faultline {
namespace {

// A collector's certificate may call nothing: it is there to be called.
constexpr std::array<AuthorityRow, 16> kTable{{
    // method                                             node   operator
    {"/faultline.v1.Ingest/Stream", true, false},
    {"/faultline.v1.Faults/GetCapabilities", false, true},
    {"/faultline.v1.Faults/Validate", false, true},
    {"/faultline.v1.Faults/Start", false, true},
    {"/faultline.v1.Faults/Stop", false, true},
    {"/faultline.v1.Faults/Halt", false, true},
    // Refused by the service, which says where a halt is released.
    {"/faultline.v1.Faults/Release", false, true},
    {"/faultline.v1.Faults/List", false, true},
    {"/faultline.v1.Faults/Watch", false, true},
    // What other nodes are and did is no node's business.
    {"/faultline.v1.Nodes/ListNodes", false, true},
    {"/faultline.v1.Runs/StartRun", false, true},
    {"/faultline.v1.Runs/StopRun", false, true},
    {"/faultline.v1.Runs/ListRuns", false, true},
    {"/faultline.v1.Datasets/Export", false, true},
    // How a node finds out whether it may speak to this collector at all.
    {"/grpc.health.v1.Health/*", true, true},
    {"/grpc.reflection.v1alpha.ServerReflection/*", false, true},
}};

bool Means(absl::string_view row, absl::string_view method) {
  return absl::ConsumeSuffix(&row, "*") ? absl::StartsWith(method, row) : row == method;
}

class AuthorityCheck final : public grpc::AuthMetadataProcessor {
 public:
  // Looks into a table only.
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context,
                       OutputMetadata* /*consumed*/, OutputMetadata* /*response*/) override {
    const absl::StatusOr<Peer> peer = PeerOf(*context);
    if (!peer.ok()) return ToGrpc(peer.status());
    const auto path = metadata.find(":path");
    if (path == metadata.end()) {
      return {grpc::StatusCode::PERMISSION_DENIED, "the call names no method"};
    }
    return ToGrpc(MayCall(*peer, absl::string_view(path->second.data(), path->second.size())));
  }
};

}  // namespace

absl::Span<const AuthorityRow> AuthorityTable() { return kTable; }

absl::Status MayCall(const Peer& peer, absl::string_view method) {
  const auto row = std::find_if(kTable.begin(), kTable.end(), [&](const AuthorityRow& candidate) {
    return Means(candidate.method, method);
  });
  const bool listed = row != kTable.end();
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
