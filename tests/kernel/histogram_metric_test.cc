// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>

#include "base/bpf_object.h"
#include "bpf/histogram_check.skel.h"
#include "bpf/metric.h"

namespace faultline {
namespace {

using Values = std::array<std::uint64_t, 1024>;

class HistogramInKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<BpfObject>> object =
        BpfObject::Open("histogram_check", SkeletonBytes<histogram_check_bpf>());
    ASSERT_TRUE(object.ok()) << object.status();
    object_ = *std::move(object);
    const absl::Status status = object_->Load();
    ASSERT_TRUE(status.ok()) << status;
    program_ = bpf_program__fd(*object_->Program("check"));
    values_ = bpf_map__fd(*object_->Map("check_values"));
    buckets_ = bpf_map__fd(*object_->Map("check_buckets"));
  }

  void ExpectSameBuckets(const Values& values) {
    const std::uint32_t zero = 0;
    ASSERT_EQ(bpf_map_update_elem(values_, &zero, values.data(), BPF_ANY), 0);
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    ASSERT_EQ(bpf_prog_test_run_opts(program_, &options), 0);
    ASSERT_EQ(options.retval, 1U);
    Values buckets;
    ASSERT_EQ(bpf_map_lookup_elem(buckets_, &zero, buckets.data()), 0);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(buckets[i], histogram_bucket(values[i])) << values[i];
    }
  }

  std::unique_ptr<BpfObject> object_;
  int program_ = -1;
  int values_ = -1;
  int buckets_ = -1;
};

TEST_F(HistogramInKernel, EveryBoundOfEveryBucketAgrees) {
  Values values{};
  size_t next = 0;
  for (std::uint32_t bucket = 1; bucket < HISTOGRAM_BUCKETS; ++bucket) {
    const std::uint64_t lower = histogram_lower_bound(bucket);
    values[next++] = lower - 1;
    values[next++] = lower;
    values[next++] = lower + 1;
  }
  values[next++] = UINT64_MAX;
  ExpectSameBuckets(values);
}

TEST_F(HistogramInKernel, AMillionRandomValuesAgree) {
  std::mt19937_64 random(20);
  for (int round = 0; round < 1000; ++round) {
    Values values;
    for (std::uint64_t& value : values) value = random() >> (random() % 64);
    ExpectSameBuckets(values);
  }
}

}  // namespace
}  // namespace faultline
