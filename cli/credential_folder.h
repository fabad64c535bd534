// SPDX-License-Identifier: Apache-2.0
//
// Writes a folder of certificates and keys so that a reader sees the old one or the new one whole:
// it is made beside its place and then renamed, or exchanged with what stands there. Folders are
// 0700, keys 0600, certificates 0644; what is replaced hands on its owners and modes. Stateless;
// one thread.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace faultline::cli {

// `files`: name to content; names that end in "key.pem" are keys. AlreadyExists: `folder` is there
// and `replace` is false; FailedPrecondition: it is to be replaced and holds other files too;
// NotFound: its parent is not there.
absl::Status WriteCredentialFolder(const std::string& folder,
                                   const std::map<std::string, std::string>& files, bool replace);

// The whole of a small file.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

}  // namespace faultline::cli
