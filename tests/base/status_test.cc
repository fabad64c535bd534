// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace faultline {
namespace {

TEST(Status_FromErrno, CarriesCodeObjectAndText) {
  const absl::Status status = ErrnoStatus(ENOENT, "open /x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "open /x: No such file or directory");
  EXPECT_TRUE(ErrnoStatus(0, "nothing").ok());
  EXPECT_TRUE(BpfStatus(3, "a descriptor").ok());
  EXPECT_EQ(BpfStatus(-EPERM, "load").code(), absl::StatusCode::kPermissionDenied);
}

TEST(Status_ThroughGrpc, ComesBackTheSame) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
}

TEST(Status_WithContext, GoesBeforeTheMessage) {
  EXPECT_EQ(WithContext(absl::NotFoundError("gone"), "unit web").message(), "unit web: gone");
  EXPECT_TRUE(WithContext(absl::OkStatus(), "unit web").ok());
}

}  // namespace
}  // namespace faultline
