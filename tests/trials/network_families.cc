// SPDX-License-Identifier: Apache-2.0
//
// net.loss, net.rate and net.delay: the target's datagrams are lost or late, those of two others,
// in both directions through the same devices, are not.
#include <algorithm>
#include <utility>

#include "tests/trials/families.h"
#include "tests/witness/now.h"

namespace faultline {
namespace {

using witness::Packets;

struct Paths {
  Packets::Path target;
  Packets::Path other_in;
  Packets::Path other_out;
};

absl::StatusOr<Paths> MakePaths(TrialSite* site, bool out) {
  absl::StatusOr<Packets::Path> target = site->MakePath(&site->group(), out);
  if (!target.ok()) return target.status();
  absl::StatusOr<Packets::Path> other_in = site->MakePath(nullptr, false);
  if (!other_in.ok()) return other_in.status();
  absl::StatusOr<Packets::Path> other_out = site->MakePath(nullptr, true);
  if (!other_out.ok()) return other_out.status();
  return Paths{*target, *other_in, *other_out};
}

class NetworkFamily : public Family {
 public:
  NetworkFamily(TrialSite* site, const Paths& paths, const Packets::Options& options)
      : site_(site), paths_(paths), options_(options) {}

  absl::StatusOr<Trial> Run() override {
    Packets packets({paths_.target, paths_.other_in, paths_.other_out}, options_);
    witness::SleepForMs(kTrialBesideMs);
    absl::StatusOr<v1::FaultState> ended = site_->Run(Spec());
    witness::SleepForMs(kTrialBesideMs);
    packets.Finish();
    if (!ended.ok()) return ended.status();
    Trial trial;
    trial.state = *std::move(ended);
    const witness::Met met = See(packets.Of(0), &trial);
    trial.seen = {met.first_ns, met.last_ns, met.last_ns};
    if (CountsSilence()) {
      trial.seen.blind_ns =
          std::max<std::int64_t>(0, witness::SilenceAt(packets.Of(0), met) - options_.interval_ns);
    }
    for (const std::size_t other : {1U, 2U}) {
      trial.others_lost += witness::Lost(packets.Of(other)).count + packets.Refused(other);
    }
    return trial;
  }

 protected:
  virtual v1::FaultSpec Spec() = 0;
  // Those that the fault met.
  virtual witness::Met See(const std::vector<witness::Packet>& packets, Trial* trial) const = 0;
  // Whether the witness is blind while it does not send, for want of a processor.
  virtual bool CountsSilence() const { return false; }

  TrialSite* const site_;

 private:
  const Paths paths_;
  const Packets::Options options_;
};

// All is lost: what is lost first and last was sent first and last.
class LossFamily final : public NetworkFamily {
 public:
  LossFamily(TrialSite* site, const Paths& paths, bool out)
      : NetworkFamily(site, paths, {}), out_(out) {}

 private:
  v1::FaultSpec Spec() override {
    v1::FaultSpec spec = site_->Spec("net.loss", kTrialSeconds);
    (*spec.mutable_parameters())["loss"] = "100%";
    (*spec.mutable_parameters())["direction"] = out_ ? "out" : "in";
    if (out_) (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    return spec;
  }

  witness::Met See(const std::vector<witness::Packet>& packets, Trial* trial) const override {
    const witness::Met lost = witness::Lost(packets);
    trial->counted = lost.count;
    trial->told = DoseOf(trial->state, "packets_dropped");
    return lost;
  }

  const bool out_;
};

// 41 Mbit/s have to go through 1 Mbit/s: from the end of the burst, three of these datagrams, every
// one waits for milliseconds or finds the queue full.
class RateFamily final : public NetworkFamily {
 public:
  RateFamily(TrialSite* site, const Paths& paths) : NetworkFamily(site, paths, {.payload = 1000}) {}

 private:
  static constexpr std::int64_t kLateNs = 2 * witness::kMs;

  v1::FaultSpec Spec() override {
    v1::FaultSpec spec = site_->Spec("net.rate", kTrialSeconds);
    (*spec.mutable_parameters())["rate"] = "1mbit";
    (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    return spec;
  }

  witness::Met See(const std::vector<witness::Packet>& packets, Trial* /*trial*/) const override {
    return witness::LostOrLate(packets, kLateNs);
  }
};

// A datagram each ms, as an emulated processor needs a part of that for each.
class DelayFamily final : public NetworkFamily {
 public:
  DelayFamily(TrialSite* site, const Paths& paths)
      : NetworkFamily(site, paths, {.interval_ns = witness::kMs}) {}

 private:
  // Half the delay.
  static constexpr std::int64_t kLateNs = 25 * witness::kMs;

  v1::FaultSpec Spec() override {
    // An emulated machine, which has netem, takes its time for a start.
    v1::FaultSpec spec = site_->Spec("net.delay", 1.5);
    (*spec.mutable_parameters())["delay"] = "50ms";
    (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    return spec;
  }

  witness::Met See(const std::vector<witness::Packet>& packets, Trial* /*trial*/) const override {
    return witness::LateRun(packets, kLateNs);
  }
  // The one processor of an emulated machine is the injector's while it ends the fault.
  bool CountsSilence() const override { return true; }
};

FamilyOr MakeLoss(TrialSite* site, bool out) {
  absl::StatusOr<Paths> paths = MakePaths(site, out);
  if (!paths.ok()) return paths.status();
  return std::make_unique<LossFamily>(site, *paths, out);
}

}  // namespace

FamilyOr MakeLossIn(TrialSite* site) { return MakeLoss(site, false); }
FamilyOr MakeLossOut(TrialSite* site) { return MakeLoss(site, true); }

FamilyOr MakeRate(TrialSite* site) {
  absl::StatusOr<Paths> paths = MakePaths(site, true);
  if (!paths.ok()) return paths.status();
  return std::make_unique<RateFamily>(site, *paths);
}

FamilyOr MakeDelay(TrialSite* site) {
  absl::StatusOr<Paths> paths = MakePaths(site, true);
  if (!paths.ok()) return paths.status();
  return std::make_unique<DelayFamily>(site, *paths);
}

}  // namespace faultline
