// SPDX-License-Identifier: Apache-2.0
//
// The options that protect the host from faults: how much, what is spared, and when all stops. Used
// by one thread, before there are others.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"
#include "injector/options.h"

namespace faultline {

// As they are written; checked when they are read, so that each error is told at its line.
struct LimitTexts {
  std::string max_duration = "1h";
  std::string max_hour_share = "50%";
  std::string memory_reserve = "10%";
  std::string disk_reserve = "10%";
  std::string psi_cpu = "off";
  std::string psi_memory = "60%";
  std::string psi_io = "off";
  std::string memory_free = "5%";
  std::string temperature = "90";
  std::string load = "off";
  std::string loss = "off";
  std::vector<std::string> exempt = {};
};

// Both outlive `app`.
void AddLimitOptions(CLI::App& app, LimitTexts& texts, InjectorOptions& options);

// After the parse: what the texts mean.
void TakeLimits(const LimitTexts& texts, InjectorOptions& options);

// FailedPrecondition: somebody else than root could have written `path`, or put another file in its
// place. `what`: why that matters, of it. OK for "": there is none.
absl::Status CheckOwnedByRoot(const std::string& path,
                              absl::string_view what = "decides what may be done to this host");

}  // namespace faultline
