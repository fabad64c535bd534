// SPDX-License-Identifier: Apache-2.0
#include "tests/injector/fake_host.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "injector/host/dose.h"

namespace faultline {
namespace {

std::string Key(const v1::Change& change) {
  return absl::StrCat(change.object(), " ", change.attribute());
}

// The parts that every fake lever shares: the steps around its effect.
class FakeLever : public Lever {
 public:
  FakeLever(FakeHost* host, v1::Change change) : host_(host), change_(std::move(change)) {}
  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    if (absl::Status status = host_->Step("apply"); !status.ok()) return status;
    Set(true);
    return host_->Step("apply");
  }
  absl::Status Verify() override {
    if (absl::Status status = host_->Step("verify"); !status.ok()) return status;
    if (host_->removed.count(change_.object()) == 1) {
      return absl::NotFoundError(absl::StrCat(change_.object(), " does not exist"));
    }
    return Holds()
               ? absl::OkStatus()
               : absl::AbortedError(absl::StrCat(Key(change_), " was changed by somebody else"));
  }
  absl::Status Restore() override {
    if (absl::Status status = host_->Step("restore"); !status.ok()) return status;
    if (host_->removed.count(change_.object()) == 1) return absl::OkStatus();
    if (Foreign()) {
      return absl::AbortedError(absl::StrCat(Key(change_), " is somebody else's, left alone"));
    }
    Set(false);
    return host_->Step("restore");
  }
  absl::Status Residue() override {
    if (absl::Status status = host_->Step("residue"); !status.ok()) return status;
    if (host_->removed.count(change_.object()) == 1) return absl::OkStatus();
    return Clean() ? absl::OkStatus()
                   : absl::FailedPreconditionError(absl::StrCat(Key(change_), " is not as before"));
  }

 protected:
  virtual void Set(bool on) = 0;
  virtual bool Holds() const = 0;
  virtual bool Clean() const = 0;
  virtual bool Foreign() const { return false; }
  FakeHost* host() const { return host_; }

 private:
  FakeHost* host_;
  const v1::Change change_;
};

class FakeValue final : public FakeLever {
 public:
  using FakeLever::FakeLever;

  Evidence Measure() override {
    Evidence evidence;
    if (change().kind() != "freezer") return evidence;
    const bool stopped = Holds() && host()->removed.count(change().object()) == 0;
    if (first_ns_ == 0 && stopped) first_ns_ = host()->clock()->Now().boottime_ns;
    if (stopped) last_ns_ = host()->clock()->Now().boottime_ns;
    evidence.first_touch_ns = first_ns_;
    evidence.last_touch_ns = last_ns_;
    evidence.dose.push_back(MakeDose("paused_ns", "ns", last_ns_ - first_ns_));
    return evidence;
  }

 protected:
  void Set(bool on) override {
    host()->values[Key(change())] = on ? change().after() : change().before();
  }
  bool Holds() const override { return Now() == change().after(); }
  bool Clean() const override { return Now() == change().before(); }
  bool Foreign() const override { return !Holds() && !Clean(); }

 private:
  std::string Now() const {
    const auto at = host()->values.find(Key(change()));
    return at == host()->values.end() ? "" : at->second;
  }
  std::int64_t first_ns_ = 0;
  std::int64_t last_ns_ = 0;
};

// A helper or a link: there or not, by the fault's id.
class FakeThing : public FakeLever {
 public:
  FakeThing(FakeHost* host, v1::Change change, std::set<std::string>* things)
      : FakeLever(host, std::move(change)), things_(things) {}

  Evidence Measure() override {
    Evidence evidence;
    evidence.dose.push_back(MakeDose("held_bytes", "By", host()->held_bytes, true));
    if (host()->held_bytes > 0) evidence.first_touch_ns = host()->clock()->Now().boottime_ns;
    evidence.last_touch_ns = evidence.first_touch_ns;
    return evidence;
  }

 protected:
  void Set(bool on) override {
    if (on) {
      things_->insert(change().after());
    } else {
      things_->erase(change().after());
    }
  }
  bool Holds() const override { return things_->count(change().after()) == 1; }
  bool Clean() const override { return !Holds(); }

 private:
  std::set<std::string>* things_;
};

class FakeLink final : public FakeThing {
 public:
  FakeLink(FakeHost* host, v1::Change change, bool recovered)
      : FakeThing(host, std::move(change), &host->links), recovered_(recovered) {}

  Ended OverBy(std::int64_t deadline_ns) override { return {0, deadline_ns}; }

  Evidence Measure() override {
    Evidence evidence;
    if (recovered_ && !host()->ledger) {
      evidence.missing = "nothing kept the counts";
      return evidence;
    }
    evidence.dose.push_back(MakeDose("packets_dropped", "{packet}", host()->dropped));
    evidence.first_touch_ns = host()->first_drop_ns;
    evidence.last_touch_ns = host()->last_drop_ns;
    return evidence;
  }

 private:
  const bool recovered_;
};

v1::Change MakeChange(const char* kind, const std::string& object, const std::string& attribute,
                      const std::string& before, const std::string& after) {
  v1::Change change;
  change.set_kind(kind);
  change.set_object(object);
  change.set_attribute(attribute);
  change.set_before(before);
  change.set_after(after);
  return change;
}

}  // namespace

FakeHost::FakeHost(Clock* clock)
    : units(&values, [this](const std::string& step) { return Step(step); }),
      subtrees(&values, [this](const std::string& step) { return Step(step); }),
      clock_(clock) {
  for (const char* group : {"/web", "/db", "/web/worker"}) AddGroup(group);
}

void FakeHost::AddGroup(const std::string& path) {
  values[path + " cpu:cpu.cfs_quota_us"] = "-1";
  values[path + " cpu:cpu.cfs_period_us"] = "100000";
  values[path + " freezer.state"] = "THAWED";
  values[path + " memory:memory.limit_in_bytes"] = "9223372036854771712";
  values[path + " memory:memory.usage_in_bytes"] = "1000000";
}

absl::Status FakeHost::Step(const std::string& step) const {
  return on_step == nullptr ? absl::OkStatus() : on_step(step);
}

std::string FakeHost::Digest() const {
  std::string text;
  for (const auto& [key, value] : values) absl::StrAppend(&text, key, "=", value, "\n");
  for (const std::string& id : helpers) absl::StrAppend(&text, "helper ", id, "\n");
  for (const std::string& id : links) absl::StrAppend(&text, "link ", id, "\n");
  text += units.Digest();
  return text;
}

LeverOr FakeHost::CgroupValue(const std::string& cgroup, const std::string& controller,
                              const std::string& file, const std::string& value) {
  absl::StatusOr<std::string> before = ReadCgroup(cgroup, controller, file);
  if (!before.ok()) return before.status();
  if (IsUnitValue(controller, file)) {
    const auto unit = units.Owner(cgroup);
    if (!unit.ok()) return unit.status();
    if (*unit) return MakeUnitValue(&units, units.clock(), **unit, controller, file, value);
  }
  return std::make_unique<FakeValue>(
      this,
      MakeChange("cgroup_value", cgroup, absl::StrCat(controller, ":", file), *before, value));
}

absl::StatusOr<bool> FakeSubtrees::HasOn(const std::string& group, const std::string& controller) {
  if (absl::Status status = step_("verify"); !status.ok()) return status;
  if (removed.count(group) == 1) return absl::NotFoundError(absl::StrCat(group, " is gone"));
  return values_->count(absl::StrCat(group, " has on ", controller)) == 1;
}

absl::Status FakeSubtrees::Turn(const std::string& group, const std::string& controller, bool on) {
  if (absl::Status status = step_("write"); !status.ok()) return status;
  const std::string key = absl::StrCat(group, " has on ", controller);
  const std::string above = absl::StrCat(ParentGroup(group), " has on ", controller);
  if (on && group != "/" && values_->count(above) == 0) {
    return absl::NotFoundError(absl::StrCat(controller, " is not on for ", group));
  }
  for (const auto& [other, value] : *values_) {
    const std::string below = other.substr(0, other.find(' '));
    const bool inside = below != group && absl::EndsWith(other, " has on " + controller) &&
                        (group == "/" || absl::StartsWith(below, group + "/"));
    if (!on && inside) return absl::FailedPreconditionError("busy");
  }
  if (on) {
    (*values_)[key] = "1";
  } else {
    values_->erase(key);
  }
  return step_("write");
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> FakeHost::HoldController(
    const std::string& cgroup, const std::string& controller) {
  if (absl::Status status = Step("make"); !status.ok()) return status;
  return MakeControllers(Controllers(), cgroup, controller);
}

LeverOr FakeHost::Freezer(const std::string& cgroup) {
  if (absl::Status status = Step("make"); !status.ok()) return status;
  if (values[cgroup + " freezer.state"] != "THAWED") {
    return absl::FailedPreconditionError("frozen already; thaw it first");
  }
  return std::make_unique<FakeValue>(
      this, MakeChange("freezer", cgroup, "freezer.state", "THAWED", "FROZEN"));
}

LeverOr FakeHost::Leak(const LeakSpec& spec) {
  if (absl::Status status = Step("make"); !status.ok()) return status;
  return std::make_unique<FakeThing>(
      this, MakeChange("helper", spec.cgroup, "held_bytes", "", spec.fault_id), &helpers);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> FakeHost::Loss(const LossSpec& spec) {
  if (absl::Status status = Step("make"); !status.ok()) return status;
  std::vector<std::unique_ptr<Lever>> levers;
  levers.push_back(std::make_unique<FakeLink>(
      this, MakeChange("link", spec.cgroup, "cgroup_skb/ingress", "", spec.fault_id), false));
  return levers;
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> FakeHost::Rate(const RateSpec& /*spec*/) {
  return absl::UnimplementedError("the fake host has no plane");
}

absl::StatusOr<std::string> FakeHost::ReadCgroup(const std::string& cgroup,
                                                 const std::string& controller,
                                                 const std::string& file) {
  if (absl::Status status = Step("make"); !status.ok()) return status;
  if (removed.count(cgroup) == 1) return absl::NotFoundError(absl::StrCat(cgroup, " is gone"));
  if (file == "cpu.stat") {
    return absl::StrCat("nr_periods 7\nnr_throttled ", throttled_periods, "\nthrottled_time ",
                        throttled_ns, "\n");
  }
  const auto at = values.find(absl::StrCat(cgroup, " ", controller, ":", file));
  if (at == values.end() && IsUnitValue(controller, file) && units.Has(cgroup)) return kUnitDefault;
  if (at == values.end()) return absl::NotFoundError(absl::StrCat(cgroup, " has no ", file));
  return at->second;
}

absl::StatusOr<std::string> FakeHost::ControllerVersion(const std::string& /*controller*/) {
  return cpu_version;
}

absl::StatusOr<std::string> FakeHost::Resolve(const v1::Target& target) {
  if (target.has_unit()) {
    const absl::StatusOr<Units::Unit> unit = units.Named(target.unit());
    if (!unit.ok()) return unit.status();
    return unit->cgroup;
  }
  if (target.cgroup() == "/") return absl::InvalidArgumentError("that is the whole machine");
  const bool exists = values.count(target.cgroup() + " freezer.state") == 1;
  if (exists && removed.count(target.cgroup()) == 0) return target.cgroup();
  return absl::NotFoundError(absl::StrCat("there is no control group ", target.cgroup()));
}

absl::StatusOr<std::vector<std::uint64_t>> FakeHost::GroupIds(const std::string& cgroup) {
  if (cgroup == FakeUnits::kGroup && !units.Has(cgroup)) {
    return absl::NotFoundError(absl::StrCat(cgroup, " is gone"));
  }
  if (removed.count(cgroup) == 1) return absl::NotFoundError(absl::StrCat(cgroup, " is gone"));
  return std::vector<std::uint64_t>{ids.count(cgroup) == 0 ? 1 : ids.at(cgroup) + 1};
}

absl::Status FakeHost::Probe(absl::string_view kind) {
  if (kind == "ledger" && !ledger) return absl::FailedPreconditionError("no bpffs");
  return kind == "net_class" ? absl::UnimplementedError("no plane") : absl::OkStatus();
}

LeverOr FakeHost::Recover(const v1::Change& change) {
  if (absl::Status status = Step("make"); !status.ok()) return status;
  if (change.kind() == "controller") return RecoverController(Controllers(), change);
  if (change.has_unit()) return RecoverUnitValue(&units, units.clock(), change);
  if (change.kind() == "helper") return std::make_unique<FakeThing>(this, change, &helpers);
  if (change.kind() == "link") return std::make_unique<FakeLink>(this, change, true);
  return std::make_unique<FakeValue>(this, change);
}

}  // namespace faultline
