// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/sampler.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/metrics/bpf_source.h"
#include "agent/metrics/cgroup_source.h"
#include "agent/metrics/cgroups.h"
#include "agent/metrics/choice.h"
#include "agent/metrics/encode.h"
#include "agent/metrics/file_source.h"
#include "agent/metrics/increments.h"
#include "agent/metrics/inventory.h"
#include "agent/metrics/perf_source.h"
#include "agent/metrics/self_source.h"
#include "agent/metrics/text_files.h"
#include "base/clock.h"
#include "base/log.h"

namespace faultline {
namespace {

// Index of kind T in the variant Field.
template <typename T>
constexpr size_t FieldIndex() {
  return Field(T{}).index();
}

v1::Kind ToProto(Kind kind) {
  switch (kind) {
    case Kind::kCounter:
      return v1::KIND_COUNTER;
    case Kind::kGauge:
      return v1::KIND_GAUGE;
    case Kind::kHistogram:
      return v1::KIND_HISTOGRAM;
  }
  return v1::KIND_UNSPECIFIED;
}

// FNV-1a, 64 bits: the same on every machine and in every version.
std::uint64_t Fingerprint(absl::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char byte : bytes) {
    hash ^= static_cast<unsigned char>(byte);
    hash *= 0x100000001b3U;
  }
  return hash;
}

v1::Schema MakeSchema(const std::vector<Choice>& choices) {
  v1::Schema schema;
  for (int table = 0; table < kTables; ++table) {
    schema.add_tables()->set_name(TableName(static_cast<Table>(table)));
  }
  for (size_t i = 0; i < choices.size(); ++i) {
    const Metric& metric = Metrics()[i];
    v1::Column* const column = schema.mutable_tables(static_cast<int>(metric.table))->add_columns();
    column->set_name(metric.column);
    column->set_metric(metric.name);
    column->set_unit(metric.unit);
    column->set_kind(ToProto(metric.kind));
    column->set_scale(metric.scale);
    column->set_hook(choices[i].hook);
    column->set_meaning(metric.meaning);
    column->set_availability(choices[i].availability);
    column->set_reason(choices[i].reason);
  }
  schema.set_id(Fingerprint(schema.SerializeAsString()));
  return schema;
}

// Descriptors held open grow with the control groups; the soft limit of 1024 is for select(2),
// which nothing here uses.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    LogWarning("the limit of open files stays at its soft value");
  }
}

class HostSampler final : public Sampler {
 public:
  HostSampler(const SamplerOptions& options, std::unique_ptr<CgroupIndex> cgroups,
              std::unique_ptr<std::uint64_t> next_id)
      : next_id_(std::move(next_id)),
        files_(options.proc, options.sys),
        cgroups_(std::move(cgroups)),
        inventory_(&files_, cgroups_.get(), next_id_.get()),
        file_source_(&files_),
        cgroup_source_(cgroups_.get()),
        self_source_(&files_, &facts_) {
    files_.BeginTick();
    inventory_.Refresh();
    if (options.kernel) {
      bpf_source_ = MakeBpfSource(*cgroups_, inventory_.entities());
      perf_source_ = std::make_unique<PerfSource>(&files_);
    }
    Choose();
  }

  const v1::Schema& schema() const override { return schema_; }

  void CountSkippedTicks(std::int64_t ticks) override { facts_.skipped_ticks += ticks; }

  void Sample(v1::Frame* frame, v1::Batch* batch) override {
    facts_.begin_ns = SelfSource::Now();
    files_.BeginTick();
    inventory_.Refresh();
    facts_.cgroups_folded = static_cast<std::int64_t>(cgroups_->folded());

    Encode(ReadSources(), frame);
    ListEntities(batch);
    TellFolded(batch);
  }

 private:
  // The sources in the order of reading: ourselves last, so that the cost of the others is in it.
  std::vector<Source*> Sources() {
    std::vector<Source*> sources = {&file_source_, &cgroup_source_};
    if (perf_source_ != nullptr) sources.push_back(perf_source_.get());
    if (bpf_source_ != nullptr) sources.push_back(bpf_source_.get());
    sources.push_back(&self_source_);
    return sources;
  }
  void Choose();
  std::vector<Column> ReadSources();
  void Encode(std::vector<Column> columns, v1::Frame* frame);
  void ListEntities(v1::Batch* batch) const;
  void TellFolded(v1::Batch* batch) const;

  const std::unique_ptr<std::uint64_t> next_id_;
  TextFiles files_;
  SamplerFacts facts_;
  const std::unique_ptr<CgroupIndex> cgroups_;
  Inventory inventory_;
  FileSource file_source_;
  CgroupSource cgroup_source_;
  SelfSource self_source_;
  // Null without the kernel.
  std::unique_ptr<Source> bpf_source_;
  std::unique_ptr<Source> perf_source_;
  Increments increments_;
  v1::Schema schema_;
};

void HostSampler::Choose() {
  SourceByField by_field{};
  by_field[FieldIndex<FileField>()] = &file_source_;
  by_field[FieldIndex<CgroupField>()] = &cgroup_source_;
  by_field[FieldIndex<BpfField>()] = bpf_source_.get();
  by_field[FieldIndex<BpfCostField>()] = bpf_source_.get();
  by_field[FieldIndex<PerfField>()] = perf_source_.get();
  by_field[FieldIndex<SelfField>()] = &self_source_;
  schema_ = MakeSchema(ChooseFields(by_field, "BPF and perf events are switched off"));
  if (bpf_source_ != nullptr) inventory_.Add(Table::kBpf, bpf_source_->EntityNames(Table::kBpf));
}

std::vector<Column> HostSampler::ReadSources() {
  const absl::Span<const Metric> metrics = Metrics();
  std::vector<Column> columns(metrics.size());
  for (size_t i = 0; i < metrics.size(); ++i) {
    const size_t rows = inventory_.entities()[static_cast<size_t>(metrics[i].table)].size();
    if (metrics[i].kind == Kind::kHistogram) {
      columns[i].histograms.resize(rows);
    } else {
      columns[i].values.resize(rows);
    }
  }
  for (Source* source : Sources()) source->Read(inventory_.entities(), &columns);
  return columns;
}

void HostSampler::Encode(std::vector<Column> columns, v1::Frame* frame) {
  std::optional<Table> begun;
  v1::TableFrame* table = nullptr;
  for (size_t i = 0; i < columns.size(); ++i) {
    const Metric& metric = Metrics()[i];
    if (metric.table == Table::kFault) continue;
    if (begun != metric.table) {
      begun = metric.table;
      const std::vector<Entity>& entities = inventory_.entities()[static_cast<size_t>(*begun)];
      increments_.BeginTable(*begun, entities);
      table = frame->add_tables();
      table->set_table(static_cast<std::uint32_t>(*begun));
      for (const Entity& entity : entities) table->add_entities(entity.id);
    }
    v1::ColumnFrame* const column = table->add_columns();
    switch (metric.kind) {
      case Kind::kCounter:
        EncodeValues(increments_.OfCounter(i, std::move(columns[i].values)), column);
        break;
      case Kind::kGauge:
        EncodeValues(columns[i].values, column);
        break;
      case Kind::kHistogram:
        EncodeHistograms(increments_.OfHistogram(i, std::move(columns[i].histograms)), column);
        break;
    }
  }
}

void HostSampler::ListEntities(v1::Batch* batch) const {
  absl::flat_hash_set<std::uint64_t> listed;
  for (const v1::Entity& entity : batch->entities()) listed.insert(entity.id());
  for (int table = 0; table < kTables; ++table) {
    for (const Entity& entity : inventory_.entities()[static_cast<size_t>(table)]) {
      if (!listed.insert(entity.id).second) continue;
      v1::Entity* const added = batch->add_entities();
      added->set_id(entity.id);
      added->set_table(TableName(static_cast<Table>(table)));
      added->set_name(entity.name);
      added->set_unit(entity.unit);
      added->set_container(entity.container);
    }
  }
}

void HostSampler::TellFolded(v1::Batch* batch) const {
  // A host may have thousands of groups; a few names show what kind they are of.
  constexpr size_t kNamed = 5;
  std::vector<std::string> names = cgroups_->TakeNewlyFolded();
  if (names.empty()) return;
  const size_t count = names.size();
  names.resize(std::min(count, kNamed));
  v1::Event* const event = batch->add_events();
  event->set_boottime_ns(Clock::System().Now().boottime_ns);
  event->set_kind("entities_folded");
  event->set_detail(absl::StrCat(count, " control groups have no row of their own and count in ",
                                 "~other: ", absl::StrJoin(names, ", "),
                                 count > kNamed ? ", ..." : ""));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::Create(const SamplerOptions& options) {
  if (::access((options.proc + "/stat").c_str(), R_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.proc, "/stat cannot be read; is proc mounted?"));
  }
  RaiseDescriptorLimit();
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read(options.proc);
  if (!tree.ok()) LogWarning("control groups are not measured: ", tree.status().message());
  auto next_id = std::make_unique<std::uint64_t>(1);
  absl::StatusOr<std::unique_ptr<CgroupIndex>> cgroups = CgroupIndex::Create(
      tree.ok() ? *std::move(tree) : CgroupTree(), options.max_cgroups, next_id.get());
  if (!cgroups.ok()) return cgroups.status();
  return std::make_unique<HostSampler>(options, *std::move(cgroups), std::move(next_id));
}

}  // namespace faultline
