// SPDX-License-Identifier: Apache-2.0
//
// The reading side of the store: answers about nodes, runs, faults and what was delivered. Each
// object has a connection of its own and belongs to one thread at a time. Nothing here keeps a
// snapshot open between calls, so the writer's log stays short: long reads go page by page.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "collector/store/database.h"
#include "faultline/v1/datasets.pb.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// Times are CLOCK_REALTIME ns unless named otherwise.
struct NodeRow {
  std::int64_t id = 0;
  v1::NodeStatus status;
};

struct EpochRow {
  std::int64_t id = 0;
  std::string epoch;
  // Empty: not known.
  std::string boot_id;
};

struct BatchRow {
  std::int64_t id = 0;
  std::int64_t epoch = 0;
  std::int64_t schema = 0;
  std::uint64_t sequence = 0;
  std::int64_t end_ns = 0;
  std::uint32_t decoded_bytes = 0;
  std::string payload;
};

struct GapRow {
  std::string node;
  std::string epoch;
  v1::Gap gap;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

struct EventRow {
  std::string node;
  std::string boot_id;
  v1::Event event;
  std::int64_t realtime_ns = 0;
};

struct EntityRow {
  std::string node;
  v1::Entity entity;
};

// Which batches a reader wants: those of a node whose window touches [begin, end], stored up to
// `last_id`.
struct BatchRange {
  std::int64_t node = 0;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t last_id = 0;
};

class Catalogue {
 public:
  // `path` is the file of an open store.
  static absl::StatusOr<std::unique_ptr<Catalogue>> Open(const std::string& path);

  // By name.
  absl::StatusOr<std::vector<NodeRow>> Nodes();
  absl::StatusOr<std::vector<v1::Run>> Runs();
  // NotFound: there is none.
  absl::StatusOr<v1::Run> FindRun(absl::string_view name);

  // Newest first, at most `limit`; `node` empty = all.
  absl::StatusOr<std::vector<v1::FaultState>> Faults(absl::string_view node, bool active_only,
                                                     int limit);
  // The node that the fault is on. NotFound: no fault has that id.
  absl::StatusOr<std::string> NodeOfFault(absl::string_view fault);
  // Commanded before `end` and not undone before `begin`; oldest first.
  absl::StatusOr<std::vector<v1::FaultState>> FaultsBetween(std::int64_t begin_ns,
                                                            std::int64_t end_ns);

  absl::StatusOr<std::vector<EpochRow>> Epochs(std::int64_t node);
  // The schema of row `id`.
  absl::StatusOr<v1::Schema> FindSchema(std::int64_t id);
  // Rows of the schemas that the node's batches of the range follow, oldest first.
  absl::StatusOr<std::vector<std::int64_t>> SchemasUsed(const BatchRange& range);

  // Newest batch of all; what is stored later has a higher id.
  absl::StatusOr<std::int64_t> LastBatch();
  // The next of the range after (end_ns, id) = `after`, in that order, at most `limit`.
  absl::StatusOr<std::vector<BatchRow>> Batches(const BatchRange& range, const BatchRow& after,
                                                int limit);
  absl::StatusOr<std::int64_t> CountBatches(const BatchRange& range);

  // Gaps whose window touches the range or is not known.
  absl::StatusOr<std::vector<GapRow>> Gaps(std::int64_t begin_ns, std::int64_t end_ns);
  absl::StatusOr<std::vector<EventRow>> Events(std::int64_t begin_ns, std::int64_t end_ns);
  // Every entity of the epochs that have batches in the range, once, by node, table and name.
  absl::StatusOr<std::vector<EntityRow>> Entities(std::int64_t begin_ns, std::int64_t end_ns);

 private:
  explicit Catalogue(std::unique_ptr<Database> database) : database_(std::move(database)) {}
  std::unique_ptr<Database> database_;
};

}  // namespace faultline
