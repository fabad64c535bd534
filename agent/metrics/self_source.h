// SPDX-License-Identifier: Apache-2.0
//
// Reads every SelfField: what the agent itself costs. Owned by the sampler, which reads it after
// all other sources; one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "agent/metrics/source.h"
#include "agent/metrics/text_files.h"

namespace faultline {

// What only the sampler knows.
struct SamplerFacts {
  // Since the start.
  std::int64_t skipped_ticks = 0;
  std::int64_t cgroups_folded = 0;
  // CLOCK_MONOTONIC, ns, when the sample began.
  std::int64_t begin_ns = 0;
};

class SelfSource final : public Source {
 public:
  // Both must outlive this.
  SelfSource(TextFiles* files, const SamplerFacts* facts) : files_(files), facts_(facts) {}

  absl::Status Add(size_t index, const Field& field) override;
  std::string Hook(const Field& field) const override;
  void Read(const Entities& entities, std::vector<Column>* columns) override;

  // CLOCK_MONOTONIC, ns.
  static std::int64_t Now();

 private:
  std::optional<std::int64_t> Value(SelfField field) const;

  TextFiles* const files_;
  const SamplerFacts* const facts_;
  std::vector<std::pair<size_t, SelfField>> wanted_;
};

}  // namespace faultline
