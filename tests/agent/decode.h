// SPDX-License-Identifier: Apache-2.0
//
// Opens a batch as a collector does.
#pragma once

#include <gtest/gtest.h>
#include <zstd.h>

#include <string>

#include "faultline/v1/telemetry.pb.h"

namespace faultline {

inline v1::Batch Decode(const v1::EncodedBatch& encoded) {
  std::string plain(encoded.decoded_bytes(), '\0');
  const size_t size = ZSTD_decompress(plain.data(), plain.size(), encoded.payload().data(),
                                      encoded.payload().size());
  EXPECT_EQ(size, plain.size());
  v1::Batch batch;
  EXPECT_TRUE(batch.ParseFromString(plain));
  return batch;
}

}  // namespace faultline
