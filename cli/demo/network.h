// SPDX-License-Identifier: Apache-2.0
//
// The demo's private network: a veth pair, one end here with the server's address, the other in a
// network namespace that has no name and no mount. It lives as long as this object, or its
// processes; when the demo is killed the kernel removes all of it. Main thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace faultline::cli {

class DemoNetwork {
 public:
  // `tag` makes the device's name unique: "fl<tag>s". Takes an unused /30 of 198.18.0.0/15, which
  // is set aside for tests (RFC 2544).
  static absl::StatusOr<std::unique_ptr<DemoNetwork>> Create(pid_t tag);
  ~DemoNetwork();
  DemoNetwork(const DemoNetwork&) = delete;
  DemoNetwork& operator=(const DemoNetwork&) = delete;

  // The server's end.
  const std::string& device() const { return device_; }
  const std::string& server_address() const { return server_address_; }
  const std::string& client_address() const { return client_address_; }
  // The client's namespace, for setns.
  int namespace_fd() const { return namespace_fd_; }

  // Deletes the pair; both ends go. OK when it is gone already.
  absl::Status Remove();

 private:
  DemoNetwork() = default;

  std::string device_;
  std::string server_address_;
  std::string client_address_;
  int namespace_fd_ = -1;
};

}  // namespace faultline::cli
