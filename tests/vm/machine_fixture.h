// SPDX-License-Identifier: Apache-2.0
//
// A guest with the Debian packages, for scenarios on whole machines. What fails keeps the guest's
// journal, and says where.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "tests/vm/guest.h"
#include "tests/vm/installed.h"

namespace faultline {

// The cgroup of nginx, a real service that faults are for, and a command that starts one on it.
inline constexpr char kTarget[] = "cgroup:/system.slice/nginx.service";
// The injector of the guest, as root.
inline constexpr char kRoot[] = "faultline --injector unix:/run/faultline/root.sock ";

// A guest that the test talks to. Every command is expected to end as said; its failure is the
// test's.
class Machine {
 public:
  explicit Machine(std::unique_ptr<Guest> guest) : guest_(std::move(guest)) {}

  Guest& guest() { return *guest_; }
  // Output of a command that must succeed, or must fail.
  std::string Do(const std::string& command) { return Expect(command, true); }
  std::string Fail(const std::string& command) { return Expect(command, false); }
  // Repeats the command until it succeeds; the test fails after 90 s.
  void Await(const std::string& command);
  // Seconds since its boot.
  double Now();
  // Output of `digest`.
  std::string Digest() { return Do(std::string(kDigestScript) + "digest"); }
  void Write(const std::string& path, const std::string& text);
  // Writes what it printed, the journals of all its boots and what the test left in its /root
  // (datasets, digests) to `folder`.
  void KeepResults(const std::string& folder);

 private:
  std::string Expect(const std::string& command, bool success);
  std::unique_ptr<Guest> guest_;
};

class MachineTest : public ::testing::Test {
 protected:
  // Skips if no image was made, fails if there are no packages.
  void SetUp() override;
  // Of a test that failed, keeps the guests' results and prints where.
  void TearDown() override;

  // Starts a guest on which the packages are installed, the injector may take faults, and none of
  // the services runs. `programs`: what of the build is to be in Guest::kFiles. The fixture's own;
  // a failure of the test and null if it does not start.
  Machine* Boot(Guest::Options options = {}, const std::vector<std::string>& programs = {});
  // A guest without the packages, which are in Guest::kFiles.
  Machine* BootBare(Guest::Options options = {});

  // Of the guest that was started first.
  std::string Do(const std::string& command);
  std::string Fail(const std::string& command);
  void Await(const std::string& command);

  // --long was asked for.
  static bool Long();
  // Why a test that is not worth its minutes in every run is skipped.
  static constexpr char kOnlyLong[] = "runs with ./run vm --long and ./run test --long only";

  const TempDir dir_;

 private:
  Machine* Keep(absl::StatusOr<std::unique_ptr<Guest>> guest, const std::string& name);
  // Made for this test, in the folder of the system's temporary files.
  static std::string ResultsFolder();
  std::vector<std::unique_ptr<Machine>> machines_;
};

}  // namespace faultline
