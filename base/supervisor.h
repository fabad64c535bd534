// SPDX-License-Identifier: Apache-2.0
//
// Who supervises this process: systemd, if the unit says Type=notify, or nobody, and then nothing
// happens here. The protocol is sd_notify(3)'s, spoken without libsystemd, which would be resident
// in each service for three datagrams. Owned by main; every method may be called by any thread and
// never blocks: a word that the supervisor has no room for is dropped.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace faultline {

class Supervisor {
 public:
  // Of this process, from NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which are taken out of the
  // environment, so that no helper speaks in our name. Before any thread exists.
  static Supervisor FromEnvironment();

  // `address`: path of a datagram socket, '@' first for an abstract one; empty: nobody.
  // `watchdog_ns`: it ends this process after that much silence of Alive; 0: it does not.
  Supervisor(const std::string& address, std::int64_t watchdog_ns);
  Supervisor(Supervisor&& other) noexcept;
  ~Supervisor();

  // Whether there is one.
  bool there() const { return socket_ >= 0; }

  // The service is what it promises to be from now on; `status` is what `systemctl status` shows.
  void Ready(absl::string_view status);
  void Stopping();

  // Work was done. Call it for nothing else; it may be called far more often than needed.
  void Alive(std::int64_t boottime_ns);

  // The work takes place every `ns`: a shorter watchdog than three times that would bark at a
  // service that is well, so it is raised.
  void ExpectEvery(std::int64_t ns);

  // How often Alive is wanted, ns; 0: nobody asked.
  std::int64_t alive_every_ns() const { return watchdog_ns_ / 4; }

 private:
  void Say(absl::string_view text);

  // -1: nobody.
  int socket_ = -1;
  std::int64_t watchdog_ns_;
  // CLOCK_BOOTTIME ns.
  std::atomic<std::int64_t> last_alive_ns_{0};
};

}  // namespace faultline
