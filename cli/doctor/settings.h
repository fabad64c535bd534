// SPDX-License-Identifier: Apache-2.0
//
// What a service that is looked after works with, so that its checks look where it will: its file
// under the site's config_dir, what that leaves out by the program's own defaults, and its unit.
// Stateless; main thread only.
#pragma once

#include <string>

#include "base/credentials.h"
#include "cli/doctor/check.h"

namespace faultline::cli::doctor {

struct Settings {
  // Its configuration file, whether it is there or not.
  std::string file;
  // Whom the agent dials, where the collector listens; of the injector empty.
  std::string address;
  // The file names it.
  bool address_given = false;
  // Folder empty: the usual one, and only where the address needs it.
  TlsOptions tls;
  std::string state_dir;
  // Of the injector.
  std::string run_dir;
  // As whom its unit runs it; empty: as root, or there is no unit.
  std::string user;
};

// Paths of it stand below the site's root.
Settings SettingsOf(const Site& site, Service service);

// OK unless the service's user may not read `path`. Looks only as root and where there is a unit.
absl::Status CheckReadable(const Site& site, const Settings& settings, const std::string& path);

}  // namespace faultline::cli::doctor
