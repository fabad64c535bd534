// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "base/log.h"

namespace faultline {
namespace {

std::int64_t Read(clockid_t id) {
  timespec now{};
  ::clock_gettime(id, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

class SystemClock final : public Clock {
 public:
  Instant Now() override {
    Instant now;
    now.boottime_ns = Read(CLOCK_BOOTTIME);
    now.realtime_ns = Read(CLOCK_REALTIME);
    return now;
  }

  // A timer on BOOTTIME itself: condition variables and nanosleep on MONOTONIC would wait through a
  // suspend.
  bool WaitUntil(std::int64_t boottime_ns, const std::stop_token& stop) override {
    const int timer = ::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
    const int wake = ::eventfd(0, EFD_CLOEXEC);
    if (timer < 0 || wake < 0) Bug("no descriptor left for a timer");
    itimerspec when{};
    // 0 would disarm it.
    const std::int64_t at = boottime_ns > 0 ? boottime_ns : 1;
    when.it_value.tv_sec = at / kNsPerSecond;
    when.it_value.tv_nsec = at % kNsPerSecond;
    ::timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, nullptr);
    bool reached = false;
    {
      const std::stop_callback on_stop(stop, [wake] { ::eventfd_write(wake, 1); });
      std::array<pollfd, 2> fds{{{timer, POLLIN, 0}, {wake, POLLIN, 0}}};
      while (::poll(fds.data(), fds.size(), -1) < 0 && errno == EINTR) {
      }
      reached = (fds[0].revents & POLLIN) != 0;
    }
    ::close(timer);
    ::close(wake);
    return reached && !stop.stop_requested();
  }
};

}  // namespace

Clock& Clock::System() {
  static SystemClock clock;
  return clock;
}

}  // namespace faultline
