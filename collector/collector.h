// SPDX-License-Identifier: Apache-2.0
//
// The collector as a whole: the store, the services and the server in front of them. Owned by main
// or by a test, which asks for an in-process channel instead of an address. Not thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/certificate_watch.h"
#include "base/clock.h"
#include "collector/control.h"
#include "collector/datasets.h"
#include "collector/fault_feed.h"
#include "collector/fleet.h"
#include "collector/ingest.h"
#include "collector/inventory.h"
#include "collector/lease_keeper.h"
#include "collector/options.h"
#include "collector/runs.h"
#include "collector/store/reader.h"
#include "collector/store/store.h"

namespace faultline {

class Collector {
 public:
  // Opens the store and listens. `options.listen` empty: only InProcessChannel.
  static absl::StatusOr<std::unique_ptr<Collector>> Start(const CollectorOptions& options,
                                                          Clock* clock);
  // Ends every call, commits what was delivered and closes the store.
  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  // Where it really listens: "127.0.0.1:PORT" or "unix:/PATH".
  const std::string& address() const { return address_; }
  std::shared_ptr<grpc::Channel> InProcessChannel();

  Store& store() { return *store_; }
  Fleet& fleet() { return fleet_; }

 private:
  Collector() = default;
  absl::Status Listen(const CollectorOptions& options);

  std::string address_;
  Fleet fleet_;
  FaultFeed feed_;
  // Its writer tells the feed, so it goes before the feed.
  std::unique_ptr<Store> store_;
  std::unique_ptr<Reader> reader_;
  std::unique_ptr<Ingest> ingest_;
  std::unique_ptr<Control> control_;
  std::unique_ptr<NodesService> nodes_;
  std::unique_ptr<RunsService> runs_;
  std::unique_ptr<DatasetsService> datasets_;
  std::optional<LeaseKeeper> leases_;
  // Where it listens with TLS.
  std::optional<CertificateWatch> certificate_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace faultline
