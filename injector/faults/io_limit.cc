// SPDX-License-Identifier: Apache-2.0
//
// io.limit: bytes and operations a second of the group on one block device, io.max on cgroup v2 and
// blkio.throttle.* on v1. Both are files with a line per device, of which only this device's is
// touched. systemd keeps no lines of its own there but for devices that a unit's settings name, so
// they are written also in a unit's own group (host/unit_file.h).
//
// A ramp goes down to the limit in steps that each let a byte take so much of the time that it
// takes at the limit, as there is no rate that a group without one has.
//
// v2 counts what passed the limit. v1 counts a request when it is made, so what waits is counted as
// well; it does not hold back what the page cache writes later, nor the groups below.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "injector/faults/counters.h"
#include "injector/faults/fault.h"
#include "injector/host/keyed_text.h"

namespace faultline {
namespace {

constexpr char kIoMax[] = "io.max";

// The four limits, in the order in which io.max has them.
struct IoLimitRow {
  const char* parameter;
  // In io.max and io.stat, and of v1.
  const char* max_key;
  const char* stat_key;
  const char* v1_file;
  // Of the lines of v1's counters.
  const char* v1_word;
  bool bytes;
};
constexpr std::array<IoLimitRow, 4> kIoLimits{
    {{"read", "rbps", "rbytes", "blkio.throttle.read_bps_device", "Read", true},
     {"write", "wbps", "wbytes", "blkio.throttle.write_bps_device", "Write", true},
     {"read_ops", "riops", "rios", "blkio.throttle.read_iops_device", "Read", false},
     {"write_ops", "wiops", "wios", "blkio.throttle.write_iops_device", "Write", false}}};

// One of each; in limits 0 is none.
using IoFour = std::array<std::int64_t, kIoLimits.size()>;

// Below it a single page takes more than a second.
constexpr std::int64_t kLeastBytes = 4096;
// A limit is met when that share of it goes through in this time, of one pulse or of several:
// several slices of 100 ms in which the kernel counts (throtl_slice of block/blk-throttle.c), so
// that a lone request does not look so.
constexpr double kMetShare = 0.9;
constexpr std::int64_t kMetNs = kNsPerSecond / 2;

// NUMBER of "KEY=NUMBER" among the words of `line`; 0: "max", or there is none.
std::int64_t NumberOf(absl::string_view line, absl::string_view key) {
  for (absl::string_view word : absl::StrSplit(line, ' ')) {
    std::int64_t number = 0;
    const bool found = absl::ConsumePrefix(&word, key) && absl::ConsumePrefix(&word, "=");
    if (found && absl::SimpleAtoi(word, &number)) return number;
  }
  return 0;
}

std::string ShowLimit(const IoLimitRow& row, std::int64_t limit) {
  return row.bytes ? absl::StrCat(SpellBytes(limit), "/s") : absl::StrCat(limit, " operations/s");
}

class IoLimit final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    cgroup_ = request.cgroup;
    if (absl::Status status = TakeParameters(request.parameters); !status.ok()) return status;
    if (absl::Status status = TakeDevice(host, request, notes); !status.ok()) return status;
    const absl::StatusOr<std::string> version = host.ControllerVersion("io");
    if (!version.ok()) return version.status();
    v1_ = *version == "v1";
    shape_ = request.shape;
    level_ = shape_.StepLevel(0);
    if (absl::Status status = CheckTighter(host, notes); !status.ok()) return status;
    const absl::StatusOr<IoFour> before = ReadCounts(host);
    if (!before.ok()) return before.status();
    start_ns_ = request.start_ns;
    growth_.Begin(SumOf(*before), start_ns_);
    if (SumOf(*before)[0] == 0) {
      notes->push_back(absl::StrCat("the group has moved nothing on ",
                                    request.parameters.Text("device"),
                                    " so far: nothing is met until it does"));
    }
    if (v1_) {
      notes->push_back(
          "cgroup v1 limits neither what the page cache writes later nor the groups below");
    }
    const absl::StatusOr<IoFour> has = ReadLimits(host, cgroup_);
    if (!has.ok()) return has.status();
    has_ = *has;
    return v1_ ? AddV1(host, levers) : AddV2(host, levers);
  }

  std::vector<v1::Dose> Baseline() const override { return growth_.Baseline(); }

  // What passed since the plan passed without the limit.
  void Refresh(Host& host) override {
    const absl::StatusOr<IoFour> now = ReadCounts(host);
    if (now.ok()) growth_.Begin(SumOf(*now), start_ns_);
  }

  // Between pulses nothing is limited.
  void BeforeLevel(Host& host, double level, std::int64_t now_ns) override {
    const absl::StatusOr<IoFour> now = ReadCounts(host);
    const absl::StatusOr<Growth::Readings> sum =
        now.ok() ? absl::StatusOr<Growth::Readings>(SumOf(*now)) : now.status();
    if (now.ok()) {
      Watch(*now, now_ns);
    } else {
      looked_ns_ = 0;
    }
    if (level <= 0) growth_.Pause(sum, now_ns);
    if (level_ <= 0) growth_.Continue(sum, now_ns);
    level_ = level;
  }

  // The counters go on between pulses, and nobody knows since when it was so.
  void Resume(const v1::FaultState& state, const Parameters& parameters) override {
    pulse_of_the_past_ = state.spec().shape().kind() == v1::SHAPE_KIND_PULSE;
    cgroup_ = state.cgroup();
    // They were checked when it began.
    [[maybe_unused]] const absl::Status taken = TakeParameters(parameters);
    if (state.changes_size() > 0) {
      const std::string& attribute = state.changes(0).attribute();
      v1_ = !absl::StartsWith(attribute, "io:");
      number_ = attribute.substr(attribute.find(' ') + 1);
    }
    growth_.Resume(state);
  }

  // What went through is no touch by itself: see kMetShare.
  Evidence Measure(Host& host, absl::Span<const std::unique_ptr<Lever>> /*levers*/,
                   std::int64_t now_ns) override {
    if (pulse_of_the_past_) {
      Evidence past = growth_.evidence();
      past.missing = "what was moved in pulses after that is not known";
      return past;
    }
    const absl::StatusOr<IoFour> now = ReadCounts(host);
    growth_.Take(now.ok() ? absl::StatusOr<Growth::Readings>(SumOf(*now)) : now.status(), now_ns);
    if (now.ok()) Watch(*now, now_ns);
    return growth_.evidence();
  }

 private:
  absl::Status TakeParameters(const Parameters& parameters) {
    bool any = false;
    for (size_t i = 0; i < kIoLimits.size(); ++i) {
      const IoLimitRow& row = kIoLimits[i];
      wanted_[i] = parameters.Integer(row.parameter);
      if (parameters.Number(row.parameter) == 0) continue;
      any = true;
      const std::int64_t least = row.bytes ? kLeastBytes : 1;
      if (wanted_[i] >= least) continue;
      return absl::InvalidArgumentError(absl::StrCat("io.limit: ", row.parameter, " is ",
                                                     parameters.Text(row.parameter),
                                                     "; ask for at least ", ShowLimit(row, least)));
    }
    if (any) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "io.limit: nothing is limited; give one of read and write, in bytes a second, or of "
        "read_ops and write_ops, in operations a second");
  }

  absl::Status TakeDevice(const Host& host, const Request& request,
                          std::vector<std::string>* notes) {
    const absl::StatusOr<BlockDevice> device = host.Block(request.parameters.Text("device"));
    if (!device.ok()) {
      return absl::Status(device.status().code(),
                          absl::StrCat("io.limit: ", device.status().message()));
    }
    if (device->partition) {
      return absl::InvalidArgumentError(absl::StrCat("io.limit: ", device->name,
                                                     " is a partition, and the kernel limits whole "
                                                     "devices only; give device=",
                                                     device->disk));
    }
    number_ = device->number;
    if (absl::StartsWith(device->name, "loop") || absl::StartsWith(device->name, "dm-")) {
      notes->push_back(
          absl::StrCat(device->name, " stands on other devices: only requests to itself count"));
    }
    return absl::OkStatus();
  }

  // Lower than what is in force: the group's own, and on v2 that of the groups above.
  absl::Status CheckTighter(Host& host, std::vector<std::string>* notes) {
    std::string group = cgroup_;
    while (!group.empty()) {
      const absl::StatusOr<IoFour> has = ReadLimits(host, group);
      const bool above = group != cgroup_;
      if (!has.ok() && !(above && absl::IsNotFound(has.status()))) return has.status();
      for (size_t i = 0; has.ok() && i < kIoLimits.size(); ++i) {
        if (has->at(i) == 0 || wanted_[i] == 0) continue;
        const IoLimitRow& row = kIoLimits[i];
        const std::string limited =
            absl::StrCat("control group ", group, " is limited to ", row.parameter, "=",
                         ShowLimit(row, has->at(i)), " on ", number_, " already");
        if (wanted_[i] >= has->at(i)) {
          return absl::FailedPreconditionError(absl::StrCat(
              "io.limit: ", limited, ", so this would give more or the same; ask for less"));
        }
        notes->push_back(absl::StrCat(limited, "; that limit stays in force or comes back"));
      }
      if (v1_) return absl::OkStatus();
      group.resize(group.rfind('/'));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<IoFour> ReadLimits(Host& host, const std::string& group) const {
    IoFour limits{};
    if (!v1_) {
      const absl::StatusOr<std::string> text = ReadIo(host, group, kIoMax);
      if (!text.ok()) return text.status();
      const std::string line = ValueOfKey(*text, number_);
      for (size_t i = 0; i < limits.size(); ++i) limits[i] = NumberOf(line, kIoLimits[i].max_key);
      return limits;
    }
    for (size_t i = 0; i < limits.size(); ++i) {
      const absl::StatusOr<std::string> text = ReadIo(host, group, kIoLimits[i].v1_file);
      if (!text.ok()) return text.status();
      // None, or 0: no limit.
      if (!absl::SimpleAtoi(ValueOfKey(*text, number_), &limits[i])) limits[i] = 0;
    }
    return limits;
  }

  // What the device did for the group so far; a device without a line did nothing.
  absl::StatusOr<IoFour> ReadCounts(Host& host) const {
    IoFour counts{};
    if (!v1_) {
      const absl::StatusOr<std::string> text = ReadIo(host, cgroup_, "io.stat");
      if (!text.ok()) return text.status();
      const std::string line = ValueOfKey(*text, number_);
      for (size_t i = 0; i < counts.size(); ++i) counts[i] = NumberOf(line, kIoLimits[i].stat_key);
      return counts;
    }
    const absl::StatusOr<std::string> bytes =
        ReadIo(host, cgroup_, "blkio.throttle.io_service_bytes");
    if (!bytes.ok()) return bytes.status();
    const absl::StatusOr<std::string> operations =
        ReadIo(host, cgroup_, "blkio.throttle.io_serviced");
    if (!operations.ok()) return operations.status();
    for (size_t i = 0; i < counts.size(); ++i) {
      counts[i] = CountOf(kIoLimits[i].bytes ? *bytes : *operations,
                          absl::StrCat(number_, " ", kIoLimits[i].v1_word));
    }
    return counts;
  }

  absl::StatusOr<std::string> ReadIo(Host& host, const std::string& group, const char* file) const {
    absl::StatusOr<std::string> text = host.ReadCgroup(group, v1_ ? "blkio" : "io", file);
    if (text.ok() || !absl::IsNotFound(text.status()) || group != cgroup_) return text;
    return absl::FailedPreconditionError(
        absl::StrCat("io.limit: ", group, " has no ", file,
                     v1_ ? " (" : ", as its io controller is off (", text.status().message(), ")",
                     v1_ ? "; the kernel needs CONFIG_BLK_DEV_THROTTLING"
                         : "; have it held on by `faultline run start --target`, or give the unit "
                           "IOAccounting=yes"));
  }

  // Bytes and operations, each in the directions that are limited.
  Growth::Readings SumOf(const IoFour& counts) const {
    Growth::Readings sum{0, 0};
    for (size_t i = 0; i < counts.size(); ++i) {
      // The limits of bytes and of operations of a direction are two apart.
      if (wanted_[i] == 0 && wanted_[i ^ 2U] == 0) continue;
      sum[kIoLimits[i].bytes ? 0 : 1] += counts[i];
    }
    return sum;
  }

  // Of limit `i` at `level`; never more than there was before.
  std::int64_t LimitAt(size_t i, double level) const {
    const std::int64_t limit = std::llround(static_cast<double>(wanted_[i]) / level);
    return has_[i] == 0 ? limit : std::min(limit, has_[i]);
  }

  // Time and counts since the last look, while it is limited.
  void Watch(const IoFour& now, std::int64_t now_ns) {
    const std::int64_t part_ns = now_ns - std::exchange(looked_ns_, now_ns);
    const IoFour before = std::exchange(looked_, now);
    if (part_ns == now_ns || level_ <= 0) return;
    if (watched_ns_ == 0) watch_ns_ = now_ns - part_ns;
    watched_ns_ += part_ns;
    for (size_t i = 0; i < now.size(); ++i) {
      if (wanted_[i] == 0) continue;
      watched_[i] += now[i] - before[i];
      most_[i] += static_cast<double>(LimitAt(i, level_)) *
                  absl::ToDoubleSeconds(absl::Nanoseconds(part_ns));
    }
    if (watched_ns_ < kMetNs) return;
    for (size_t i = 0; i < now.size(); ++i) {
      const bool met = static_cast<double>(watched_[i]) >= kMetShare * most_[i];
      if (wanted_[i] == 0 || !met) continue;
      growth_.Touch(now_ns, now_ns - watch_ns_);
      break;
    }
    watched_ns_ = 0;
    watched_ = {};
    most_ = {};
  }

  absl::Status AddV1(Host& host, std::vector<std::unique_ptr<Lever>>* levers) const {
    for (size_t i = 0; i < kIoLimits.size(); ++i) {
      if (wanted_[i] == 0) continue;
      std::vector<std::string> steps;
      for (int step = 0; step < shape_.steps(); ++step) {
        steps.push_back(absl::StrCat(LimitAt(i, shape_.LevelOfStep(step))));
      }
      LeverOr lever = host.CgroupKey(cgroup_, "blkio", kIoLimits[i].v1_file, number_,
                                     absl::StrCat(wanted_[i]), steps);
      if (!lever.ok()) return lever.status();
      levers->push_back(std::move(*lever));
    }
    return absl::OkStatus();
  }

  // The line of io.max at `level`: what is not asked for stays as it is.
  std::string LineAt(double level) const {
    std::vector<std::string> words;
    for (size_t i = 0; i < kIoLimits.size(); ++i) {
      const std::int64_t limit = wanted_[i] == 0 ? has_[i] : LimitAt(i, level);
      words.push_back(absl::StrCat(kIoLimits[i].max_key, "=",
                                   limit == 0 ? std::string("max") : absl::StrCat(limit)));
    }
    return absl::StrJoin(words, " ");
  }

  absl::Status AddV2(Host& host, std::vector<std::unique_ptr<Lever>>* levers) const {
    std::vector<std::string> steps;
    for (int i = 0; i < shape_.steps(); ++i) steps.push_back(LineAt(shape_.LevelOfStep(i)));
    LeverOr lever = host.CgroupKey(cgroup_, "io", kIoMax, number_, LineAt(1), steps);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  std::string cgroup_;
  std::string number_;
  bool v1_ = false;
  IoFour wanted_{};
  // Of the group itself, before.
  IoFour has_{};
  Shape shape_;
  // Where the levers are.
  double level_ = 1;
  bool pulse_of_the_past_ = false;
  std::int64_t start_ns_ = 0;
  Growth growth_{{{"bytes_done", "By"}, {"operations_done", "{operation}"}},
                 "the device's count for the group"};
  // The last look; 0: none yet.
  std::int64_t looked_ns_ = 0;
  IoFour looked_{};
  // What is watched for whether it is met: since when, for how long it was limited, what went
  // through, and what at most could.
  std::int64_t watch_ns_ = 0;
  std::int64_t watched_ns_ = 0;
  IoFour watched_{};
  std::array<double, kIoLimits.size()> most_{};
};

}  // namespace

std::unique_ptr<Fault> MakeIoLimit() { return std::make_unique<IoLimit>(); }

absl::Status ProbeIoLimit(Host& host) {
  const absl::StatusOr<std::string> version = host.ControllerVersion("io");
  if (!version.ok() || *version == "v2") return version.status();
  const char* file = kIoLimits[0].v1_file;
  const absl::Status there = host.ReadCgroup("/", "blkio", file).status();
  if (!absl::IsNotFound(there)) return there;
  return absl::UnimplementedError(
      absl::StrCat("this kernel has no ", file, ": it lacks CONFIG_BLK_DEV_THROTTLING"));
}

}  // namespace faultline
