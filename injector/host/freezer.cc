// SPDX-License-Identifier: Apache-2.0
#include "injector/host/freezer.h"

#include <stop_token>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/host/dose.h"

namespace faultline {
namespace {

// Tasks stop at their next way to user space; one in uninterruptible sleep does not.
constexpr std::int64_t kFreezeTimeoutNs = 500 * kNsPerMs;
constexpr std::int64_t kPollNs = kNsPerMs / 5;

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
  FreezerLever(const Cgroups* cgroups, Clock* clock, v1::Change change)
      : cgroups_(cgroups),
        clock_(clock),
        v2_(change.attribute() == kV2.attribute),
        change_(std::move(change)) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    const std::int64_t begin_ns = clock_->Now().boottime_ns;
    if (absl::Status status = Write(change_.after()); !status.ok()) return status;
    if (absl::Status status = WaitUntilFrozen(true); !status.ok()) return status;
    frozen_ns_ = clock_->Now().boottime_ns;
    error_ns_ = frozen_ns_ - begin_ns;
    return absl::OkStatus();
  }

  // A task that has just come in may still be on its way; what was asked for is what counts.
  absl::Status Verify() override {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    if (absl::IsNotFound(asked.status())) return asked.status();
    if (!asked.ok()) return absl::AbortedError(asked.status().message());
    if (*asked) return absl::OkStatus();
    return absl::AbortedError(
        absl::StrCat("somebody else thawed control group ", change_.object()));
  }

  absl::Status Restore() override {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    // A group that is gone holds no task.
    if (absl::IsNotFound(asked.status())) return absl::OkStatus();
    if (!asked.ok()) return asked.status();
    // Thawed by somebody else, it is not known since when.
    if (!*asked) return absl::OkStatus();
    if (absl::Status status = Write(change_.before()); !status.ok()) return status;
    if (thawed_ns_ == 0) thawed_ns_ = clock_->Now().boottime_ns;
    return absl::OkStatus();
  }

  absl::Status Residue() override {
    const absl::StatusOr<bool> asked = AskedToFreeze();
    if (absl::IsNotFound(asked.status())) return absl::OkStatus();
    if (!asked.ok()) return asked.status();
    if (!*asked) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("control group ", change_.object(), " is still frozen"));
  }

  // Time without a single task in the group is no dose, nor is any after somebody else thawed it.
  Evidence Measure() override {
    const std::int64_t now_ns = thawed_ns_ != 0 ? thawed_ns_ : clock_->Now().boottime_ns;
    // After our own thaw: what was so right before it.
    if (thawed_ns_ == 0) pauses_ = frozen_ns_ != 0 && Verify().ok() && Populated();
    if (first_touch_ns_ == 0 && thawed_ns_ == 0 && pauses_) {
      first_touch_ns_ = last_empty_ns_ == 0 ? frozen_ns_ : now_ns;
      if (last_empty_ns_ != 0) error_ns_ = now_ns - last_empty_ns_;
    }
    if (first_touch_ns_ == 0) last_empty_ns_ = now_ns;
    if (first_touch_ns_ != 0 && pauses_) last_touch_ns_ = now_ns;
    Evidence evidence;
    evidence.first_touch_ns = first_touch_ns_;
    evidence.last_touch_ns = last_touch_ns_;
    evidence.error_ns = error_ns_;
    evidence.dose.push_back(MakeDose("paused_ns", "ns", last_touch_ns_ - first_touch_ns_));
    return evidence;
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

  absl::Status WaitUntilFrozen(bool wanted) const {
    const std::int64_t end_ns = clock_->Now().boottime_ns + kFreezeTimeoutNs;
    while (true) {
      const absl::StatusOr<bool> frozen = Frozen();
      if (!frozen.ok()) return frozen.status();
      if (*frozen == wanted) return absl::OkStatus();
      const std::int64_t now_ns = clock_->Now().boottime_ns;
      if (now_ns >= end_ns) break;
      clock_->WaitUntil(now_ns + kPollNs, std::stop_token());
    }
    return absl::UnavailableError(
        absl::StrCat("control group ", change_.object(),
                     " did not freeze within 0.5 s: a task in it is in uninterruptible sleep"));
  }

  bool Populated() const {
    if (v2_) {
      const absl::StatusOr<std::string> events = Read("cgroup.events");
      return events.ok() && Field(*events, "populated") == "1";
    }
    const absl::StatusOr<bool> has = cgroups_->HasProcess(change_.object(), "freezer");
    return has.ok() && *has;
  }

  const Cgroups* cgroups_;
  Clock* clock_;
  const bool v2_;
  const v1::Change change_;
  std::int64_t frozen_ns_ = 0;
  std::int64_t thawed_ns_ = 0;
  std::int64_t first_touch_ns_ = 0;
  std::int64_t last_touch_ns_ = 0;
  std::int64_t last_empty_ns_ = 0;
  std::int64_t error_ns_ = 0;
  bool pauses_ = false;
};

}  // namespace

LeverOr MakeFreezer(const Cgroups* cgroups, Clock* clock, const std::string& cgroup) {
  absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = cgroups->HierarchyOf("freezer");
  if (!hierarchy.ok()) return hierarchy.status();
  const Interface& interface = (*hierarchy)->v2 ? kV2 : kV1;
  v1::Change change;
  change.set_kind("freezer");
  change.set_object(cgroup);
  change.set_attribute(interface.attribute);
  change.set_before(interface.before);
  change.set_after(interface.after);
  auto lever = std::make_unique<FreezerLever>(cgroups, clock, std::move(change));
  if (absl::Status status = lever->CheckThawed(); !status.ok()) return status;
  return lever;
}

LeverOr RecoverFreezer(const Cgroups* cgroups, Clock* clock, const v1::Change& change) {
  return std::make_unique<FreezerLever>(cgroups, clock, change);
}

}  // namespace faultline
