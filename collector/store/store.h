// SPDX-License-Identifier: Apache-2.0
//
// The collector's memory: one SQLite file in the state directory, with everything that nodes
// delivered and everything that was said about them. This is its writing side; Catalogue reads.
// Every method may be called by any thread and returns at once; `done` is called on the writer's
// thread after the commit and must not block. What `done` reports as OK survives a power cut.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "collector/store/catalogue.h"
#include "collector/store/checked_batch.h"
#include "collector/store/writer.h"
#include "faultline/v1/datasets.pb.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

struct HelloOutcome {
  // As v1::Welcome.durable_sequence.
  std::uint64_t durable_sequence = 0;
  // What the node's batches may follow: the newest schemas that it ever described.
  std::vector<v1::Schema> schemas;
};

struct BatchOutcome {
  // As v1::Ack.durable_sequence, of the batch's epoch.
  std::uint64_t durable_sequence = 0;
  // It had been stored, or named lost, before.
  bool duplicate = false;
  // Faults whose newest state came with it.
  std::vector<v1::FaultState> faults;
};

struct Rejection {
  std::string epoch;
  std::uint64_t sequence = 0;
  // Why.
  std::string reason;
  // Unset: the node is asked for a gap record first.
  std::optional<v1::Gap> lost;
};

class Store {
 public:
  // Opens or makes `directory` and the store in it. FailedPrecondition: another collector has it,
  // or its layout is not ours; DataLoss: damaged.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& directory, Clock* clock);
  // Commits everything submitted.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Who the node is and what it will send. InvalidArgument: it used this schema id for other
  // columns before.
  void SaveHello(v1::Hello hello, std::function<void(absl::StatusOr<HelloOutcome>)> done);

  // Stores the batch with the mark of its epoch, or finds that it has it. FailedPrecondition: the
  // node never described its schema.
  void SaveBatch(const std::string& node, std::shared_ptr<const CheckedBatch> batch,
                 std::function<void(absl::StatusOr<BatchOutcome>)> done);

  // Notes why a batch can never be stored and, if `lost` is set, names it as a gap. Yields the
  // mark.
  void SaveReject(const std::string& node, const Rejection& rejection,
                  std::function<void(absl::StatusOr<std::uint64_t> durable_sequence)> done);

  // A state that was told outside of a batch. Yields whether it was news.
  void SaveFault(const std::string& node, v1::FaultState fault,
                 std::function<void(absl::StatusOr<bool> news)> done);

  // As v1::Runs; a run begins and ends when it is stored. `run` has a name, a note and targets.
  void StartRun(const v1::Run& run, std::function<void(absl::StatusOr<v1::Run>)> done);
  void StopRun(const std::string& name, std::function<void(absl::StatusOr<v1::Run>)> done);
  // The targets of `run` replace those that are stored.
  void SaveTargets(const v1::Run& run, std::function<void(absl::StatusOr<v1::Run>)> done);

  // Commits a page that is there already: whether the writer and its disk still work.
  void Probe(std::function<void(const absl::Status&)> done);

  // A reading connection of its own, for one thread at a time.
  absl::StatusOr<std::unique_ptr<Catalogue>> OpenCatalogue() const;

  const std::string& path() const { return path_; }

 private:
  struct LockFile;
  Store(std::string path, std::unique_ptr<LockFile> lock, Clock* clock);

  std::string path_;
  Clock* clock_;
  std::unique_ptr<LockFile> lock_;
  // Declared last: it commits before the lock goes.
  std::unique_ptr<Writer> writer_;
};

}  // namespace faultline
