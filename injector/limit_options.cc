// SPDX-License-Identifier: Apache-2.0
#include "injector/limit_options.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/cgroup_tree.h"
#include "base/status.h"
#include "injector/faults/fault.h"
#include "injector/guard.h"
#include "proto/peer_text.h"

namespace faultline {
namespace {

constexpr const char* kAllowed = "What may be disturbed, and who may ask";
constexpr const char* kSpared = "What no fault touches";
constexpr const char* kStops = "When every fault is ended, and none begins";

// An amount that may be "off".
struct AmountOption {
  const char* name;
  Parameter row;
  std::string LimitTexts::*text;
  double StopLimits::*limit;
  const char* help;
};

constexpr Parameter PercentRow() {
  return {"value", Parameter::Kind::kPercent, "%", 1, 100, nullptr, nullptr, ""};
}

const std::array<AmountOption, 5> kAmounts{{
    {"--stop-psi-cpu", PercentRow(), &LimitTexts::psi_cpu, &StopLimits::psi_cpu,
     "End every fault, and begin none, while tasks of this host waited for a\n"
     "CPU more of the last 10 s than that (/proc/pressure/cpu, some avg10);\n"
     "or off"},
    {"--stop-psi-memory", PercentRow(), &LimitTexts::psi_memory, &StopLimits::psi_memory,
     "As stop-psi-cpu, for memory (/proc/pressure/memory); or off"},
    {"--stop-psi-io", PercentRow(), &LimitTexts::psi_io, &StopLimits::psi_io,
     "As stop-psi-cpu, for storage (/proc/pressure/io); or off"},
    {"--stop-temperature",
     {"value", Parameter::Kind::kNumber, "degrees", 20, 150, nullptr, nullptr, ""},
     &LimitTexts::temperature,
     &StopLimits::temperature,
     "End every fault, and begin none, while the hottest thermal zone has more\n"
     "degrees Celsius; or off. A host without a zone is never too hot"},
    {"--stop-load",
     {"value", Parameter::Kind::kNumber, "", 0.1, 1000, nullptr, nullptr, ""},
     &LimitTexts::load,
     &StopLimits::load,
     "End every fault, and begin none, while the load of the last minute per\n"
     "CPU is more than that; or off"},
}};

absl::StatusOr<double> ParseAmountOption(const AmountOption& option, const std::string& text) {
  if (text == "off") return 0.0;
  v1::FaultSpec spec;
  spec.set_type("it");
  (*spec.mutable_parameters())["value"] = text;
  const absl::StatusOr<Parameters> parsed = Parameters::Parse({&option.row, 1}, spec);
  if (parsed.ok()) return parsed->Number("value");
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is neither from ", Amount(option.row, option.row.minimum),
                   " to ", Amount(option.row, option.row.maximum), " nor off"));
}

constexpr Parameter kShareRow = {"value", Parameter::Kind::kPercent, "%", 0, 100, nullptr, nullptr,
                                 ""};

absl::StatusOr<double> ParseShare(const std::string& text) {
  v1::FaultSpec spec;
  (*spec.mutable_parameters())["value"] = text;
  const absl::StatusOr<Parameters> parsed = Parameters::Parse({&kShareRow, 1}, spec);
  if (parsed.ok()) return parsed->Number("value");
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no share from 0% to 100%; give one like 50%"));
}

std::string CheckTime(const std::string& text) {
  absl::Duration duration;
  if (absl::ParseDuration(text, &duration) && duration >= absl::Nanoseconds(kMinDurationNs) &&
      duration <= absl::Hours(24)) {
    return "";
  }
  return absl::StrCat("\"", text, "\" is no time from 100ms to 24h; give one like 90s, 30m or 2h");
}

// Renewals come every 3 s: less than two of them would end faults on a good link.
std::string CheckLoss(const std::string& text) {
  absl::Duration duration;
  if (text == "off" || (absl::ParseDuration(text, &duration) && duration >= absl::Seconds(7) &&
                        duration <= absl::Hours(1))) {
    return "";
  }
  return absl::StrCat("\"", text, "\" is neither a time from 7s to 1h nor off");
}

// A group is protected by its path in the hierarchy, not by the folder it is mounted at.
std::string CheckCgroup(const std::string& path) {
  const absl::Status status = CgroupTree::ValidatePath(path);
  if (!status.ok()) return std::string(status.message());
  if (path.rfind("/sys/fs/cgroup", 0) != 0) return "";
  return absl::StrCat(path, " is a path of the file system; give the control group's own, e.g. ",
                      "/system.slice/ssh.service");
}

std::string CheckUnit(const std::string& unit) {
  if (!unit.empty() && !absl::StrContains(unit, '/') && absl::StrContains(unit, '.')) return "";
  return absl::StrCat("\"", unit, "\" is no unit: give its full name, like nginx.service");
}

template <typename Result>
std::string Complaint(const absl::StatusOr<Result>& result) {
  return std::string(result.status().message());
}

CLI::Validator MakeValidator(std::function<std::string(const std::string&)> check) {
  return {[check = std::move(check)](const std::string& text) { return check(text); }, ""};
}

void AddText(CLI::App& app, const char* name, std::string& text, const char* type,
             const char* group, const char* help,
             std::function<std::string(const std::string&)> check) {
  app.add_option(name, text, help)
      ->type_name(type)
      ->capture_default_str()
      ->check(MakeValidator(std::move(check)))
      ->group(group);
}

std::string CheckReserve(const std::string& text) { return Complaint(ParseReserve(text)); }

void AddAllowed(CLI::App& app, LimitTexts& texts, InjectorOptions& options) {
  app.add_option("--max-faults", options.max_faults, "Most faults at the same time")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1, 64).description(""))
      ->group(kAllowed);
  AddText(app, "--max-duration", texts.max_duration, "TIME", kAllowed,
          "Longest duration of a fault, e.g. 90s, 30m, 2h; from 100ms to 24h. More\n"
          "than max-hour-share none lasts either",
          CheckTime);
  AddText(app, "--max-hour-share", texts.max_hour_share, "PERCENT", kAllowed,
          "Most of any hour that faults may take, one or several at a time;\n"
          "100% lifts it",
          [](const std::string& text) { return Complaint(ParseShare(text)); });
  app.add_flag("--autonomous", options.autonomous,
               "Faults that came through the agent go on without the collector; else\n"
               "they end within 15 s when it, the link to it or the agent is gone")
      ->group(kAllowed);
}

void AddSpared(CLI::App& app, LimitTexts& texts, InjectorOptions& options) {
  app.add_option("--protect-cgroup", options.protected_cgroups,
                 "Control group that no fault may touch, nor one that holds it or lies\n"
                 "in it, as its path below the hierarchy's root, e.g.\n"
                 "/system.slice/nginx.service; repeatable. The groups of PID 1, of\n"
                 "this program and of its services that undo always are protected")
      ->type_name("PATH")
      ->check(MakeValidator(CheckCgroup))
      ->group(kSpared);
  app.add_option("--protect-unit", options.protected_units,
                 "systemd unit whose group no fault may touch, nor one that holds it or\n"
                 "lies in it, wherever it is; repeatable. Those of ssh, the journal,\n"
                 "D-Bus, logins and Faultline always are protected")
      ->type_name("UNIT")
      ->check(MakeValidator(CheckUnit))
      ->group(kSpared);
  app.add_option("--exempt", texts.exempt,
                 "Peer that no network fault meets, CIDR[:PORT]; repeatable, at most 8.\n"
                 "The collector's address always is one")
      ->type_name("PEER")
      ->check(MakeValidator([](const std::string& text) { return Complaint(ParsePeer(text)); }))
      ->group(kSpared);
  app.add_option("--ssh-port", options.ssh_port,
                 "TCP port of this host's or a peer's ssh, which no network fault\n"
                 "meets; 0: none")
      ->type_name("PORT")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535).description(""))
      ->group(kSpared);
  AddText(app, "--memory-reserve", texts.memory_reserve, "AMOUNT", kSpared,
          "Of this host's memory, what mem.leak leaves available: a share like\n"
          "10%, or a size like 512M",
          CheckReserve);
  AddText(app, "--disk-reserve", texts.disk_reserve, "AMOUNT", kSpared,
          "End every fault, and begin none, while less of the journal's file system\n"
          "is free: a size; a share, then at least 512M, but never more than a\n"
          "quarter; or off",
          CheckReserve);
}

}  // namespace

void AddLimitOptions(CLI::App& app, LimitTexts& texts, InjectorOptions& options) {
  AddAllowed(app, texts, options);
  AddSpared(app, texts, options);
  for (const AmountOption& option : kAmounts) {
    const AmountOption* row = &option;
    AddText(app, option.name, texts.*option.text, "LIMIT", kStops, option.help,
            [row](const std::string& text) { return Complaint(ParseAmountOption(*row, text)); });
  }
  AddText(app, "--stop-memory-free", texts.memory_free, "AMOUNT", kStops,
          "End every fault, and begin none, while less memory than that is\n"
          "available: a share like 5%, or a size like 64M; or off",
          CheckReserve);
  AddText(app, "--stop-loss", texts.loss, "TIME", kStops,
          "End every fault, those of this host's root too, and begin none, while a\n"
          "collector that was there has not been heard of for so long, from 7s\n"
          "on; or off",
          CheckLoss);
}

void TakeLimits(const LimitTexts& texts, InjectorOptions& options) {
  // What was wrong has been told.
  const auto time_of = [](const std::string& text) {
    absl::Duration duration;
    return absl::ParseDuration(text, &duration) ? absl::ToInt64Nanoseconds(duration) : 0;
  };
  options.max_duration_ns = time_of(texts.max_duration);
  options.max_hour_share = ParseShare(texts.max_hour_share).value_or(0);
  options.memory_reserve = ParseReserve(texts.memory_reserve).value_or(Reserve{.percent = 10});
  options.stop.disk = ParseReserve(texts.disk_reserve).value_or(Reserve{.percent = 10});
  options.stop.memory_free = ParseReserve(texts.memory_free).value_or(Reserve{.percent = 5});
  for (const AmountOption& option : kAmounts) {
    options.stop.*option.limit = ParseAmountOption(option, texts.*option.text).value_or(0);
  }
  options.stop.loss_ns = time_of(texts.loss);
  for (const std::string& text : texts.exempt) {
    absl::StatusOr<v1::PeerFilter> peer = ParsePeer(text);
    if (peer.ok()) options.exempt.push_back(*std::move(peer));
  }
}

absl::Status CheckOwnedByRoot(const std::string& path, absl::string_view what) {
  if (path.empty()) return absl::OkStatus();
  std::string folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  for (const std::string& each : {path, folder}) {
    struct stat info {};
    if (::stat(each.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("look at ", each));
    // In a folder like /tmp nobody can replace root's file.
    const bool sticky = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) != 0;
    const bool by_others = (info.st_mode & S_IWOTH) != 0 && !sticky;
    const bool by_group = (info.st_mode & S_IWGRP) != 0 && info.st_gid != 0 && !sticky;
    if (info.st_uid == 0 && !by_others && !by_group) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        each, " ", what, ", and ",
        info.st_uid == 0 ? "others than root may write it" : "it is not root's",
        ": `chown root:root ", each, " && chmod go-w ", each, "`, and look at what it says"));
  }
  return absl::OkStatus();
}

}  // namespace faultline
