// SPDX-License-Identifier: Apache-2.0
//
// The half of the check that asks the kernel: each type of fault of the demo has one claim in
// faults.csv that a counter of the kernel can contradict.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/demo/check.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;
// nginx's own memory moves by less while it serves.
constexpr std::int64_t kMemoryNoise_bytes = 8 * 1024 * 1024;

std::int64_t DoseOf(const FaultRow& fault, const std::string& name) {
  const auto found = fault.dose.find(name);
  return found == fault.dose.end() ? 0 : found->second;
}

// What the kernel counted while `fault` was in force; a retransmission follows its loss by up to a
// second (RFC 6298), so it looks a little longer than the fault lasted.
WitnessSpan SpanOf(const FaultRow& fault, const std::vector<WitnessSample>& samples,
                   std::int64_t after_ns) {
  return {samples, fault.commanded.boottime_ns, fault.undone.boottime_ns + after_ns};
}

std::string Seconds(std::int64_t ns) {
  return absl::StrFormat("%.3f s", static_cast<double>(ns) / 1e9);
}

Finding CheckThrottled(const FaultRow& fault, const std::vector<WitnessSample>& samples) {
  const WitnessSpan span = SpanOf(fault, samples, 0);
  const std::int64_t kernel = span.Growth(&WitnessSample::throttled_ns);
  const std::int64_t dose = DoseOf(fault, "throttled_ns");
  // The kernel adds to the counter when a CPU's throttling ends, one period (100 ms) at the most
  // after the fault, on each of its CPUs.
  const std::int64_t tolerance = std::max<std::int64_t>(dose / 20, 200'000'000);
  return {kernel > 0 && dose > 0 && std::abs(kernel - dose) <= tolerance,
          absl::StrCat("cpu.stat says the group was throttled for ", Seconds(kernel),
                       ", the dose says ", Seconds(dose))};
}

Finding CheckLoss(const FaultRow& fault, const std::vector<WitnessSample>& samples) {
  constexpr std::int64_t kLate_ns = 1'000'000'000;
  const WitnessSpan span = SpanOf(fault, samples, kLate_ns);
  const std::int64_t resent = span.Growth(&WitnessSample::retransmits);
  const std::int64_t dropped = DoseOf(fault, "packets_dropped");
  // Every lost segment that carries data is sent again, some more than once; lost
  // acknowledgements are not.
  const bool agrees = dropped > 0 && resent * 2 >= dropped;
  return {agrees, absl::StrCat("TCP_INFO of the server's connections says ", resent,
                               " segments were sent again, the dose says ", dropped,
                               " packets were dropped")};
}

Finding CheckRate(const FaultRow& fault, const std::vector<WitnessSample>& samples,
                  std::int64_t bits_per_second) {
  // Whole samples inside the fault.
  const WitnessSpan during(samples, fault.acked.boottime_ns + 500'000'000,
                           fault.undone.boottime_ns - 500'000'000);
  const WitnessSpan before(samples, fault.acked.boottime_ns - 5'000'000'000,
                           fault.acked.boottime_ns - 500'000'000);
  const auto rate = [](const WitnessSpan& span) {
    const double seconds = span.seconds();
    if (seconds <= 0) return 0.0;
    return static_cast<double>(span.Growth(&WitnessSample::sent_bytes)) * 8 / seconds;
  };
  const double limit = static_cast<double>(bits_per_second);
  // The queue's burst and what of other groups passes the device.
  const bool agrees = rate(during) > 0 && rate(during) <= 1.1 * limit && rate(before) > limit;
  return {agrees,
          absl::StrFormat("the device sent %s before and %s during the fault, its limit is %s",
                          AmountText(rate(before), "bit/s"), AmountText(rate(during), "bit/s"),
                          AmountText(limit, "bit/s"))};
}

Finding CheckLeak(const FaultRow& fault, const std::vector<WitnessSample>& samples) {
  const WitnessSpan span = SpanOf(fault, samples, 0);
  const std::int64_t held = DoseOf(fault, "held_bytes");
  const std::int64_t rise = span.Rise(&WitnessSample::memory_bytes);
  const std::int64_t left = span.Growth(&WitnessSample::memory_bytes);
  const bool rose = held > 0 && rise >= held * 9 / 10 - kMemoryNoise_bytes &&
                    rise <= held + held / 10 + kMemoryNoise_bytes;
  return {rose && left <= kMemoryNoise_bytes,
          absl::StrFormat("the group's memory rose by %.1f MiB and ended %+.1f MiB off, the dose "
                          "says %.1f MiB were held",
                          static_cast<double>(rise) / kMiB, static_cast<double>(left) / kMiB,
                          static_cast<double>(held) / kMiB)};
}

Finding CheckSham(const FaultRow& fault, const std::vector<WitnessSample>& samples) {
  const WitnessSpan span = SpanOf(fault, samples, 0);
  const std::int64_t throttled = span.Growth(&WitnessSample::throttled_ns);
  const std::int64_t rise = span.Rise(&WitnessSample::memory_bytes);
  const bool nothing = throttled == 0 && rise <= kMemoryNoise_bytes;
  return {nothing && span.covered(),
          absl::StrFormat("throttled for %s, memory rose by %.1f MiB, %d segments sent again",
                          Seconds(throttled), static_cast<double>(rise) / kMiB,
                          span.Growth(&WitnessSample::retransmits))};
}

Finding CheckOne(const FaultRow& fault, const std::vector<WitnessSample>& samples,
                 std::int64_t rate_bits) {
  if (fault.undone.boottime_ns == 0) return {false, "it was never undone"};
  if (!SpanOf(fault, samples, 0).covered()) {
    return {false, "the kernel's counters were not read all through it"};
  }
  if (fault.type == "cpu.limit") return CheckThrottled(fault, samples);
  if (fault.type == "net.loss") return CheckLoss(fault, samples);
  if (fault.type == "net.rate") return CheckRate(fault, samples, rate_bits);
  if (fault.type == "mem.leak") return CheckLeak(fault, samples);
  if (fault.sham) return CheckSham(fault, samples);
  return {false, "no counter is known that shows it"};
}

}  // namespace

std::vector<Finding> CheckKernel(const std::vector<FaultRow>& faults,
                                 const std::vector<WitnessSample>& samples,
                                 std::int64_t rate_bits) {
  std::vector<Finding> findings;
  for (const FaultRow& fault : faults) {
    Finding finding = CheckOne(fault, samples, rate_bits);
    if (!fault.residue.empty()) {
      finding.agrees = false;
      absl::StrAppend(&finding.text, "; left behind: ", fault.residue);
    }
    // The kernel saw it, so a verdict without effect is wrong.
    if (finding.agrees && !fault.sham && fault.verdict != "effective") {
      finding.agrees = false;
      absl::StrAppend(&finding.text, "; yet its verdict is ", fault.verdict);
    }
    finding.text = absl::StrCat(fault.type, ": ", finding.text);
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace faultline::cli
