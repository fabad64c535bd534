// SPDX-License-Identifier: Apache-2.0
//
// A guest with the Debian packages at hand, for scenarios on whole machines. What fails keeps the
// guest's journal, and says where.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/clock.h"
#include "tests/vm/guest.h"

namespace faultline {

// The cgroup of nginx, a real service that faults are for, and a command that starts one on it.
inline constexpr char kTarget[] = "cgroup:/system.slice/nginx.service";
// The injector of the guest, as root.
inline constexpr char kRoot[] = "faultline --injector unix:/run/faultline/root.sock ";

class MachineTest : public ::testing::Test {
 protected:
  // An emulated machine, on a busy host.
  static constexpr std::int64_t kPatienceNs = 300 * kNsPerSecond;

  // Boots `kernel`; skips if no image was made, fails if there are no packages.
  void Boot(const std::string& kernel = "6.1");
  // Installs all packages and starts the injector, which is allowed to take faults.
  void Install();
  // Output of a command that must succeed, or must fail.
  std::string Do(const std::string& command);
  std::string Fail(const std::string& command);
  // Repeats the command until it succeeds; fails the test after kPatienceNs.
  void Await(const std::string& command);
  void TearDown() override;

  const TempDir dir_;
  std::unique_ptr<Guest> guest_;

 private:
  std::string Expect(const std::string& command, bool success);
};

}  // namespace faultline
