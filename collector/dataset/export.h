// SPDX-License-Identifier: Apache-2.0
//
// A run becomes a dataset in the native layout. Everything is derived from what the store holds at
// the moment of the call: the same store yields the same bytes. Runs on the caller's thread with a
// catalogue of its own, in memory that does not grow with the length of the run.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "collector/dataset/file_sink.h"
#include "collector/store/catalogue.h"

namespace faultline {

// Exports `run` (NotFound: there is none); an open one up to `now_ns`, real time. The summary has
// been sent as the last chunk when it returns OK.
absl::Status ExportRun(Catalogue* catalogue, const std::string& run, std::int64_t now_ns,
                       FileSink* sink);

}  // namespace faultline
