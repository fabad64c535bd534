// SPDX-License-Identifier: Apache-2.0
//
// The one place where foreign error codes become absl::Status: errno, libbpf's negative codes and
// gRPC's status. Everything here is stateless and may be called from any thread.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace faultline {

// Status for errno value `error` (positive) with a message "<what>: <text of error>". EPERM and
// EACCES become PermissionDenied, ENOENT NotFound, EEXIST AlreadyExists, EINVAL InvalidArgument,
// ENOSYS and EOPNOTSUPP Unimplemented, EAGAIN and the network's codes Unavailable, ENOSPC and
// ENOMEM ResourceExhausted, the rest Internal. `error` 0 yields OK.
absl::Status ErrnoStatus(int error, absl::string_view what);

// The same for libbpf, which returns -errno; `result` >= 0 yields OK.
absl::Status BpfStatus(int result, absl::string_view what);

// Same code, same message, both ways.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

// `status` with "<context>: " before its message; OK stays OK.
absl::Status WithContext(const absl::Status& status, absl::string_view context);

}  // namespace faultline
