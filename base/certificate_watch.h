// SPDX-License-Identifier: Apache-2.0
//
// Keeps an eye on the time of the program's own certificate while it runs: looks every hour, and
// when it is told to, and logs certificate_time once for each state: not yet valid, about to end,
// expired, not readable. A certificate that was exchanged is another one. Owns its thread; any
// thread may call.
#pragma once

#include <mutex>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/credentials.h"

namespace faultline {

class CertificateWatch {
 public:
  // `loss`: what follows from a certificate that is not valid, for the log.
  CertificateWatch(TlsOptions tls, Role role, std::string loss);
  CertificateWatch(const CertificateWatch&) = delete;
  CertificateWatch& operator=(const CertificateWatch&) = delete;

  // Reads the certificate and judges it by the time `now`.
  void Look(absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const TlsOptions tls_;
  const Role role_;
  const std::string loss_;
  std::mutex mutex_;
  // The state that was logged last; empty: it is well.
  std::string state_ ABSL_GUARDED_BY(mutex_);
  // Declared last: it uses everything above.
  std::jthread thread_;
};

}  // namespace faultline
