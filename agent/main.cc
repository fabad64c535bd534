// SPDX-License-Identifier: Apache-2.0
//
// faultline-agent: wires the sampler, the labels and the uplink together and runs the loop until
// SIGTERM or SIGINT.
#include <sys/random.h>

#include <csignal>
#include <iostream>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "agent/agent.h"
#include "agent/labels/injector_link.h"
#include "agent/metrics/report.h"
#include "agent/metrics/sampler.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/uplink/outbox.h"
#include "agent/uplink/uplink.h"
#include "base/certificate_watch.h"
#include "base/credentials.h"
#include "base/event.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "base/supervisor.h"

namespace faultline {
namespace {

// Exit codes that every program of Faultline shares.
constexpr int kFailed = 1;
constexpr int kUsage = 2;

// How long the last batches may take to reach the collector after the loop has ended.
constexpr std::int64_t kDrainNs = 2 * kNsPerSecond;

// What it takes beside the samples that wait: docs/figures.md.
constexpr std::int64_t kRestBytes = std::int64_t{64} << 20;

// How long the first tick waits for the first word of the injector.
constexpr std::int64_t kInjectorNs = 2 * kNsPerSecond;

std::string RandomEpoch() {
  std::string epoch(16, '\0');
  if (::getrandom(epoch.data(), epoch.size(), 0) != 16) Bug("the kernel gives no random bytes");
  return epoch;
}

bool EveryMetricAvailable(const v1::Schema& schema) {
  for (const v1::TableSchema& table : schema.tables()) {
    for (const v1::Column& column : table.columns()) {
      if (column.availability() != v1::AVAILABILITY_AVAILABLE) return false;
    }
  }
  return true;
}

// A start that fails is an event, so that it is found in a fleet.
int CannotStart(absl::string_view reason) {
  LogEvent(Event::kCannotStart, {{kReasonField, reason}}, reason);
  return kFailed;
}

int Check(const Sampler& sampler, const AgentOptions& options) {
  std::cout << CapabilityReport(sampler.schema()) << std::flush;
  if (options.injector.empty()) {
    LogInfo("no --injector is named: table \"fault\" stays empty, and this node takes no faults");
  }
  return options.strict && !EveryMetricAvailable(sampler.schema()) ? kFailed : 0;
}

int Serve(const AgentOptions& options, Sampler* sampler, sigset_t* signals,
          Supervisor* supervisor) {
  Outbox outbox(RandomEpoch(), static_cast<size_t>(options.buffer_bytes));
  v1::Hello hello;
  *hello.mutable_node() = DescribeNode(options.node);
  hello.set_epoch(outbox.epoch());
  *hello.mutable_schema() = sampler->schema();
  hello.set_interval_ns(options.interval_ns);

  const auto credentials = DialCredentials(options.collector, options.tls, Role::kNode);
  if (!credentials.ok()) return CannotStart(credentials.status().message());
  // A node's clock may be what is wrong, and a new certificate on its way: no reason not to sample.
  std::optional<CertificateWatch> certificate;
  if (NeedsTls(options.collector, options.tls)) {
    certificate.emplace(options.tls, Role::kNode, "until then no collector will answer");
  }
  InjectorLink injector(options.injector);
  Uplink uplink(
      options.collector, hello, &outbox,
      [&injector](const v1::Command& command) { return injector.Call(command); }, *credentials,
      [&certificate] {
        if (certificate.has_value()) certificate->Look(absl::Now());
      },
      [&injector](std::int64_t ttl_ns, const std::string& collector) {
        injector.Renew(ttl_ns, collector);
      });
  injector.Start([&uplink](const v1::FaultState& state) { uplink.Tell(state); });
  // So that the first tick knows of an injector that is there.
  injector.AwaitFirstTry(kInjectorNs);

  Agent agent({sampler, &outbox, &Clock::System(),
               [&injector](bool behind, Sight* sight) { return injector.States(behind, sight); },
               [&uplink, supervisor] {
                 uplink.Wake();
                 // The tick was sampled and handed on: what the watchdog is about.
                 supervisor->Alive(Clock::System().Now().boottime_ns);
               },
               /*watches_injector=*/!options.injector.empty()},
              options.interval_ns);
  supervisor->ExpectEvery(options.interval_ns);
  // Create has loaded and attached what this kernel takes; what it does not take is told.
  for (const std::string& sentence : Shortcomings(sampler->schema())) LogWarning(sentence);
  supervisor->Ready(absl::StrCat("sampling as node ", options.node, ": ",
                                 CapabilityTotals(sampler->schema()), " columns"));
  LogEvent(Event::kAgentReady, {{kNodeField, options.node}}, "sampling as node ", options.node);
  std::jthread loop([&agent](const std::stop_token& stop) { agent.Run(stop); });
  int signal = 0;
  ::sigwait(signals, &signal);
  LogEvent(Event::kStopping, {}, "ending on ", signal == SIGTERM ? "SIGTERM" : "SIGINT");
  supervisor->Stopping();
  loop.request_stop();
  loop.join();
  if (!uplink.Drain(kDrainNs)) {
    LogEvent(Event::kSamplesLost, {{kCountField, absl::StrCat(outbox.size())}}, outbox.size(),
             " batches never reached the collector and end with this agent");
  }
  injector.Stop();
  return 0;
}

int Main(int argc, char** argv) {
  absl::StatusOr<AgentOptions> options = ParseAgentOptions(argc, argv);
  if (!options.ok()) {
    if (absl::IsCancelled(options.status())) return 0;
    if (!options.status().message().empty()) CannotStart(options.status().message());
    // Certificates may come, so the service is to try again; a wrong option stays wrong.
    return absl::IsFailedPrecondition(options.status()) ? kFailed : kUsage;
  }
  if (options->metrics_doc) {
    std::cout << MetricsMarkdown();
    return 0;
  }
  KeepGrpcQuiet();
  Supervisor supervisor = Supervisor::FromEnvironment();
  // Before any thread exists, so that all of them leave these to sigwait.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  SamplerOptions sampling;
  sampling.max_cgroups = options->max_cgroups;
  absl::StatusOr<std::unique_ptr<Sampler>> sampler = Sampler::Create(sampling);
  if (!sampler.ok()) {
    if (!options->check) return CannotStart(sampler.status().message());
    LogError(sampler.status().message());
    return kFailed;
  }
  if (options->check) return Check(**sampler, *options);
  if (options->strict && !EveryMetricAvailable((*sampler)->schema())) {
    return CannotStart(
        "--strict: not every metric is available here; faultline-agent --check lists them");
  }
  // One who starts it by hand may want what is left; a service that cannot do its work says so.
  if (const std::string denial = BpfDenial((*sampler)->schema());
      supervisor.there() && !denial.empty()) {
    return CannotStart(absl::StrCat("this service may load no BPF program: ", denial,
                                    "; `faultline doctor`, as root, says what keeps it from them"));
  }
  WarnOfMemory("--buffer-bytes", options->buffer_bytes, kRestBytes, OwnMemoryMax());
  return Serve(*options, sampler->get(), &signals, &supervisor);
}

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) { return faultline::Main(argc, argv); }
