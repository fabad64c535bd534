// SPDX-License-Identifier: Apache-2.0
#include "base/certificate_watch.h"

#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/event.h"

namespace faultline {
namespace {

constexpr std::int64_t kEveryNs = 3600 * kNsPerSecond;

void LogTime(absl::string_view what, absl::string_view follows) {
  LogEvent(Event::kCertificateTime, {{kReasonField, what}}, what, "; ", follows);
}

}  // namespace

CertificateWatch::CertificateWatch(TlsOptions tls, Role role, std::string loss)
    : tls_(std::move(tls)), role_(role), loss_(std::move(loss)) {
  Look(absl::Now());
  thread_ = std::jthread([this](const std::stop_token& stop) {
    Clock& clock = Clock::System();
    while (clock.WaitUntil(clock.Now().boottime_ns + kEveryNs, stop)) Look(absl::Now());
  });
}

void CertificateWatch::Look(absl::Time now) {
  const absl::StatusOr<OwnCertificate> own = ReadOwnCertificate(tls_, role_);
  const absl::Status timely = own.ok() ? CheckTime(*own, now) : own.status();
  const bool soon = timely.ok() && own->end - now < kRenewBefore;
  // Not the message, which may hold the time of the look.
  std::string state;
  if (!own.ok()) {
    state = "unread";
  } else if (soon || !timely.ok()) {
    state = absl::StrCat(soon               ? "soon"
                         : now < own->begin ? "early"
                                            : "late",
                         " ", absl::ToUnixSeconds(own->end));
  }
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(state_, state) == state) return;
  }
  if (!timely.ok()) return LogTime(timely.message(), loss_);
  if (!soon) return;
  LogTime(absl::StrCat("the certificate of ", RoleWord(role_), " ", own->peer.name, " ends on ",
                       absl::FormatTime(own->end, absl::UTCTimeZone())),
          absl::StrCat(HowToRenew(own->peer), "; it needs no restart"));
}

}  // namespace faultline
