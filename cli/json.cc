// SPDX-License-Identifier: Apache-2.0
#include "cli/json.h"

#include <algorithm>

#include "cli/parse.h"
#include "cli/timing.h"
#include "cli/words.h"
#include "proto/peer_text.h"

namespace faultline::cli {
namespace {

// An absl::string_view is no std::string_view, which is what the library takes.
Json Text(absl::string_view text) { return std::string(text); }

Json TextOrNull(absl::string_view text) { return text.empty() ? Json() : Text(text); }

Json NumberOrNull(std::int64_t number) { return number == 0 ? Json() : Json(number); }

Json EdgeJson(const v1::Edge& edge) {
  if (edge.boottime_ns() == 0) return {};
  return {{"boottime_ns", edge.boottime_ns()},
          {"realtime_ns", NumberOrNull(edge.realtime_ns())},
          {"error_ns", edge.error_ns()}};
}

Json EdgesJson(const v1::Edges& edges) {
  return {{"commanded", EdgeJson(edges.commanded())},
          {"acked", EdgeJson(edges.acked())},
          {"first_touch", EdgeJson(edges.first_touch())},
          {"last_touch", EdgeJson(edges.last_touch())},
          {"undone", EdgeJson(edges.undone())}};
}

Json SpecJson(const v1::FaultSpec& spec) {
  // The map's own order is random.
  std::vector<std::pair<std::string, std::string>> sorted(spec.parameters().begin(),
                                                          spec.parameters().end());
  std::sort(sorted.begin(), sorted.end());
  Json parameters = Json::object();
  for (const auto& [name, value] : sorted) parameters[name] = value;
  Json peers = Json::array();
  for (const v1::PeerFilter& peer : spec.peers()) peers.push_back(PeerText(peer));
  return {{"id", spec.id()},
          {"type", spec.type()},
          {"target", TargetText(spec.target())},
          {"parameters", parameters},
          {"peers", peers},
          {"shape", ShapeText(spec.shape())},
          {"seed", spec.seed()},
          {"duration_ns", spec.duration_ns()},
          {"start_delay_ns", NumberOrNull(spec.start_delay_ns())},
          {"start_realtime_ns", NumberOrNull(spec.start_realtime_ns())}};
}

Json Strings(const google::protobuf::RepeatedPtrField<std::string>& strings) {
  Json list = Json::array();
  for (const std::string& text : strings) list.push_back(text);
  return list;
}

Json ChangesJson(const google::protobuf::RepeatedPtrField<v1::Change>& changes) {
  Json list = Json::array();
  for (const v1::Change& change : changes) {
    list.push_back({{"kind", change.kind()},
                    {"object", change.object()},
                    {"attribute", change.attribute()},
                    {"before", change.before()},
                    {"after", change.after()},
                    {"steps", Strings(change.steps())}});
  }
  return list;
}

Json ParameterJson(const v1::ParameterInfo& parameter) {
  return {{"name", parameter.name()},       {"kind", parameter.kind()},
          {"unit", parameter.unit()},       {"minimum", parameter.minimum()},
          {"maximum", parameter.maximum()}, {"default", TextOrNull(parameter.default_value())},
          {"meaning", parameter.meaning()}};
}

Json MovementJson(const v1::Movement& moved) {
  return {{"metric", moved.metric()},
          {"entity", moved.entity()},
          {"quiet_median", moved.quiet_median()},
          {"fault_median", moved.fault_median()},
          {"score", moved.score()},
          {"windows_outside", moved.windows_outside()},
          {"symptom", moved.symptom()}};
}

std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

Json ToJson(const v1::FaultState& state) {
  Json json = SpecJson(state.spec());
  Json dose = Json::array();
  for (const v1::Dose& amount : state.dose()) {
    dose.push_back({{"name", amount.name()},
                    {"unit", amount.unit()},
                    {"value", amount.value()},
                    {"gauge", amount.gauge()}});
  }
  json["node"] = TextOrNull(state.node());
  json["phase"] = Text(PhaseWord(state.phase()));
  json["edges"] = EdgesJson(state.edges());
  json["dose"] = dose;
  json["verdict"] = TextOrNull(VerdictWord(state.verdict()));
  json["residue"] = Strings(state.residue());
  json["reason"] = TextOrNull(state.reason());
  json["cgroup"] = TextOrNull(state.cgroup());
  json["sham"] = state.sham();
  json["hold"] = state.hold();
  json["symptoms"] = Strings(state.symptoms());
  json["changes"] = ChangesJson(state.changes());
  json["start_boottime_ns"] = NumberOrNull(state.start_boottime_ns());
  json["deadline_boottime_ns"] = NumberOrNull(state.deadline_boottime_ns());
  json["boot_id"] = TextOrNull(state.boot_id());
  json["unknown_since_realtime_ns"] = NumberOrNull(state.unknown_since_realtime_ns());
  return json;
}

Json ToJson(const v1::FaultInfo& info) {
  Json parameters = Json::array();
  for (const v1::ParameterInfo& parameter : info.parameters()) {
    parameters.push_back(ParameterJson(parameter));
  }
  return {{"type", info.type()},
          {"meaning", info.meaning()},
          {"availability", Text(AvailabilityWord(info.availability()))},
          {"reason", TextOrNull(info.reason())},
          {"targets", Strings(info.targets())},
          {"peers", info.peers()},
          {"shapes", Strings(info.shapes())},
          {"hold", info.hold()},
          {"dose", info.dose()},
          {"symptoms", Strings(info.symptoms())},
          {"parameters", parameters}};
}

Json ToJson(const v1::Capabilities& capabilities) {
  Json types = Json::array();
  for (const v1::FaultInfo& info : capabilities.faults()) types.push_back(ToJson(info));
  return {{"types", types}, {"limits", ToJson(capabilities.limits())}};
}

Json ToJson(const v1::Limits& limits) {
  if (limits.max_faults() == 0) return {};
  return {
      {"max_faults", limits.max_faults()},         {"max_duration_ns", limits.max_duration_ns()},
      {"max_hour_share", limits.max_hour_share()}, {"protected", Strings(limits.protected_())},
      {"exempt", Strings(limits.exempt())},        {"autonomous", limits.autonomous()},
      {"stop_when", Strings(limits.stop_when())}};
}

Json ToJson(const v1::Plan& plan) {
  Json json = SpecJson(plan.spec());
  json["changes"] = ChangesJson(plan.changes());
  json["notes"] = Strings(plan.notes());
  return json;
}

Json ToJson(const v1::NodeStatus& node) {
  Json metrics = Json::array();
  for (const v1::TableSchema& table : node.schema().tables()) {
    for (const v1::Column& column : table.columns()) {
      metrics.push_back({{"table", table.name()},
                         {"column", column.name()},
                         {"availability", Text(AvailabilityWord(column.availability()))},
                         {"hook", column.hook()},
                         {"reason", TextOrNull(column.reason())}});
    }
  }
  return {{"node", node.node().id()},
          {"hostname", node.node().hostname()},
          {"kernel", node.node().kernel()},
          {"arch", node.node().arch()},
          {"cgroup_mode", node.node().cgroup_mode()},
          {"agent_version", node.node().agent_version()},
          {"connected", node.connected()},
          {"last_seen_realtime_ns", NumberOrNull(node.last_seen_realtime_ns())},
          {"last_frame_realtime_ns", NumberOrNull(node.last_frame_realtime_ns())},
          {"interval_ns", node.interval_ns()},
          {"batches", node.batches()},
          {"gaps", node.gaps()},
          {"injector_lost_realtime_ns", NumberOrNull(node.injector_lost_realtime_ns())},
          {"metrics", metrics}};
}

Json ToJson(const v1::Run& run) {
  Json targets = Json::array();
  for (const v1::RunTarget& target : run.targets()) {
    targets.push_back({{"node", target.node()},
                       {"target", TargetText(target.target())},
                       {"hold_id", target.hold_id()},
                       {"held", TextOrNull(HeldWord(target.held()))},
                       {"remark", TextOrNull(target.remark())}});
  }
  return {{"name", run.name()},
          {"begin_realtime_ns", run.begin_realtime_ns()},
          {"end_realtime_ns", NumberOrNull(run.end_realtime_ns())},
          {"note", run.note()},
          {"targets", targets}};
}

Json ToJson(const v1::ExportSummary& summary) {
  Json faults = Json::array();
  for (const v1::FaultSummary& fault : summary.faults()) {
    Json moved = Json::array();
    for (const v1::Movement& movement : fault.moved()) moved.push_back(MovementJson(movement));
    faults.push_back({{"fault", ToJson(fault.fault())}, {"moved", moved}});
  }
  return {{"rows", summary.rows()},
          {"samples", summary.samples()},
          {"rows_labelled", summary.rows_labelled()},
          {"gaps", summary.gaps()},
          {"faults", faults}};
}

std::string Pretty(const Json& json) { return Dump(json, 2); }
std::string OneLine(const Json& json) { return Dump(json, -1); }

}  // namespace faultline::cli
