// SPDX-License-Identifier: Apache-2.0
//
// Whether the collector still stands behind the faults that came through it. Its agent renews the
// lease every few seconds; faults that are leased end with it, so that a node which lost its
// collector, or whose agent died, is left alone within 15 s. Thread-safe: a renewal must not wait
// for a controller that is changing the host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

class Lease {
 public:
  // As LeaseRequest.ttl_ns: more is cut to it.
  static constexpr std::int64_t kMaxTtlNs = 15'000'000'000;
  static constexpr int kMaxCollectors = 4;

  // `file`: where the collector's addresses outlive this process, in memory, so that they end with
  // the boot; empty: nowhere. `term_file`: where a keeper reads until when the lease stands; that
  // of a predecessor is removed, as its faults are undone; empty: no keeper knows it.
  explicit Lease(std::string file = "", std::string term_file = "");

  static std::string TermFile(const std::string& run_dir) { return run_dir + "/lease"; }
  // What is in a `term_file`, CLOCK_BOOTTIME ns; INT64_MAX: it is not known.
  static std::int64_t ReadTerm(const std::string& term_file);

  // InvalidArgument: no time, or an address that is none; nothing is renewed then. Never shortens:
  // an answer that was overtaken says nothing new.
  absl::StatusOr<v1::LeaseResponse> Renew(const v1::LeaseRequest& request, std::int64_t now_ns);

  bool InForce(std::int64_t now_ns) const { return now_ns < until_ns(); }
  // CLOCK_BOOTTIME ns; 0: there was none.
  std::int64_t until_ns() const;
  // When it was renewed last, CLOCK_BOOTTIME ns; 0: never.
  std::int64_t heard_ns() const;

  // Where the collector is, as last told; kept when the lease is over, as it may come back there.
  std::vector<v1::PeerFilter> collectors() const;
  // Something was told; of a collector on this host no packet has to be spared.
  bool knows_collector() const;

  // "the collector was not heard of for 9s".
  std::string Silence(std::int64_t now_ns) const;

 private:
  // Best effort: without it the next lease tells again.
  void Keep(const v1::LeaseRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Removes the file where it cannot be written: a keeper must not go by an old one.
  void KeepTerm(std::int64_t until_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string file_;
  const std::string term_file_;
  mutable absl::Mutex mutex_;
  // What the file holds.
  std::string kept_ ABSL_GUARDED_BY(mutex_);
  std::int64_t until_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  std::int64_t heard_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  bool knows_collector_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<v1::PeerFilter> collectors_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
