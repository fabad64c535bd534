// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/node_data.h"

#include <limits>
#include <utility>

#include "collector/dataset/verdict.h"

namespace faultline {
namespace {

// From "injector_lost" to "injector_found" or "injector_absent" of the same boot, or to the end of
// it. The agent stamps the first with the begin of the window at whose end it noticed, the others
// with the end of their window: both windows belong to the span, their neighbours do not.
std::vector<Span> UnseenSpans(const std::vector<EventRow>& events, const std::string& node) {
  std::vector<Span> spans;
  bool open = false;
  for (const EventRow& row : events) {
    if (row.node != node) continue;
    if (row.event.kind() == "injector_lost" && !open) {
      spans.push_back(
          {row.boot_id, row.event.boottime_ns(), std::numeric_limits<std::int64_t>::max()});
      open = true;
    } else if (open &&
               (row.event.kind() == "injector_found" || row.event.kind() == "injector_absent")) {
      // Another boot: the lost one ended with its own, which the span already says.
      if (!OtherBoot(spans.back().boot_id, row.boot_id)) {
        spans.back().end_ns = row.event.boottime_ns();
      }
      open = false;
    }
  }
  return spans;
}

}  // namespace

const std::string& NodeData::BootOf(std::int64_t epoch) const {
  static const std::string unknown;
  const auto found = boot_ids.find(epoch);
  return found == boot_ids.end() ? unknown : found->second;
}

bool IsWithin(const v1::Frame& frame, std::int64_t begin_ns, std::int64_t end_ns) {
  const std::int64_t offset = frame.realtime_offset_ns();
  return frame.begin_boottime_ns() + offset >= begin_ns &&
         frame.end_boottime_ns() + offset <= end_ns;
}

absl::StatusOr<std::vector<NodeData>> LoadNodes(Catalogue* catalogue, const v1::Run& run) {
  const auto last = catalogue->LastBatch();
  if (!last.ok()) return last.status();
  auto rows = catalogue->Nodes();
  if (!rows.ok()) return rows.status();
  // One that ended shortly before the run may still be recovered from in it.
  const auto faults =
      catalogue->FaultsBetween(run.begin_realtime_ns() - kMaxRecoveryNs, run.end_realtime_ns());
  if (!faults.ok()) return faults.status();
  // An injector lost before the run may be unseen in it.
  const auto events = catalogue->Events(0, run.end_realtime_ns());
  if (!events.ok()) return events.status();
  std::vector<NodeData> nodes;
  for (NodeRow& row : *rows) {
    NodeData node;
    node.name = row.status.node().id();
    node.range = {row.id, run.begin_realtime_ns(), run.end_realtime_ns(), *last};
    node.status = std::move(row.status);
    const auto batches = catalogue->CountBatches(node.range);
    if (!batches.ok()) return batches.status();
    node.batches = *batches;
    const auto epochs = catalogue->Epochs(row.id);
    if (!epochs.ok()) return epochs.status();
    for (const EpochRow& epoch : *epochs) node.boot_ids[epoch.id] = epoch.boot_id;
    for (const v1::FaultState& fault : *faults) {
      if (fault.node() != node.name) continue;
      FaultInterval interval;
      interval.state = fault;
      interval.recovered_ns = interval.End();
      node.faults.push_back(std::move(interval));
    }
    node.unseen = UnseenSpans(*events, node.name);
    if (node.batches > 0 || !node.faults.empty()) nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace faultline
