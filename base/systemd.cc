// SPDX-License-Identifier: Apache-2.0
#include "base/systemd.h"

#include <systemd/sd-daemon.h>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"

namespace faultline {
namespace {

SystemdBus Direct(const std::string& address) {
  sd_bus* made = nullptr;
  if (sd_bus_new(&made) < 0) return nullptr;
  SystemdBus bus(made);
  if (sd_bus_set_address(made, address.c_str()) < 0 || sd_bus_start(made) < 0) return nullptr;
  return bus;
}

// A call would wait for a connection without regard to its timeout.
absl::Status AwaitReady(sd_bus* bus, absl::Duration timeout) {
  Clock& clock = Clock::System();
  const std::int64_t end_ns = clock.Now().boottime_ns + absl::ToInt64Nanoseconds(timeout);
  while (sd_bus_is_ready(bus) <= 0) {
    const std::int64_t left_us = (end_ns - clock.Now().boottime_ns) / 1000;
    if (left_us <= 0) {
      return absl::UnavailableError(absl::StrCat("systemd does not take a connection within ",
                                                 absl::FormatDuration(timeout)));
    }
    int result = sd_bus_process(bus, nullptr);
    if (result == 0) result = sd_bus_wait(bus, static_cast<std::uint64_t>(left_us));
    if (result < 0) return ErrnoStatus(-result, "connect to systemd");
  }
  return absl::OkStatus();
}

}  // namespace

bool SystemdRuns() { return sd_booted() > 0; }

absl::StatusOr<SystemdBus> ConnectSystemd(absl::Duration timeout, const std::string& address) {
  SystemdBus bus = Direct(address);
  if (bus == nullptr) {
    sd_bus* opened = nullptr;
    const int result = sd_bus_open_system(&opened);
    if (result < 0) return ErrnoStatus(-result, "connect to the system bus");
    bus.reset(opened);
  }
  const auto us = static_cast<std::uint64_t>(absl::ToInt64Microseconds(timeout));
  const int result = sd_bus_set_method_call_timeout(bus.get(), us);
  if (result < 0) return ErrnoStatus(-result, "bound systemd's calls");
  if (absl::Status ready = AwaitReady(bus.get(), timeout); !ready.ok()) return ready;
  return bus;
}

absl::Status SystemdStatus(int result, sd_bus_error* error, absl::string_view what) {
  absl::Status status = result < 0 ? ErrnoStatus(-result, what) : absl::OkStatus();
  if (error == nullptr) return status;
  if (result < 0 && error->message != nullptr) {
    const bool no_unit = sd_bus_error_has_name(error, "org.freedesktop.systemd1.NoSuchUnit") > 0;
    status = absl::Status(no_unit ? absl::StatusCode::kNotFound : status.code(),
                          absl::StrCat(what, ": ", error->message));
  }
  sd_bus_error_free(error);
  return status;
}

}  // namespace faultline
