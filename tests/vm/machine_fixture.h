// SPDX-License-Identifier: Apache-2.0
//
// A guest with the Debian packages at hand, for scenarios on whole machines. What fails keeps the
// guest's journal, and says where.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

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

  // Boots a guest with kernel 6.1 that has the packages in Guest::kFiles; skips if no image was
  // made, fails if there are no packages.
  void SetUp() override;
  // What else of the build is to be in Guest::kFiles; read by SetUp.
  std::vector<std::string> programs_;
  // Installs all packages and starts nginx; the injector is allowed to take faults, and runs.
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
