// SPDX-License-Identifier: Apache-2.0
#include "collector/collector.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/credentials.h"
#include "base/status.h"
#include "collector/authority_table.h"
#include "collector/cannot_listen.h"

namespace faultline {
namespace {

// A batch is at most 16 MiB before compression; compressed it must fit into one message.
constexpr int kMaxMessageBytes = 4 << 20;
// What calls get to end by themselves at shutdown; streams of nodes never do.
constexpr std::chrono::milliseconds kShutdownGrace{200};

void SetChannelArguments(grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxMessageBytes);
  // Finds dead nodes behind links that went silent; nodes may ping as often to keep a NAT open.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 256);
  // Two collectors must not share a port by accident.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

// Credentials of the socket; secured, with the check of who may call what.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Secured(const CollectorOptions& options) {
  auto credentials = ListenCredentials(options.listen, options.tls);
  if (!credentials.ok()) {
    return WithContext(credentials.status(), absl::StrCat("--listen ", options.listen));
  }
  if (NeedsTls(options.listen, options.tls)) {
    (*credentials)->SetAuthMetadataProcessor(NewAuthorityCheck());
  }
  return credentials;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collector>> Collector::Start(const CollectorOptions& options,
                                                            Clock* clock) {
  std::unique_ptr<Collector> collector(new Collector());
  auto store = Store::Open(options.state_dir, clock);
  if (!store.ok()) return store.status();
  collector->store_ = std::move(*store);
  collector->ingest_ = std::make_unique<Ingest>(collector->store_.get(), &collector->fleet_,
                                                &collector->feed_, clock);
  auto catalogue = collector->store_->OpenCatalogue();
  if (!catalogue.ok()) return catalogue.status();
  collector->reader_ = std::make_unique<Reader>(std::move(*catalogue));
  collector->control_ = std::make_unique<Control>(collector->store_.get(), collector->reader_.get(),
                                                  &collector->fleet_, &collector->feed_);
  collector->nodes_ = std::make_unique<NodesService>(collector->reader_.get(), &collector->fleet_);
  collector->runs_ = std::make_unique<RunsService>(collector->store_.get(),
                                                   collector->reader_.get(), &collector->fleet_);
  collector->datasets_ =
      std::make_unique<DatasetsService>(collector->store_.get(), &collector->fleet_, clock);
  const auto status = collector->Listen(options);
  if (!status.ok()) return status;
  collector->leases_.emplace(collector->store_.get(), &collector->fleet_, clock);
  return collector;
}

absl::Status Collector::Listen(const CollectorOptions& options) {
  static const bool plugins = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)plugins;
  grpc::ServerBuilder builder;
  SetChannelArguments(&builder);
  grpc::ResourceQuota quota("faultline-collector");
  quota.Resize(static_cast<std::size_t>(options.grpc_memory_bytes));
  builder.SetResourceQuota(quota);
  int port = 0;
  if (!options.listen.empty()) {
    const auto credentials = Secured(options);
    if (!credentials.ok()) return credentials.status();
    // The time may be what is wrong, or a new certificate on its way: no reason not to listen.
    if (NeedsTls(options.listen, options.tls)) {
      certificate_.emplace(options.tls, Role::kCollector, "until then nobody can connect");
    }
    builder.AddListeningPort(options.listen, *credentials, &port);
  }
  builder.RegisterService(ingest_.get());
  builder.RegisterService(control_.get());
  builder.RegisterService(nodes_.get());
  builder.RegisterService(runs_.get());
  builder.RegisterService(datasets_.get());
  server_ = builder.BuildAndStart();
  const bool is_unix = absl::StartsWith(options.listen, "unix:");
  if (server_ == nullptr || (!options.listen.empty() && !is_unix && port == 0)) {
    return CannotListen(options.listen);
  }
  address_ = options.listen;
  if (!is_unix && !address_.empty()) {
    address_ = absl::StrCat(address_.substr(0, address_.rfind(':')), ":", port);
  }
  return absl::OkStatus();
}

Collector::~Collector() {
  if (server_ == nullptr) return;
  server_->GetHealthCheckService()->SetServingStatus(false);
  server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  server_->Wait();
  server_.reset();
}

std::shared_ptr<grpc::Channel> Collector::InProcessChannel() {
  return server_->InProcessChannel(grpc::ChannelArguments());
}

}  // namespace faultline
