// SPDX-License-Identifier: Apache-2.0
//
// A connection to systemd as this machine's init, for the programs that ask it for a control group
// or change one of its units. A library of its own (faultline_systemd), so that nobody else carries
// libsystemd. Stateless; a connection belongs to one thread at a time.
#pragma once

#include <systemd/sd-bus.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace faultline {

// What org.freedesktop.systemd1(5) calls its manager object.
constexpr char kSystemdName[] = "org.freedesktop.systemd1";
constexpr char kSystemdPath[] = "/org/freedesktop/systemd1";
constexpr char kSystemdManager[] = "org.freedesktop.systemd1.Manager";

struct SystemdCloser {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
using SystemdBus = std::unique_ptr<sd_bus, SystemdCloser>;

// Whether systemd is this machine's init, as sd_booted(3) tells.
bool SystemdRuns();

// Connects as root: over PID 1's own socket, where nothing stands in between (the bus daemon may be
// a fault's target), and over the system bus where that is not possible. Calls take at most
// `timeout` each.
absl::StatusOr<SystemdBus> ConnectSystemd(absl::Duration timeout);

// The status of a call that returned `result`, in systemd's own words if it gave any; frees
// `error`. NotFound: there is no such unit.
absl::Status SystemdStatus(int result, sd_bus_error* error, absl::string_view what);

}  // namespace faultline
