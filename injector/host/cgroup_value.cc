// SPDX-License-Identifier: Apache-2.0
#include "injector/host/cgroup_value.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/host/keyed_text.h"
#include "injector/host/value_steps.h"

namespace faultline {
namespace {

// Where a value stands: `key` of the file's lines, or all of it where that is empty.
struct Place {
  std::string controller;
  std::string file;
  std::string key;
};

absl::StatusOr<std::string> ReadPlace(const Cgroups& cgroups, const std::string& cgroup,
                                      const Place& place) {
  absl::StatusOr<std::string> text = cgroups.Read(cgroup, place.controller, place.file);
  if (!text.ok() || place.key.empty()) return text;
  return ValueOfKey(*text, place.key);
}

// "none" of a line that is not there.
std::string ShowValue(const std::string& value) { return value.empty() ? "none" : value; }

class Value final : public Lever {
 public:
  Value(Cgroups* cgroups, Place place, v1::Change change, bool recovered)
      : cgroups_(cgroups),
        place_(std::move(place)),
        change_(std::move(change)),
        recovered_(recovered),
        set_(FirstValue(change_)),
        slow_(
            Name(),
            [this](const std::string& value) {
              return cgroups_->BeginWrite(change_.object(), place_.controller, place_.file, value);
            },
            [this] { return CheckOurs(); }) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override { return Set(); }

  absl::Status SetLevel(double level) override {
    set_ = ValueAt(change_, level);
    return Set();
  }

  std::int64_t wait_ns() const override { return slow_.wait_ns(); }

  absl::Status Verify() override {
    const absl::StatusOr<std::string> now = Read();
    if (absl::IsNotFound(now.status())) return now.status();
    if (!now.ok()) return absl::AbortedError(now.status().message());
    if (*now == set_ || (recovered_ && IsOwnValue(change_, *now))) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat(Name(), " is ", ShowValue(*now),
                                           " although the fault set it to ", ShowValue(set_)));
  }

  absl::Status Restore() override {
    // Before the write has ended it could still set what it was made for, on v1.
    const absl::Status left = slow_.Leave();
    const absl::StatusOr<std::string> now = Read();
    if (!left.ok()) {
      // On v2 it is in force, and ends here, unless that would free memory in its turn.
      const bool quick = place_.file != "memory.high" || change_.before() == "max";
      if (quick && now.ok() && IsOwnValue(change_, *now)) (void)Write(change_.before());
      return left;
    }
    // Its values went with the group.
    if (absl::IsNotFound(now.status())) return absl::OkStatus();
    if (!now.ok()) return now.status();
    if (*now == change_.before()) return absl::OkStatus();
    if (IsOwnValue(change_, *now)) return WriteBefore();
    return absl::AbortedError(
        absl::StrCat(Name(), " is ", ShowValue(*now), ", neither what the fault set (",
                     change_.after(), ") nor what was there before (", ShowValue(change_.before()),
                     "): somebody else's, left alone"));
  }

  absl::Status Residue() override {
    const absl::StatusOr<std::string> now = Read();
    if (absl::IsNotFound(now.status())) return absl::OkStatus();
    if (!now.ok()) return now.status();
    if (*now == change_.before()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(Name(), " is ", ShowValue(*now),
                                                      "; before the fault it was ",
                                                      ShowValue(change_.before())));
  }

 private:
  // While a write is under way, which would overwrite what somebody else wrote since.
  absl::Status CheckOurs() const {
    const absl::StatusOr<std::string> now = Read();
    if (!now.ok()) return now.status();
    if (*now == change_.before() || IsOwnValue(change_, *now)) return absl::OkStatus();
    return absl::AbortedError(
        absl::StrCat(Name(), " is ", *now, ": somebody else set it while the fault did"));
  }

  // More than a soft limit may be in use, also more than the one that comes back: it is in force
  // before the kernel frees what is above it (memory_high_write, mm/memcontrol.c).
  absl::Status WriteBefore() {
    if (place_.file != "memory.high" || change_.before() == "max") return Write(change_.before());
    const absl::Status set = slow_.Set(change_.before());
    // A fault that cannot have a thread ends all the same.
    return absl::IsResourceExhausted(set) ? Write(change_.before()) : Explained(set);
  }

  absl::Status Set() { return FreesMemory(place_.file) ? Explained(slow_.Set(set_)) : Write(set_); }

  absl::StatusOr<std::string> Read() const {
    return ReadPlace(*cgroups_, change_.object(), place_);
  }
  absl::Status Write(const std::string& value) const {
    const std::string text =
        place_.key.empty() ? value : LineForKey(place_.file, place_.key, value);
    return Explained(cgroups_->Write(change_.object(), place_.controller, place_.file, text));
  }
  absl::Status Explained(absl::Status written) const {
    // EBUSY of mem_cgroup_resize_max, mm/memcontrol-v1.c.
    if (!absl::IsFailedPrecondition(written) || place_.file != "memory.limit_in_bytes") {
      return written;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        written.message(),
        ": the kernel could not reclaim enough of what the group holds; ask for a higher limit"));
  }
  std::string Name() const {
    return absl::StrCat(place_.file, place_.key.empty() ? "" : " ", place_.key, " of ",
                        change_.object());
  }

  Cgroups* cgroups_;
  const Place place_;
  const v1::Change change_;
  const bool recovered_;
  // What was last set, or is to be.
  std::string set_;
  SlowWrites slow_;
};

LeverOr MakeValue(Cgroups* cgroups, const std::string& cgroup, Place place,
                  const std::string& value, const std::vector<std::string>& steps) {
  absl::StatusOr<std::string> before = ReadPlace(*cgroups, cgroup, place);
  if (!before.ok()) return before.status();
  v1::Change change;
  change.set_kind("cgroup_value");
  change.set_object(cgroup);
  change.set_attribute(
      absl::StrCat(place.controller, ":", place.file, place.key.empty() ? "" : " ", place.key));
  change.set_before(*before);
  change.set_after(value);
  change.mutable_steps()->Assign(steps.begin(), steps.end());
  return std::make_unique<Value>(cgroups, std::move(place), std::move(change), false);
}

}  // namespace

LeverOr MakeCgroupValue(Cgroups* cgroups, const std::string& cgroup, const std::string& controller,
                        const std::string& file, const std::string& value,
                        const std::vector<std::string>& steps) {
  return MakeValue(cgroups, cgroup, {controller, file, ""}, value, steps);
}

LeverOr MakeCgroupKey(Cgroups* cgroups, const std::string& cgroup, const std::string& controller,
                      const std::string& file, const std::string& key, const std::string& value,
                      const std::vector<std::string>& steps) {
  return MakeValue(cgroups, cgroup, {controller, file, key}, value, steps);
}

LeverOr RecoverCgroupValue(Cgroups* cgroups, const v1::Change& change) {
  const std::vector<std::string> names =
      absl::StrSplit(change.attribute(), absl::MaxSplits(':', 1));
  if (names.size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("the journal names no controller in \"", change.attribute(), "\""));
  }
  const std::vector<std::string> words = absl::StrSplit(names[1], absl::MaxSplits(' ', 1));
  Place place{names[0], words[0], words.size() == 2 ? words[1] : ""};
  return std::make_unique<Value>(cgroups, std::move(place), change, true);
}

}  // namespace faultline
