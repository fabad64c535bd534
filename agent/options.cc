// SPDX-License-Identifier: Apache-2.0
#include "agent/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/address.h"
#include "base/config_file.h"
#include "base/log.h"
#include "base/reference.h"
#include "base/status.h"

namespace faultline {
namespace {

std::string HostName() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

constexpr absl::Duration kShortest = absl::Milliseconds(10);
constexpr absl::Duration kLongest = absl::Seconds(60);

std::string CheckInterval(const std::string& text) {
  absl::Duration interval;
  if (absl::ParseDuration(text, &interval) && interval >= kShortest && interval <= kLongest) {
    return "";
  }
  return absl::StrCat("\"", text, "\": give a time from 10ms to 60s, e.g. 1s or 100ms");
}

std::string CheckNode(const std::string& name) {
  return std::string(CheckPeerName(name).message());
}

// The node's name is what its certificate says, where it needs one.
absl::Status NameByCertificate(bool named, AgentOptions* options) {
  absl::StatusOr<OwnCertificate> own = ReadOwnCertificate(options->tls, Role::kNode);
  if (!own.ok()) return WithContext(own.status(), "--collector " + options->collector);
  if (named && options->node != own->peer.name) {
    return absl::InvalidArgumentError(
        absl::StrCat("--node ", options->node, ": the certificate says that this is node ",
                     own->peer.name, "; leave --node out, or `faultline tls node ", options->node,
                     " --ca DIR` makes another certificate"));
  }
  options->node = own->peer.name;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AgentOptions> ParseAgentOptions(int argc, char** argv) {
  AgentOptions options;
  options.node = HostName();
  std::string interval = "1s";
  CLI::App app{
      "faultline-agent: samples this host with eBPF and from /proc, and streams the samples, with "
      "the facts about injected faults, to a collector.",
      "faultline-agent"};
  app.set_version_flag("--version", FAULTLINE_VERSION);
  app.footer(
      "Needs CAP_BPF and CAP_PERFMON, not root; what is missing then, or on this kernel, is told "
      "by --check. SIGTERM and SIGINT end it.\n"
      "\n"
      "Exit status: 0 it was ended, 1 it cannot work here, or not everything is available with "
      "--strict, 2 a wrong option or configuration file.");
  const CLI::Option* const node =
      app.add_option("--node", options.node,
                     "name of this node (default: what its certificate says, else the host's name)")
          ->type_name("NAME")
          ->check(CLI::Validator(CheckNode, ""));
  app.add_option("--collector", options.collector,
                 "where samples go: HOST:PORT or unix:/PATH; beyond loopback with TLS only")
      ->type_name("ADDRESS")
      ->capture_default_str()
      ->check(CLI::Validator(CheckDialAddress, ""));
  app.add_option("--tls", options.tls.folder,
                 absl::StrCat("folder with ca.pem, cert.pem and key.pem of this node; named, they "
                              "are used on loopback too (beyond it without --tls: ",
                              kTlsFolder, ")"))
      ->type_name("DIR");
  app.add_option("--injector", options.injector,
                 "socket of this node's faultline-injector, e.g. unix:/run/faultline/agent.sock; "
                 "without it this node takes no faults")
      ->type_name("ADDRESS")
      ->envname("FAULTLINE_INJECTOR")
      ->check(CLI::Validator(CheckInjectorAddress, ""));
  app.add_option("--interval", interval, "time between two samples, 10ms to 60s")
      ->type_name("TIME")
      ->capture_default_str()
      ->check(CLI::Validator(CheckInterval, ""));
  app.add_option("--max-cgroups", options.max_cgroups,
                 "control groups with a row of their own, 1 to 255; the rest is folded into ~other")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1, 255).description(""));
  app.add_option(
         "--buffer-bytes", options.buffer_bytes,
         "most bytes of samples kept in memory while the collector is away, 64 KiB to 1 GiB; "
         "what is dropped then is told as a gap. The service may take 192 MiB in all: more than "
         "128 MiB needs another MemoryMax= (`systemctl edit faultline-agent`)")
      ->type_name("BYTES")
      ->capture_default_str()
      ->check(CLI::Range(1 << 16, 1 << 30).description(""));
  app.add_flag("--check", options.check,
               "load and attach everything, print what this host can measure, and exit");
  app.add_flag("--strict", options.strict,
               "fail unless every metric is available by its first choice; also with --check");
  app.add_flag("--metrics-doc", options.metrics_doc,
               "print the catalogue of metrics as Markdown and exit");
  for (const char* task : {"--check", "--metrics-doc"}) app.get_option(task)->configurable(false);
  AddConfigFile(&app);
  AddReference(&app, 8);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // What is wrong with a task is no matter of the service: it is printed here, as help is.
    if (error.get_exit_code() == 0 || HasTask(app)) {
      return app.exit(error) == 0 ? absl::CancelledError() : absl::InvalidArgumentError("");
    }
    return absl::InvalidArgumentError(absl::StrCat(error.what(), "; --help says what it takes"));
  }
  absl::Duration parsed;
  if (absl::ParseDuration(interval, &parsed))
    options.interval_ns = absl::ToInt64Nanoseconds(parsed);
  const bool talks = !options.check && !options.metrics_doc;
  // The host's name was not checked as what is given is.
  if (absl::Status status = WithContext(CheckPeerName(options.node), "--node"); !status.ok()) {
    if (talks) return status;
    LogError(status.message());
    return absl::InvalidArgumentError("");
  }
  if (talks && NeedsTls(options.collector, options.tls)) {
    if (absl::Status status = NameByCertificate(node->count() != 0, &options); !status.ok()) {
      return status;
    }
  }
  return options;
}

}  // namespace faultline
