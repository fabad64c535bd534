// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/bpf_source.h"

namespace faultline {
namespace {

class NoBpfSource final : public Source {
 public:
  absl::Status Add(size_t /*index*/, const Field& /*field*/) override {
    return absl::UnimplementedError("BPF sources are not in this build");
  }
  void Read(const Entities& /*entities*/, std::vector<Column>* /*columns*/) override {}
};

}  // namespace

std::unique_ptr<Source> MakeBpfSource(const CgroupIndex& /*cgroups*/,
                                      const Entities& /*entities_at_start*/) {
  return std::make_unique<NoBpfSource>();
}

}  // namespace faultline
