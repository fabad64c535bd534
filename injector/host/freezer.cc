// SPDX-License-Identifier: Apache-2.0
#include "injector/host/freezer.h"

#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/host/pause_count.h"

namespace faultline {
namespace {

// Tasks stop at their next way to user space; one in uninterruptible sleep does not.
constexpr std::int64_t kFreezeTimeoutNs = 500 * kNsPerMs;
constexpr std::int64_t kPollNs = kNsPerMs / 5;
// Waited for on the spot, as nearly all freeze within it, and between two looks afterwards.
constexpr std::int64_t kFreezeMomentNs = 2 * kNsPerMs;

// The two interfaces, told apart by who owns the freezer.
struct Interface {
  const char* attribute;
  const char* before;
  const char* after;
};
constexpr Interface kV1{"freezer.state", "THAWED", "FROZEN"};
constexpr Interface kV2{"cgroup.freeze", "0", "1"};

// Value of `key` in "key value" lines; empty: there is none.
std::string Field(const std::string& text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() == 2 && words[0] == key) return std::string(words[1]);
  }
  return "";
}

class FreezerLever final : public Lever {
 public:
  FreezerLever(Cgroups* cgroups, Clock* clock, v1::Change change)
      : cgroups_(cgroups),
        clock_(clock),
        v2_(change.attribute() == kV2.attribute),
        change_(std::move(change)),
        on_(change_.after() != change_.before()) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    wait_ns_ = 0;
    if (begin_ns_ == 0) {
      const std::int64_t begin_ns = clock_->Now().boottime_ns;
      if (absl::Status status = Write(change_.after()); !status.ok()) return status;
      begin_ns_ = begin_ns;
    }
    if (absl::Status status = Await(on_); !status.ok()) {
      if (wait_ns_ == 0) begin_ns_ = 0;
      return status;
    }
    const std::int64_t begin_ns = std::exchange(begin_ns_, 0);
    if (!on_) return absl::OkStatus();
    const std::int64_t now_ns = clock_->Now().boottime_ns;
    count_.Begin(now_ns, now_ns - begin_ns);
    return absl::OkStatus();
  }

  std::int64_t wait_ns() const override { return wait_ns_; }

  absl::Status SetLevel(double level) override {
    if (level > 0) {
      on_ = true;
      return Apply();
    }
    Look();
    absl::Status thawed = Thaw();
    on_ = !thawed.ok();
    return thawed;
  }

  // A task that has just come in may still be on its way; what was asked for is what counts.
  absl::Status Verify() override {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    if (absl::IsNotFound(asked.status())) return asked.status();
    if (!asked.ok()) return absl::AbortedError(asked.status().message());
    if (*asked == on_) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat("somebody else ", on_ ? "thawed" : "froze",
                                           " control group ", change_.object()));
  }

  absl::Status Restore() override {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    // A group that is gone holds no task.
    if (absl::IsNotFound(asked.status())) return absl::OkStatus();
    if (!asked.ok()) return asked.status();
    // Thawed by somebody else, it is not known since when.
    if (!*asked) return absl::OkStatus();
    // Between two pulses it was not us.
    if (!on_) {
      return absl::AbortedError(
          absl::StrCat("somebody else froze control group ", change_.object(), ", left alone"));
    }
    return Thaw();
  }

  absl::Status Residue() override {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    if (absl::IsNotFound(asked.status())) return absl::OkStatus();
    if (!asked.ok()) return asked.status();
    if (!*asked) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("control group ", change_.object(), " is still frozen"));
  }

  Evidence Measure() override {
    Look();
    return count_.ToEvidence();
  }

  // FailedPrecondition: frozen already.
  absl::Status CheckThawed() const {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    if (!asked.ok()) return asked.status();
    const absl::StatusOr<bool> frozen = Frozen();
    if (!frozen.ok()) return frozen.status();
    if (!*asked && !*frozen) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "control group ", change_.object(),
        *asked ? " is frozen already" : " is frozen by a group above it", "; thaw it first"));
  }

 private:
  absl::StatusOr<std::string> Read(const char* file) const {
    return cgroups_->Read(change_.object(), "freezer", file);
  }
  absl::Status Write(const std::string& value) const {
    return cgroups_->Write(change_.object(), "freezer", change_.attribute(), value);
  }

  // Read back, so that what is frozen between two pulses is surely somebody else's doing. The tasks
  // run from within the first call on, and may take this thread's CPU before that returns: it is
  // over as of the telling, and the length of the call the doubt.
  absl::Status Thaw() {
    begin_ns_ = 0;
    wait_ns_ = 0;
    const std::int64_t told_ns = clock_->Now().boottime_ns;
    if (absl::Status status = Write(change_.before()); !status.ok()) return status;
    const std::int64_t thawed_ns = clock_->Now().boottime_ns;
    const absl::StatusOr<bool> asked = AskedToFreeze();
    if (!asked.ok()) return asked.status();
    if (*asked) {
      return absl::UnavailableError(absl::StrCat("control group ", change_.object(),
                                                 " is still frozen after a write of ",
                                                 change_.before()));
    }
    count_.End(told_ns, thawed_ns - told_ns);
    return absl::OkStatus();
  }

  void Look() {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    count_.See(clock_->Now().boottime_ns, asked.ok() && *asked && Populated());
  }

  // Of this group itself, whatever the ones above it are.
  absl::StatusOr<bool> AskedToFreeze() const {
    absl::StatusOr<std::string> text = Read(v2_ ? "cgroup.freeze" : "freezer.self_freezing");
    if (!text.ok()) return text.status();
    return *text == "1";
  }

  // Whether the tasks have stopped, for whatever reason.
  absl::StatusOr<bool> Frozen() const {
    absl::StatusOr<std::string> text = Read(v2_ ? "cgroup.events" : "freezer.state");
    if (!text.ok()) return text.status();
    return v2_ ? Field(*text, "frozen") == "1" : *text == "FROZEN";
  }

  // For a moment at a time.
  absl::Status Await(bool wanted) {
    const std::int64_t moment_ns = clock_->Now().boottime_ns + kFreezeMomentNs;
    while (true) {
      const absl::StatusOr<bool> frozen = Frozen();
      if (!frozen.ok()) return frozen.status();
      if (*frozen == wanted) return absl::OkStatus();
      const std::int64_t now_ns = clock_->Now().boottime_ns;
      if (now_ns - begin_ns_ >= kFreezeTimeoutNs) break;
      if (now_ns >= moment_ns) {
        wait_ns_ = kFreezeMomentNs;
        return absl::UnavailableError(
            absl::StrCat("control group ", change_.object(), " still freezes"));
      }
      clock_->WaitUntil(now_ns + kPollNs, std::stop_token());
    }
    return absl::UnavailableError(absl::StrCat(
        "control group ", change_.object(),
        wanted ? " did not freeze within 0.5 s: a task in it is in uninterruptible sleep"
               : " was frozen by somebody else meanwhile"));
  }

  bool Populated() const {
    if (v2_) {
      const absl::StatusOr<std::string> events = Read("cgroup.events");
      return events.ok() && Field(*events, "populated") == "1";
    }
    const absl::StatusOr<bool> has = cgroups_->HasProcess(change_.object(), "freezer", nullptr);
    return has.ok() && *has;
  }

  Cgroups* cgroups_;
  Clock* clock_;
  const bool v2_;
  const v1::Change change_;
  // What was last set, or is to be.
  bool on_;
  PauseCount count_;
  // When freezing began, while it is under way.
  std::int64_t begin_ns_ = 0;
  std::int64_t wait_ns_ = 0;
};

}  // namespace

LeverOr MakeFreezer(Cgroups* cgroups, Clock* clock, const std::string& cgroup, bool freezes) {
  const absl::StatusOr<bool> v2 = cgroups->IsV2("freezer");
  if (!v2.ok()) return v2.status();
  const Interface& interface = *v2 ? kV2 : kV1;
  v1::Change change;
  change.set_kind("freezer");
  change.set_object(cgroup);
  change.set_attribute(interface.attribute);
  change.set_before(interface.before);
  change.set_after(freezes ? interface.after : interface.before);
  auto lever = std::make_unique<FreezerLever>(cgroups, clock, std::move(change));
  if (absl::Status status = lever->CheckThawed(); !status.ok()) return status;
  return lever;
}

LeverOr RecoverFreezer(Cgroups* cgroups, Clock* clock, const v1::Change& change) {
  return std::make_unique<FreezerLever>(cgroups, clock, change);
}

}  // namespace faultline
