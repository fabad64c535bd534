// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/choice.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/match.h"

namespace faultline {
namespace {

// Says yes or no as it is told, at Add or at Start.
class FakeSource final : public Source {
 public:
  absl::Status Add(size_t index, const Field& /*field*/) override {
    if (!add.ok()) return add;
    added.push_back(index);
    return absl::OkStatus();
  }
  std::vector<std::pair<size_t, absl::Status>> Start() override {
    std::vector<std::pair<size_t, absl::Status>> failures;
    if (start.ok()) return failures;
    for (const size_t index : added) failures.emplace_back(index, start);
    return failures;
  }
  std::string Hook(const Field& /*field*/) const override { return "a hook"; }
  void Read(const Entities& /*entities*/, std::vector<Column>* /*columns*/) override {}

  absl::Status add;
  absl::Status start;
  std::vector<size_t> added;
};

template <typename T>
constexpr size_t kIndex = Field(T{}).index();

class ChooseFieldsTest : public testing::Test {
 protected:
  ChooseFieldsTest() {
    sources_[kIndex<FileField>] = &files_;
    sources_[kIndex<CgroupField>] = &cgroups_;
    sources_[kIndex<BpfField>] = &bpf_;
    sources_[kIndex<BpfCostField>] = &bpf_;
    sources_[kIndex<PerfField>] = &perf_;
    sources_[kIndex<SelfField>] = &self_;
  }
  // The choice for a column of a table.
  Choice Of(Table table, absl::string_view column) {
    const std::vector<Choice> choices = ChooseFields(sources_, "switched off");
    for (size_t i = 0; i < choices.size(); ++i) {
      if (Metrics()[i].table == table && Metrics()[i].column == column) return choices[i];
    }
    ADD_FAILURE() << "no column " << column;
    return {};
  }

  SourceByField sources_{};
  FakeSource files_;
  FakeSource cgroups_;
  FakeSource bpf_;
  FakeSource perf_;
  FakeSource self_;
};

TEST_F(ChooseFieldsTest, FirstChoiceWorks_IsAvailable) {
  const Choice choice = Of(Table::kCgroup, "cgroup_cpu_time_ns");
  EXPECT_EQ(choice.availability, v1::AVAILABILITY_AVAILABLE);
  EXPECT_EQ(choice.hook, "a hook");
  EXPECT_EQ(choice.reason, "");
}

TEST_F(ChooseFieldsTest, FirstChoiceRefused_FallsBackAndSaysWhatThatCosts) {
  bpf_.add = absl::PermissionDeniedError("no\nCAP_BPF");
  const Choice choice = Of(Table::kCgroup, "cgroup_cpu_time_ns");
  EXPECT_EQ(choice.availability, v1::AVAILABILITY_DEGRADED);
  EXPECT_TRUE(absl::StrContains(choice.reason, "counts the groups below it")) << choice.reason;
  EXPECT_TRUE(absl::StrContains(choice.reason, "forbidden: no CAP_BPF")) << choice.reason;
}

TEST_F(ChooseFieldsTest, FirstChoiceFailsAtStart_FallsBackToo) {
  bpf_.start = absl::UnimplementedError("no such hook");
  EXPECT_EQ(Of(Table::kCgroup, "cgroup_cpu_time_ns").availability, v1::AVAILABILITY_DEGRADED);
  EXPECT_EQ(Of(Table::kDisk, "system_disk_read_bytes").availability, v1::AVAILABILITY_DEGRADED);
}

TEST_F(ChooseFieldsTest, NothingWorks_IsMissingWithTheReasons) {
  bpf_.start = absl::UnimplementedError("no such hook");
  cgroups_.add = absl::UnimplementedError("no controller");
  const Choice choice = Of(Table::kCgroup, "cgroup_cpu_time_ns");
  EXPECT_EQ(choice.availability, v1::AVAILABILITY_MISSING);
  EXPECT_EQ(choice.reason, "no such hook; no controller");
}

TEST_F(ChooseFieldsTest, NobodyReadsTheKind_IsMissing) {
  sources_[kIndex<PerfField>] = nullptr;
  const Choice choice = Of(Table::kCpu, "hw_cpu_cycles_count");
  EXPECT_EQ(choice.availability, v1::AVAILABILITY_MISSING);
  EXPECT_EQ(choice.reason, "switched off");
}

TEST_F(ChooseFieldsTest, Labels_AreAlwaysThere) {
  EXPECT_EQ(Of(Table::kFault, "active").availability, v1::AVAILABILITY_AVAILABLE);
}

}  // namespace
}  // namespace faultline
