// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/side_files.h"

#include <algorithm>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "collector/dataset/csv.h"
#include "proto/words.h"

namespace faultline {
namespace {

// Fields that are appended one after the other.
class Line {
 public:
  Line& Text(absl::string_view text) {
    Separate();
    AppendField(text, &line_);
    return *this;
  }
  Line& Number(std::int64_t value) {
    Separate();
    absl::StrAppend(&line_, value);
    return *this;
  }
  // 0 means that there is none.
  Line& NumberIfAny(std::int64_t value) {
    Separate();
    if (value != 0) absl::StrAppend(&line_, value);
    return *this;
  }
  Line& Time(std::int64_t realtime_ns) {
    Separate();
    AppendTime(realtime_ns, &line_);
    return *this;
  }
  Line& Edge(const v1::Edge& edge) {
    const bool set = edge.boottime_ns() != 0;
    Time(set ? edge.realtime_ns() : 0);
    NumberIfAny(edge.boottime_ns());
    return set ? Number(edge.error_ns()) : Text("");
  }
  void EndInto(std::string* file) const { absl::StrAppend(file, line_, "\n"); }

 private:
  void Separate() {
    if (!first_) line_.push_back(',');
    first_ = false;
  }
  std::string line_;
  bool first_ = true;
};

// Sorted, so that equal parameters are equal text.
std::string ParametersJson(const v1::FaultSpec& spec) {
  std::string json = "{";
  const std::map<std::string, std::string> sorted(spec.parameters().begin(),
                                                  spec.parameters().end());
  for (const auto& [name, value] : sorted) {
    if (json.size() > 1) json += ", ";
    AppendJson(name, &json);
    json += ": ";
    AppendJson(value, &json);
  }
  return json + "}";
}

std::string DoseJson(const v1::FaultState& fault) {
  std::string json = "[";
  for (const v1::Dose& dose : fault.dose()) {
    if (json.size() > 1) json += ", ";
    json += "{\"name\": ";
    AppendJson(dose.name(), &json);
    json += ", \"unit\": ";
    AppendJson(dose.unit(), &json);
    absl::StrAppend(&json, ", \"value\": ", dose.value(),
                    ", \"gauge\": ", dose.gauge() ? "true" : "false", "}");
  }
  return json + "]";
}

std::string MovedJson(const std::vector<v1::Movement>& moved) {
  std::string json = "[";
  for (const v1::Movement& movement : moved) {
    if (json.size() > 1) json += ", ";
    json += "{\"metric\": ";
    AppendJson(movement.metric(), &json);
    json += ", \"entity\": ";
    AppendJson(movement.entity(), &json);
    json += ", \"quiet_median\": ";
    AppendDouble(movement.quiet_median(), &json);
    json += ", \"fault_median\": ";
    AppendDouble(movement.fault_median(), &json);
    json += ", \"score\": ";
    AppendDouble(movement.score(), &json);
    json += ", \"windows_outside\": ";
    AppendDouble(movement.windows_outside(), &json);
    absl::StrAppend(&json, ", \"symptom\": ", movement.symptom() ? "true" : "false", "}");
  }
  return json + "]";
}

std::string ShapeText(const v1::Shape& shape) {
  if (shape.kind() == v1::SHAPE_KIND_RAMP) return absl::StrCat("ramp ", shape.ramp_ns(), " ns");
  if (shape.kind() == v1::SHAPE_KIND_PULSE) {
    return absl::StrCat("pulse ", shape.on_ns(), " ns on ", shape.off_ns(), " ns off");
  }
  return "constant";
}

const char* KindName(v1::Kind kind) {
  if (kind == v1::KIND_COUNTER) return "counter";
  return kind == v1::KIND_HISTOGRAM ? "histogram" : "gauge";
}

std::string ReasonOf(const FaultInterval& fault) {
  const std::string& reason = fault.state.reason();
  if (reason.empty() || fault.note.empty()) return absl::StrCat(reason, fault.note);
  return absl::StrCat(reason, "; ", fault.note);
}

void AppendFault(const std::string& node, const FaultInterval& fault, std::string* file) {
  const v1::FaultState& state = fault.state;
  const v1::Edges& edges = state.edges();
  Line line;
  line.Text(state.spec().id())
      .Text(node)
      .Text(state.spec().type())
      .Text(TargetText(state.spec().target()))
      .Text(state.cgroup())
      .Text(ParametersJson(state.spec()))
      .Text(ShapeText(state.spec().shape()))
      .Text(absl::StrCat(state.spec().seed()))
      .Number(state.spec().duration_ns())
      .Number(fault.Begin())
      .Text(state.sham() ? "1" : "0")
      .Text(PhaseWord(state.phase()))
      .Edge(edges.commanded())
      .Edge(edges.acked())
      .Edge(edges.first_touch())
      .Edge(edges.last_touch())
      .Edge(edges.undone());
  const bool recovered = fault.recovered_ns > fault.End();
  line.NumberIfAny(recovered ? fault.recovered_ns : 0)
      .Text(state.boot_id())
      .Text(DoseJson(state))
      .Text(VerdictWord(fault.verdict))
      .Text(MovedJson(fault.moved))
      .Text(absl::StrJoin(state.residue(), "; "))
      .Text(ReasonOf(fault));
  line.EndInto(file);
}

}  // namespace

std::string FaultsCsv(const std::vector<NodeData>& nodes) {
  std::string file =
      "fault_id,node,type,target,cgroup,parameters,shape,seed,duration_ns,start_boottime_ns,sham,"
      "phase";
  for (const char* edge : {"commanded", "acked", "first_touch", "last_touch", "undone"}) {
    absl::StrAppend(&file, ",", edge, ",", edge, "_boottime_ns,", edge, "_error_ns");
  }
  file += ",recovered_boottime_ns,boot_id,dose,verdict,moved,residue,reason\n";
  for (const NodeData& node : nodes) {
    for (const FaultInterval& fault : node.faults) AppendFault(node.name, fault, &file);
  }
  return file;
}

std::string TargetsCsv(const v1::Run& run) {
  std::string file = "node,target,hold,held,remark\n";
  for (const v1::RunTarget& target : run.targets()) {
    file += CsvLine({target.node(), TargetText(target.target()), target.hold_id(),
                     HeldWord(target.held()), target.remark()});
  }
  return file;
}

std::string MetricsCsv(const Layout& layout) {
  std::string file = "table,column,unit,kind,metric,hook,availability,reason,meaning\n";
  for (const OutputTable& table : layout.tables()) {
    for (const OutputColumn& column : table.columns) {
      const v1::Column& metric = column.metric;
      file += CsvLine({table.name, column.name, column.unit, KindName(metric.kind()),
                       metric.metric(), metric.hook(), AvailabilityWord(metric.availability()),
                       metric.reason(), metric.meaning()});
    }
  }
  return file;
}

std::string NodesCsv(const std::vector<NodeData>& nodes) {
  std::string file =
      "node,hostname,kernel,arch,cpu_model,cpus,memory_bytes,os,cgroup_mode,agent_version,"
      "interval_ns,boot_id\n";
  for (const NodeData& node : nodes) {
    const v1::Node& about = node.status.node();
    Line line;
    line.Text(about.id())
        .Text(about.hostname())
        .Text(about.kernel())
        .Text(about.arch())
        .Text(about.cpu_model())
        .NumberIfAny(about.cpus())
        .NumberIfAny(about.memory_bytes())
        .Text(about.os())
        .Text(about.cgroup_mode())
        .Text(about.agent_version())
        .Number(node.status.interval_ns())
        .Text(about.boot_id());
    line.EndInto(&file);
  }
  return file;
}

std::string EntitiesCsv(const std::vector<EntityRow>& entities, const Tally& tally) {
  std::string file = "node,table,entity,unit,container\n";
  for (const EntityRow& row : entities) {
    const auto table =
        std::find_if(tally.tables.begin(), tally.tables.end(),
                     [&](const TableTally& one) { return one.name == row.entity.table(); });
    // An agent that went on after the run has seen others since.
    if (table == tally.tables.end() || !table->entities.contains({row.node, row.entity.name()})) {
      continue;
    }
    file += CsvLine({row.node, row.entity.table(), row.entity.name(), row.entity.unit(),
                     row.entity.container()});
  }
  return file;
}

std::string GapsCsv(const std::vector<GapRow>& gaps) {
  std::string file =
      "node,epoch,first_sequence,last_sequence,begin,end,begin_boottime_ns,end_boottime_ns,samples,"
      "reason\n";
  for (const GapRow& row : gaps) {
    const v1::Gap& gap = row.gap;
    Line line;
    line.Text(row.node)
        .Text(absl::BytesToHexString(row.epoch))
        .NumberIfAny(static_cast<std::int64_t>(gap.first_sequence()))
        .NumberIfAny(static_cast<std::int64_t>(gap.last_sequence()))
        .Time(row.begin_ns)
        .Time(row.end_ns)
        .NumberIfAny(gap.begin_boottime_ns())
        .NumberIfAny(gap.end_boottime_ns());
    // Of a batch that only we know to be lost, we never saw what was in it.
    if (gap.begin_boottime_ns() == 0) {
      line.NumberIfAny(gap.samples());
    } else {
      line.Number(gap.samples());
    }
    line.Text(gap.reason());
    line.EndInto(&file);
  }
  return file;
}

std::string EventsCsv(const std::vector<EventRow>& events) {
  std::string file = "time,node,kind,detail,boottime_ns,boot_id\n";
  for (const EventRow& row : events) {
    Line line;
    line.Time(row.realtime_ns)
        .Text(row.node)
        .Text(row.event.kind())
        .Text(row.event.detail())
        .NumberIfAny(row.event.boottime_ns())
        .Text(row.boot_id);
    line.EndInto(&file);
  }
  return file;
}

}  // namespace faultline
