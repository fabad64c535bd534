// SPDX-License-Identifier: Apache-2.0
//
// A connection to systemd as this machine's init, for the programs that ask it for a control group
// or change one of its units. A library of its own (faultline_systemd), so that nobody else carries
// libsystemd. Stateless; a connection belongs to one thread at a time.
#pragma once

#include <systemd/sd-bus.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace faultline {

// What org.freedesktop.systemd1(5) calls its manager object.
constexpr char kSystemdName[] = "org.freedesktop.systemd1";
constexpr char kSystemdPath[] = "/org/freedesktop/systemd1";
constexpr char kSystemdManager[] = "org.freedesktop.systemd1.Manager";

// systemd's private D-Bus socket, which systemctl uses as well when root calls it.
constexpr char kSystemdSocket[] = "unix:path=/run/systemd/private";

struct SystemdCloser {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
using SystemdBus = std::unique_ptr<sd_bus, SystemdCloser>;

struct SystemdMessageFree {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using SystemdMessage = std::unique_ptr<sd_bus_message, SystemdMessageFree>;

// Whether systemd is this machine's init, as sd_booted(3) tells.
bool SystemdRuns();

// Connects as root: over PID 1's own socket, where nothing stands in between (the bus daemon may be
// a fault's target), and over the system bus where that is not possible. Calls take at most
// `timeout` each. `address`: of that socket.
absl::StatusOr<SystemdBus> ConnectSystemd(absl::Duration timeout,
                                          const std::string& address = kSystemdSocket);

// The status of a call that returned `result`, in systemd's own words if it gave any; frees
// `error`, which may be null. NotFound: there is no such unit.
absl::Status SystemdStatus(int result, sd_bus_error* error, absl::string_view what);

}  // namespace faultline
