// SPDX-License-Identifier: Apache-2.0
#include "injector/host/systemd_units.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "injector/host/process.h"
#include "injector/host/text_file.h"

namespace faultline {
namespace {

// The controller's mutex is held meanwhile, and other faults have deadlines, which may be missed by
// 250 ms. What takes longer (a daemon-reload of a large system) is tried again.
constexpr absl::Duration kPatience = absl::Milliseconds(200);
// Every fault on a unit would wait as long, one after the other.
constexpr std::int64_t kSilenceNs = kNsPerSecond / 2;

// Of the process that goes into a group to leave it; in a frozen one it stands still.
constexpr int kVisitMs = 100;

constexpr char kUnitInterface[] = "org.freedesktop.systemd1.Unit";
constexpr char kCpu[] = "cpu";

struct Free {
  void operator()(char* text) const { std::free(text); }
};
using BusText = std::unique_ptr<char, Free>;

struct SlotFree {
  void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
};
using Slot = std::unique_ptr<sd_bus_slot, SlotFree>;

// "nginx.service": its cgroup properties are in "org.freedesktop.systemd1.Service".
std::string InterfaceOf(const std::string& unit) {
  std::string type = unit.substr(unit.rfind('.') + 1);
  if (!type.empty()) type[0] = absl::ascii_toupper(static_cast<unsigned char>(type[0]));
  return absl::StrCat(kSystemdName, ".", type);
}

// "cpu" of "cpu.max".
std::string ControllerOf(const std::string& file) { return file.substr(0, file.find('.')); }

// MemoryAccounting and its like; every other property that is used here is a number.
bool IsFlag(absl::string_view property) { return absl::EndsWith(property, "Accounting"); }

absl::Status Append(sd_bus_message* message, const std::string& unit,
                    absl::Span<const Units::Setting> settings) {
  int result = sd_bus_message_append(message, "sb", unit.c_str(), 1);
  if (result >= 0) result = sd_bus_message_open_container(message, 'a', "(sv)");
  for (const Units::Setting& setting : settings) {
    if (result < 0) break;
    const char* name = setting.property.c_str();
    result = IsFlag(setting.property)
                 ? sd_bus_message_append(message, "(sv)", name, "b", setting.value != 0 ? 1 : 0)
                 : sd_bus_message_append(message, "(sv)", name, "t", setting.value);
  }
  if (result >= 0) result = sd_bus_message_close_container(message);
  return ErrnoStatus(result < 0 ? -result : 0, "compose a message for systemd");
}

// A call with texts as its arguments. Null: there is no room for it.
SystemdMessage Compose(sd_bus* bus, const char* path, const char* interface, const char* method,
                       absl::Span<const std::string> arguments) {
  sd_bus_message* made = nullptr;
  int result = sd_bus_message_new_method_call(bus, &made, kSystemdName, path, interface, method);
  SystemdMessage message(made);
  for (const std::string& argument : arguments) {
    if (result >= 0) result = sd_bus_message_append(made, "s", argument.c_str());
  }
  return result < 0 ? nullptr : std::move(message);
}

int KeepAnswer(sd_bus_message* answer, void* into, sd_bus_error* /*error*/) {
  static_cast<SystemdMessage*>(into)->reset(sd_bus_message_ref(answer));
  return 1;
}

// False: systemd has no such unit (any more), or none of its kind has what was asked for.
absl::StatusOr<bool> Answered(sd_bus_message* answer, const std::string& unit) {
  const sd_bus_error* error = sd_bus_message_get_error(answer);
  if (error == nullptr) return true;
  for (const char* none : {"org.freedesktop.systemd1.NoSuchUnit", SD_BUS_ERROR_UNKNOWN_OBJECT,
                           SD_BUS_ERROR_UNKNOWN_INTERFACE, SD_BUS_ERROR_UNKNOWN_PROPERTY}) {
    if (sd_bus_error_has_name(error, none) > 0) return false;
  }
  return ErrnoStatus(sd_bus_error_get_errno(error),
                     absl::StrCat("ask systemd for ", unit, ": ",
                                  error->message == nullptr ? "" : error->message));
}

}  // namespace

absl::Status SystemdUnits::Told(int result, sd_bus_error* error, absl::string_view what) {
  if (result == -ETIMEDOUT) {
    silent_until_ns_ = Clock::System().Now().boottime_ns + kSilenceNs;
  }
  return SystemdStatus(result, error, what);
}

absl::StatusOr<sd_bus*> SystemdUnits::Bus() {
  if (Clock::System().Now().boottime_ns < silent_until_ns_) {
    return absl::UnavailableError("systemd did not answer a moment ago; it is asked again soon");
  }
  if (bus_ != nullptr && sd_bus_is_open(bus_.get()) > 0) {
    // Takes in what came late, and the end of the connection.
    while (sd_bus_process(bus_.get(), nullptr) > 0) {
    }
    if (sd_bus_is_open(bus_.get()) > 0) return bus_.get();
  }
  absl::StatusOr<SystemdBus> bus = ConnectSystemd(kPatience, address_);
  if (!bus.ok()) {
    silent_until_ns_ = Clock::System().Now().boottime_ns + kSilenceNs;
    return bus.status();
  }
  bus_ = std::move(*bus);
  return bus_.get();
}

absl::StatusOr<std::string> SystemdUnits::Ask(const char* method, const std::string& argument) {
  absl::StatusOr<sd_bus*> bus = Bus();
  if (!bus.ok()) return bus.status();
  sd_bus_error error = SD_BUS_ERROR_NULL;
  sd_bus_message* reply = nullptr;
  int result = sd_bus_call_method(*bus, kSystemdName, kSystemdPath, kSystemdManager, method, &error,
                                  &reply, "s", argument.c_str());
  const SystemdMessage owned(reply);
  absl::Status status = Told(result, &error, absl::StrCat("ask systemd for ", argument));
  if (!status.ok()) return status;
  const char* path = nullptr;
  result = sd_bus_message_read(reply, "o", &path);
  if (result < 0) return ErrnoStatus(-result, "read systemd's answer");
  return std::string(path);
}

absl::StatusOr<std::string> SystemdUnits::Text(const std::string& path,
                                               const std::string& interface, const char* property) {
  absl::StatusOr<sd_bus*> bus = Bus();
  if (!bus.ok()) return bus.status();
  sd_bus_error error = SD_BUS_ERROR_NULL;
  char* text = nullptr;
  const int result = sd_bus_get_property_string(*bus, kSystemdName, path.c_str(), interface.c_str(),
                                                property, &error, &text);
  const BusText owned(text);
  absl::Status status = Told(result, &error, absl::StrCat("ask systemd for ", property));
  if (!status.ok()) return status;
  return std::string(text);
}

absl::StatusOr<Units::Unit> SystemdUnits::Describe(const std::string& path) {
  Unit unit;
  absl::StatusOr<std::string> id = Text(path, kUnitInterface, "Id");
  if (!id.ok()) return id.status();
  unit.id = *id;
  absl::StatusOr<std::string> cgroup = Text(path, InterfaceOf(unit.id), "ControlGroup");
  // A target or a timer has none.
  if (cgroup.ok()) unit.cgroup = *cgroup;
  absl::StatusOr<sd_bus*> bus = Bus();
  if (!bus.ok()) return bus.status();
  sd_bus_error error = SD_BUS_ERROR_NULL;
  int transient = 0;
  const int result = sd_bus_get_property_trivial(*bus, kSystemdName, path.c_str(), kUnitInterface,
                                                 "Transient", &error, 'b', &transient);
  absl::Status status = Told(result, &error, absl::StrCat("ask systemd about ", unit.id));
  if (!status.ok()) return status;
  unit.transient = transient != 0;
  return unit;
}

absl::StatusOr<Units::Unit> SystemdUnits::Named(const std::string& name) {
  absl::StatusOr<std::string> path = Ask("GetUnit", name);
  if (!path.ok()) return path.status();
  return Describe(*path);
}

absl::StatusOr<std::vector<SystemdMessage>> SystemdUnits::AskAll(
    absl::Span<const SystemdMessage> calls) {
  const absl::StatusOr<sd_bus*> bus = Bus();
  if (!bus.ok()) return bus.status();
  std::vector<SystemdMessage> answers(calls.size());
  // Those that are not answered are forgotten with them.
  std::vector<Slot> slots;
  size_t left = 0;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i] == nullptr) continue;
    sd_bus_slot* slot = nullptr;
    const int sent = sd_bus_call_async(*bus, &slot, calls[i].get(), KeepAnswer, &answers[i], 0);
    if (sent < 0) return Told(sent, nullptr, "ask systemd");
    slots.emplace_back(slot);
    ++left;
  }
  const std::int64_t end_ns =
      Clock::System().Now().boottime_ns + absl::ToInt64Nanoseconds(kPatience);
  const auto has = [](const SystemdMessage& answer) { return answer != nullptr; };
  while (std::count_if(answers.begin(), answers.end(), has) < static_cast<std::ptrdiff_t>(left)) {
    const std::int64_t left_us = (end_ns - Clock::System().Now().boottime_ns) / 1000;
    if (left_us <= 0) return Told(-ETIMEDOUT, nullptr, "ask systemd");
    int result = sd_bus_process(*bus, nullptr);
    if (result == 0) result = sd_bus_wait(*bus, static_cast<std::uint64_t>(left_us));
    if (result < 0) return Told(result, nullptr, "ask systemd");
  }
  return answers;
}

absl::StatusOr<std::vector<std::string>> SystemdUnits::GroupsOf(
    absl::Span<const std::string> units) {
  const absl::StatusOr<sd_bus*> bus = Bus();
  if (!bus.ok()) return bus.status();
  std::vector<SystemdMessage> calls;
  for (const std::string& unit : units) {
    calls.push_back(Compose(*bus, kSystemdPath, kSystemdManager, "GetUnit", {unit}));
  }
  const absl::StatusOr<std::vector<SystemdMessage>> found = AskAll(calls);
  if (!found.ok()) return found.status();
  for (size_t i = 0; i < units.size(); ++i) {
    calls[i] = nullptr;
    const absl::StatusOr<bool> there = Answered(found->at(i).get(), units[i]);
    if (!there.ok()) return there.status();
    const char* path = nullptr;
    if (!*there || sd_bus_message_read(found->at(i).get(), "o", &path) < 0) continue;
    calls[i] = Compose(*bus, path, "org.freedesktop.DBus.Properties", "Get",
                       {InterfaceOf(units[i]), "ControlGroup"});
  }
  const absl::StatusOr<std::vector<SystemdMessage>> groups = AskAll(calls);
  if (!groups.ok()) return groups.status();
  std::vector<std::string> result(units.size());
  for (size_t i = 0; i < units.size(); ++i) {
    if (calls[i] == nullptr) continue;
    const absl::StatusOr<bool> has = Answered(groups->at(i).get(), units[i]);
    if (!has.ok()) return has.status();
    const char* group = nullptr;
    if (*has && sd_bus_message_read(groups->at(i).get(), "v", "s", &group) >= 0) result[i] = group;
  }
  return result;
}

absl::StatusOr<std::optional<Units::Unit>> SystemdUnits::Owner(const std::string& cgroup) {
  const absl::StatusOr<std::string> path = Ask("GetUnitByControlGroup", cgroup);
  if (absl::IsNotFound(path.status())) return std::optional<Unit>();
  if (!path.ok()) return path.status();
  absl::StatusOr<Unit> unit = Describe(*path);
  if (!unit.ok()) return unit.status();
  if (unit->cgroup != cgroup) return std::optional<Unit>();
  return std::optional<Unit>(*std::move(unit));
}

absl::StatusOr<std::uint64_t> SystemdUnits::Number(const std::string& path,
                                                   const std::string& interface,
                                                   const std::string& property) {
  const absl::StatusOr<sd_bus*> bus = Bus();
  if (!bus.ok()) return bus.status();
  sd_bus_error error = SD_BUS_ERROR_NULL;
  std::uint64_t value = 0;
  int flag = 0;
  const bool is_flag = IsFlag(property);
  const int result = sd_bus_get_property_trivial(
      *bus, kSystemdName, path.c_str(), interface.c_str(), property.c_str(), &error,
      is_flag ? 'b' : 't', is_flag ? static_cast<void*>(&flag) : &value);
  absl::Status status = Told(result, &error, absl::StrCat("ask systemd for ", property));
  if (!status.ok()) return status;
  return is_flag ? static_cast<std::uint64_t>(flag) : value;
}

absl::StatusOr<std::vector<std::uint64_t>> SystemdUnits::Get(
    const std::string& unit, absl::Span<const std::string> properties) {
  // Does not load it: systemd would make its group when it is told a property, unload the unit, and
  // forget the group.
  const absl::StatusOr<std::string> path = Ask("GetUnit", unit);
  if (!path.ok()) return path.status();
  const absl::StatusOr<std::string> loaded = Text(*path, kUnitInterface, "LoadState");
  if (!loaded.ok()) return loaded.status();
  if (*loaded != "loaded") {
    return absl::NotFoundError(absl::StrCat("unit ", unit, " is ", *loaded, " to systemd"));
  }
  std::vector<std::uint64_t> values;
  for (const std::string& property : properties) {
    const absl::StatusOr<std::uint64_t> value = Number(*path, InterfaceOf(unit), property);
    if (!value.ok()) return WithContext(value.status(), unit);
    values.push_back(*value);
  }
  return values;
}

absl::Status SystemdUnits::Set(const std::string& unit, absl::Span<const Setting> settings) {
  const absl::StatusOr<sd_bus*> bus = Bus();
  if (!bus.ok()) return bus.status();
  sd_bus_message* made = nullptr;
  int result = sd_bus_message_new_method_call(*bus, &made, kSystemdName, kSystemdPath,
                                              kSystemdManager, "SetUnitProperties");
  const SystemdMessage message(made);
  if (result < 0) return ErrnoStatus(-result, "compose a message for systemd");
  if (absl::Status status = Append(made, unit, settings); !status.ok()) return status;
  sd_bus_error error = SD_BUS_ERROR_NULL;
  result = sd_bus_call(*bus, made, 0, &error, nullptr);
  return Told(result, &error, absl::StrCat("set properties of ", unit));
}

// systemd removes the group of a unit that does not run when the last process has left it
// (service_notify_cgroup_empty_event, src/core/service.c), so one goes in and ends. Removed by us,
// systemd would still believe in it, and could not start the unit.
void SystemdUnits::DropEmptyGroup(const std::string& cgroup) {
  const absl::StatusOr<std::string> directory = cgroups_->DirectoryOf(cgroup, kCpu);
  if (!directory.ok() || HasProcessBelow(*directory)) return;
  const int procs = ::open((*directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
  if (procs < 0) return;
  const pid_t child = ::fork();
  if (child == 0) {
    // Nothing but system calls here: other threads may have held locks. Without our descriptors,
    // the lock of the journal among them, which it would hold as long as it lives.
    constexpr int kProcs = 3;
    if (::dup2(procs, kProcs) < 0 || ::close_range(kProcs + 1, ~0U, 0) != 0) ::_exit(1);
    // Itself.
    const ssize_t moved = ::write(kProcs, "0", 1);
    ::_exit(moved == 1 ? 0 : 1);
  }
  ::close(procs);
  if (child > 0) ReapWithin(child, kVisitMs);
}

absl::StatusOr<std::optional<std::string>> SystemdUnits::ReadGroup(const std::string& cgroup,
                                                                   const std::string& file) {
  const std::string controller = ControllerOf(file);
  const absl::StatusOr<std::string> directory = cgroups_->DirectoryOf(cgroup, controller);
  if (!directory.ok()) return directory.status();
  absl::StatusOr<std::string> text = cgroups_->Read(cgroup, controller, file);
  if (text.ok()) return std::optional<std::string>(*std::move(text));
  // The file is missing, and its group is not.
  const bool there = ::access(directory->c_str(), F_OK) == 0;
  if (absl::IsNotFound(text.status()) && there) return std::optional<std::string>();
  return text.status();
}

absl::Status SystemdUnits::WriteGroup(const std::string& cgroup, const std::string& file,
                                      const std::string& value) {
  return cgroups_->Write(cgroup, ControllerOf(file), file, value);
}

absl::StatusOr<std::unique_ptr<SlowWrite>> SystemdUnits::BeginWriteGroup(const std::string& cgroup,
                                                                         const std::string& file,
                                                                         const std::string& value) {
  return cgroups_->BeginWrite(cgroup, ControllerOf(file), file, value);
}

absl::StatusOr<std::optional<std::string>> SystemdUnits::ReadFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadWhole(path);
  if (absl::IsNotFound(text.status())) return std::optional<std::string>();
  if (!text.ok()) return text.status();
  return std::optional<std::string>(*std::move(text));
}

absl::Status SystemdUnits::WriteFile(const std::string& path, const std::string& text) {
  // No ".conf" at its end: systemd does not read it.
  const std::string beside = path + ".faultline";
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", beside));
  const ssize_t written = ::write(fd, text.data(), text.size());
  int error = written < 0 ? errno : 0;
  if (error == 0 && static_cast<size_t>(written) != text.size()) error = ENOSPC;
  // Of systemd's own drop-ins, whatever our umask.
  if (error == 0 && ::fchmod(fd, 0644) != 0) error = errno;
  ::close(fd);
  if (error == 0 && ::rename(beside.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) ::unlink(beside.c_str());
  return ErrnoStatus(error, absl::StrCat("write ", path));
}

absl::Status SystemdUnits::RemoveFile(const std::string& path) {
  const bool gone = ::unlink(path.c_str()) == 0 || errno == ENOENT;
  return ErrnoStatus(gone ? 0 : errno, absl::StrCat("remove ", path));
}

absl::Status SystemdUnits::RemoveFolder(const std::string& path) {
  // EBUSY: a mount point of our own service (ReadWritePaths=), which made it and keeps it.
  const bool done =
      ::rmdir(path.c_str()) == 0 || errno == ENOENT || errno == ENOTEMPTY || errno == EBUSY;
  return ErrnoStatus(done ? 0 : errno, absl::StrCat("remove ", path));
}

}  // namespace faultline
