// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/settings.h"

#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "agent/options.h"
#include "base/config_file.h"
#include "collector/options.h"
#include "injector/options.h"

namespace faultline::cli::doctor {
namespace {

// Empty where it cannot be read.
std::string TextOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// An administrator's unit stands before the package's.
std::string UserOf(const Site& site, absl::string_view word) {
  for (const absl::string_view folder : {"/etc", "/lib"}) {
    const std::string unit =
        TextOf(absl::StrCat(site.root, folder, "/systemd/system/faultline-", word, ".service"));
    if (unit.empty()) continue;
    for (absl::string_view line : absl::StrSplit(unit, '\n')) {
      if (absl::ConsumePrefix(&line, "User=")) return std::string(line);
    }
    return "";
  }
  return "";
}

}  // namespace

Settings SettingsOf(const Site& site, Service service) {
  const std::string word = ServiceWords(service).front();
  Settings settings;
  settings.file = absl::StrCat(site.config_dir, "/", word, ".yaml");
  settings.user = UserOf(site, word);
  const std::string text = TextOf(settings.file);
  const auto value = [&text](const char* key, const std::string& otherwise) {
    return ConfigValue(text, key).value_or(otherwise);
  };
  const auto path = [&site, &value](const char* key, const std::string& otherwise) {
    return absl::StrCat(site.root, value(key, otherwise));
  };
  const char* const address = service == kAgent ? "collector" : "listen";
  settings.address_given = service != kInjector && ConfigValue(text, address).has_value();
  if (ConfigValue(text, "tls").has_value()) settings.tls.folder = path("tls", "");
  if (service == kAgent) settings.address = value(address, AgentOptions().collector);
  if (service == kCollector) {
    settings.address = value(address, CollectorOptions().listen);
    settings.state_dir = path("state-dir", CollectorOptions().state_dir);
  }
  if (service == kInjector) {
    // Its file may not move them.
    settings.state_dir = absl::StrCat(site.root, InjectorOptions().state_dir);
    settings.run_dir = absl::StrCat(site.root, InjectorOptions().run_dir);
  }
  return settings;
}

absl::Status CheckReadable(const Site& site, const Settings& settings, const std::string& path) {
  if (!site.is_root || settings.user.empty()) return absl::OkStatus();
  return site.trials->ReadAs(settings.user, path);
}

}  // namespace faultline::cli::doctor
