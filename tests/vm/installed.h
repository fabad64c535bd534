// SPDX-License-Identifier: Apache-2.0
//
// What scenarios and benches on whole machines start from: a disk with the packages installed, made
// once from the image, and what a fault may change there, as text to compare. Any thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace faultline {

// Folder with the packages, from the environment (FAULTLINE_PACKAGES, for arm64
// FAULTLINE_PACKAGES_ARM64); empty: none were made.
std::string PackageDir(const std::string& arch);

// A disk on which the packages are installed, the injector may take faults, and none of the
// services runs. Made by whoever comes first, which takes a minute; others wait for it.
absl::StatusOr<std::string> InstalledDisk(const std::string& arch);

// Defines the shell function `digest`: what faults change, of every unit of system.slice and every
// device.
extern const char kDigestScript[];

// A command for a guest on that disk: makes what guest_faults.cc disturbs and starts the injector,
// now and at every boot, and writes /root/digest, a script that prints `digest`. The injector's
// service may be killed as often as one likes.
std::string PrepareFaults();

}  // namespace faultline
