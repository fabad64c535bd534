// SPDX-License-Identifier: Apache-2.0
//
// net.loss: packets of a control group that never arrive, in either direction. Real loss: the
// sender is not told, so TCP has to find out and UDP never does.
#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/faults/fault.h"
#include "injector/host/dose.h"

namespace faultline {
namespace {

absl::StatusOr<std::vector<std::string>> ParseDevices(const std::string& text) {
  std::vector<std::string> devices;
  for (absl::string_view word : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    std::string device(absl::StripAsciiWhitespace(word));
    if (std::find(devices.begin(), devices.end(), device) != devices.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("net.loss: device ", device, " is named twice; name it once"));
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

class NetLoss final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    const std::string& direction = request.parameters.Text("direction");
    absl::StatusOr<std::vector<std::string>> devices =
        ParseDevices(request.parameters.Text("device"));
    if (!devices.ok()) return devices.status();
    if (direction == "in" && !devices->empty()) {
      return absl::InvalidArgumentError(
          "net.loss: device chooses outbound packets only; leave it out or lose out or both");
    }
    LossSpec spec;
    spec.fault_id = request.spec.id();
    spec.cgroup = request.cgroup;
    constexpr double kPpmPerPercent = 10'000;
    spec.loss_ppm =
        static_cast<std::uint32_t>(std::lround(request.parameters.Number("loss") * kPpmPerPercent));
    spec.inbound = direction != "out";
    spec.outbound = direction != "in";
    spec.devices = *std::move(devices);
    spec.peers.assign(request.spec.peers().begin(), request.spec.peers().end());
    spec.exempt = request.exempt;
    spec.seed = request.spec.seed();
    spec.deadline_ns = request.deadline_ns;
    spec.shape = request.shape;
    spec.start_ns = request.start_ns;
    absl::StatusOr<std::vector<std::unique_ptr<Lever>>> links = host.Loss(spec);
    if (!links.ok()) return links.status();
    for (std::unique_ptr<Lever>& link : *links) levers->push_back(std::move(link));

    notes->push_back(LossNote(request));
    notes->push_back(
        "a socket stays in the control group that it was made in: connections and listeners that a "
        "process made before it was moved into this group are not met, and those that it takes "
        "elsewhere are");
    notes->push_back(
        "the draw is per buffer: with segmentation offload one lost buffer is many packets, so "
        "loss comes in bursts; the dose counts both");
    if (absl::Status kept = host.Probe("ledger"); !kept.ok()) notes->emplace_back(kept.message());
    return absl::OkStatus();
  }

  // The programs count; their sums are the dose.
  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    Evidence sum;
    for (const std::unique_ptr<Lever>& lever : levers) {
      const Evidence one = lever->Measure();
      if (!one.missing.empty()) {
        // The sum of the others would look like less than was known before.
        Evidence unknown;
        unknown.missing = one.missing;
        return unknown;
      }
      Add(one, &sum);
    }
    return sum;
  }

 private:
  // The percentage as it was understood, which "0.5" leaves open.
  static std::string LossNote(const Request& request) {
    const double percent = request.parameters.Number("loss");
    std::string note = absl::StrCat(percent, " % of the packets are lost");
    const bool bare = !absl::StrContains(request.parameters.Text("loss"), '%');
    if (bare && percent <= 1) {
      absl::StrAppend(&note,
                      ": loss is a percentage; if you meant a fraction, write loss=", 100 * percent,
                      "%");
    }
    return note;
  }

  static void Add(const Evidence& one, Evidence* sum) {
    for (const v1::Dose& dose : one.dose) {
      const auto known =
          std::find_if(sum->dose.begin(), sum->dose.end(),
                       [&](const v1::Dose& each) { return each.name() == dose.name(); });
      if (known == sum->dose.end()) {
        sum->dose.push_back(dose);
      } else {
        known->set_value(known->value() + dose.value());
      }
    }
    if (one.first_touch_ns != 0 &&
        (sum->first_touch_ns == 0 || one.first_touch_ns < sum->first_touch_ns)) {
      sum->first_touch_ns = one.first_touch_ns;
    }
    sum->last_touch_ns = std::max(sum->last_touch_ns, one.last_touch_ns);
  }
};

}  // namespace

std::unique_ptr<Fault> MakeNetLoss() { return std::make_unique<NetLoss>(); }

// Outbound may still be refused, with its own reason: inbound alone is worth having.
absl::Status ProbeNetLoss(Host& host) { return host.Probe("loss"); }

}  // namespace faultline
