// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "tests/fake_clock.h"

namespace faultline {
namespace {

class OneGauge final : public Sampler {
 public:
  OneGauge() {
    schema_.set_id(42);
    schema_.add_tables()->set_name("host");
    schema_.mutable_tables(0)->add_columns()->set_name("x");
  }
  const v1::Schema& schema() const override { return schema_; }
  void Sample(v1::Frame* frame, v1::Batch* batch) override {
    batch->add_entities()->set_id(1);
    v1::TableFrame* table = frame->add_tables();
    table->add_entities(1);
    table->add_columns()->add_values(++count_);
  }
  void CountSkippedTicks(std::int64_t ticks) override { skipped_ += ticks; }

  std::int64_t count_ = 0;
  std::int64_t skipped_ = 0;

 private:
  v1::Schema schema_;
};

TEST(Agent_Run, WindowsTouchAndTicksRise) {
  FakeClock clock(/*jump=*/true);
  OneGauge sampler;
  Outbox outbox("epoch", 1 << 20);
  std::stop_source stop;
  int batches = 0;
  Agent agent({&sampler, &outbox, &clock,
               [](bool* connected) {
                 *connected = false;
                 return std::vector<v1::FaultState>();
               },
               [&] {
                 ++batches;
                 // A stall of three intervals and a half after the second tick.
                 if (batches == 2) clock.Advance(3500 * kNsPerMs);
                 if (batches == 4) clock.StepRealtime(-7200 * kNsPerSecond);
                 if (batches == 6) stop.request_stop();
               }},
              kNsPerSecond);
  agent.Run(stop.get_token());
  ASSERT_EQ(outbox.size(), 6U);
  std::int64_t end = 0;
  std::int64_t index = 0;
  int steps = 0;
  for (std::uint64_t s = 0; s < 6; ++s) {
    const v1::EncodedBatch encoded = *outbox.After(s);
    std::string plain(encoded.decoded_bytes(), '\0');
    ZSTD_decompress(plain.data(), plain.size(), encoded.payload().data(), encoded.payload().size());
    v1::Batch batch;
    ASSERT_TRUE(batch.ParseFromString(plain));
    EXPECT_EQ(batch.schema_id(), 42U);
    const v1::Frame& frame = batch.frames(0);
    if (end != 0) {
      EXPECT_EQ(frame.begin_boottime_ns(), end);
    }
    end = frame.end_boottime_ns();
    EXPECT_GT(frame.tick(), index);
    index = frame.tick();
    for (const v1::Event& event : batch.events()) steps += event.kind() == "clock_step" ? 1 : 0;
  }
  EXPECT_EQ(sampler.skipped_, 3);
  EXPECT_EQ(steps, 1);
}

}  // namespace
}  // namespace faultline
