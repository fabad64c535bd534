// SPDX-License-Identifier: Apache-2.0
#include "injector/docs.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

const char* KindName(Parameter::Kind kind) {
  switch (kind) {
    case Parameter::Kind::kPercent:
      return "percent";
    case Parameter::Kind::kDuration:
      return "duration";
    case Parameter::Kind::kBytes:
      return "bytes";
    case Parameter::Kind::kRate:
      return "rate";
    case Parameter::Kind::kNumber:
      return "number";
    case Parameter::Kind::kChoice:
      return "choice";
    case Parameter::Kind::kText:
      return "text";
  }
  return "";
}

// "no or yes" for a choice, "0.05 to 64 CPU" for an amount.
std::string Allowed(const Parameter& parameter) {
  if (parameter.kind == Parameter::Kind::kChoice) {
    return absl::StrReplaceAll(parameter.choices, {{"|", " or "}});
  }
  if (parameter.kind == Parameter::Kind::kText) return "text";
  return absl::StrCat(Amount(parameter, parameter.minimum), " to ",
                      Amount(parameter, parameter.maximum));
}

std::string ParameterTable(absl::Span<const Parameter> parameters) {
  if (parameters.empty()) return "No parameters.\n";
  std::string text = "| parameter | allowed | default | meaning |\n|---|---|---|---|\n";
  for (const Parameter& parameter : parameters) {
    absl::StrAppend(&text, "| `", parameter.name, "` | ", Allowed(parameter), " | ",
                    parameter.default_value == nullptr ? "must be given" : parameter.default_value,
                    " | ", parameter.meaning, " |\n");
  }
  return text;
}

std::string Section(const FaultType& type) {
  std::vector<std::string> symptoms;
  for (const char* symptom : type.symptoms) symptoms.push_back(absl::StrCat("`", symptom, "`"));
  return absl::StrCat(
      "\n## ", type.name, "\n", type.meaning, "\n\n",
      "Target: ", absl::StrReplaceAll(type.targets, {{"|", ", "}}), ".",
      type.peers ? " Takes peer filters." : "", " Dose: `", type.dose, "` (", type.dose_unit, ").",
      type.ledger ? " After a kill of the injector the dose is exact where there is a bpffs." : "",
      symptoms.empty() ? "" : absl::StrCat(" Symptoms: ", absl::StrJoin(symptoms, ", "), "."),
      type.controllers.empty()
          ? ""
          : absl::StrCat(" Controller: ", absl::StrJoin(type.controllers, ", "), "."),
      "\n\n", ParameterTable(type.parameters));
}

}  // namespace

v1::FaultInfo Describe(const FaultType& type) {
  v1::FaultInfo info;
  info.set_type(type.name);
  info.set_meaning(type.meaning);
  for (const Parameter& parameter : type.parameters) {
    v1::ParameterInfo* row = info.add_parameters();
    row->set_name(parameter.name);
    row->set_kind(KindName(parameter.kind));
    row->set_unit(parameter.unit);
    row->set_minimum(parameter.minimum);
    row->set_maximum(parameter.maximum);
    if (parameter.default_value != nullptr) row->set_default_value(parameter.default_value);
    row->set_meaning(parameter.meaning);
    if (parameter.choices != nullptr) {
      row->set_meaning(absl::StrCat(parameter.meaning, " (", Allowed(parameter), ")"));
    }
  }
  for (absl::string_view target : absl::StrSplit(type.targets, '|')) {
    info.add_targets(std::string(target));
  }
  info.set_peers(type.peers);
  info.set_hold(type.hold);
  info.set_dose(type.dose);
  for (const char* symptom : type.symptoms) info.add_symptoms(symptom);
  return info;
}

std::string FaultsDoc() {
  std::string text =
      "# Faults\n"
      "\n"
      "Made by `faultline-injector --faults-doc` from injector/faults/table.cc; do not edit.\n"
      "\n"
      "Every fault also takes a duration (mandatory) and a seed. Sizes: `8M` and `8MiB` are\n"
      "2^23 bytes, `8MB` is 8,000,000. Rates are decimal bits a second: `10mbit`. Symptoms are\n"
      "columns of the cgroup table of a dataset.\n"
      "\n"
      "A fault ends at its deadline, when it is stopped, or with its target: when the control "
      "group\n"
      "is removed, and for mem.leak also when the group had processes and only the helper is "
      "left.\n"
      "If the injector is killed, network faults and mem.leak end with it (the helper within\n"
      "milliseconds, unless it is frozen); cpu.limit and process.pause stay until the next start "
      "or\n"
      "`--undo`, and go on counting. Either way the dose is then read from what outlived the\n"
      "injector; where that is not all of it, the fault's reason says so.\n"
      "\n"
      "A controller that a fault needs has to be on for its target. On cgroup v2 it may be off, "
      "and\n"
      "systemd then turns it on for every unit beside the target, and off again after the fault:\n"
      "`faultline run start --target` has it held on for the whole run instead. What is held is "
      "no\n"
      "fault: it is never labelled, and may last 7 days.\n";
  for (const FaultType& type : FaultTypes()) text += Section(type);
  return text;
}

}  // namespace faultline
