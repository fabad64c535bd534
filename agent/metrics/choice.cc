// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/choice.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "agent/metrics/report.h"

namespace faultline {
namespace {

// How far a metric is down its choices.
struct Progress {
  // The choice that is being used; beyond the last one: none works.
  size_t choice = 0;
  // Why those before it do not work.
  std::vector<std::string> reasons;
};

bool Exhausted(const Metric& metric, size_t choice) {
  return choice >= metric.fields.size() ||
         std::holds_alternative<std::monostate>(metric.fields[choice]);
}

std::string Sentence(const absl::Status& status) {
  const std::string text = absl::StrReplaceAll(status.message(), {{"\n", " "}});
  return absl::StrCat(absl::IsPermissionDenied(status) ? kForbidden : "", text);
}

class Chooser {
 public:
  Chooser(const SourceByField& sources, std::string unread)
      : sources_(sources), unread_(std::move(unread)), progress_(Metrics().size()) {}

  // Adds the metric to the source of its next choice that says yes.
  void Advance(size_t index) {
    const Metric& metric = Metrics()[index];
    Progress& progress = progress_[index];
    for (; !Exhausted(metric, progress.choice); ++progress.choice) {
      const Field& field = metric.fields[progress.choice];
      // Values of the table "fault" come from the labels, in the same process.
      if (std::holds_alternative<LabelField>(field)) return;
      Source* const source = sources_[field.index()];
      const absl::Status status =
          source == nullptr ? absl::UnavailableError(unread_) : source->Add(index, field);
      if (status.ok()) return;
      progress.reasons.push_back(Sentence(status));
    }
  }

  void Start(Source* source) {
    for (const auto& [index, status] : source->Start()) {
      const Metric& metric = Metrics()[index];
      const size_t choice = progress_[index].choice;
      // A second complaint about a metric that has moved on already.
      if (Exhausted(metric, choice) || sources_[metric.fields[choice].index()] != source) continue;
      progress_[index].reasons.push_back(Sentence(status));
      ++progress_[index].choice;
      Advance(index);
    }
  }

  Choice Outcome(size_t index) const {
    const Metric& metric = Metrics()[index];
    const Progress& progress = progress_[index];
    Choice outcome;
    if (Exhausted(metric, progress.choice)) {
      outcome.hook = FieldText(metric.fields[0]);
      outcome.reason = absl::StrJoin(progress.reasons, "; ");
      return outcome;
    }
    const Field& field = metric.fields[progress.choice];
    const Source* const source = sources_[field.index()];
    if (source != nullptr) outcome.hook = source->Hook(field);
    if (outcome.hook.empty()) outcome.hook = FieldText(field);
    outcome.availability = v1::AVAILABILITY_AVAILABLE;
    if (progress.choice > 0) {
      outcome.availability = v1::AVAILABILITY_DEGRADED;
      outcome.reason =
          absl::StrCat(metric.degraded, " (first choice: ", progress.reasons.front(), ")");
    }
    return outcome;
  }

 private:
  const SourceByField& sources_;
  const std::string unread_;
  std::vector<Progress> progress_;
};

}  // namespace

std::vector<Choice> ChooseFields(const SourceByField& sources, const std::string& unread) {
  Chooser chooser(sources, unread);
  for (size_t index = 0; index < Metrics().size(); ++index) chooser.Advance(index);
  std::vector<const Source*> started;
  for (Source* source : sources) {
    if (source == nullptr || std::ranges::find(started, source) != started.end()) continue;
    chooser.Start(source);
    started.push_back(source);
  }
  std::vector<Choice> result;
  for (size_t index = 0; index < Metrics().size(); ++index) {
    result.push_back(chooser.Outcome(index));
  }
  return result;
}

}  // namespace faultline
