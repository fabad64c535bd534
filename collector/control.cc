// SPDX-License-Identifier: Apache-2.0
#include "collector/control.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "collector/fan_out.h"
#include "collector/fault_watch.h"
#include "collector/routing.h"
#include "collector/store/fault_progress.h"
#include "proto/words.h"

namespace faultline {
namespace {

using std::chrono::system_clock;

// List answers from the catalogue what a node does not say in time.
constexpr std::chrono::seconds kListTimeout{2};
constexpr int kMaxListed = 1000;

grpc::Status OtherAnswer(const std::string& node) {
  return {grpc::StatusCode::INTERNAL,
          absl::StrCat("node ", node, " answered something else than it was asked")};
}

// Since when nobody has seen a fault that its node's injector did not speak of: the injector's
// loss, or the end of what the node told, or the newest edge.
std::int64_t UnknownSince(const v1::FaultState& fault, const std::vector<NodeRow>& nodes,
                          const Fleet& fleet) {
  const v1::Edges& edges = fault.edges();
  const std::int64_t newest =
      std::max({edges.commanded().realtime_ns(), edges.acked().realtime_ns(),
                edges.last_touch().realtime_ns(), std::int64_t{1}});
  const auto row = std::find_if(nodes.begin(), nodes.end(), [&](const NodeRow& candidate) {
    return candidate.status.node().id() == fault.node();
  });
  if (row == nodes.end()) return newest;
  std::int64_t since = row->status.injector_lost_realtime_ns();
  if (since == 0 && fleet.Find(fault.node()) == nullptr)
    since = row->status.last_frame_realtime_ns();
  // A fault of after that was seen nevertheless.
  return std::max(since, newest);
}

// For answers that do not ask the nodes: only what is known to be away is marked.
void MarkUnseen(const std::vector<NodeRow>& nodes, const Fleet& fleet, v1::FaultState* fault) {
  if (IsFinal(fault->phase())) return;
  const bool away = fleet.Find(fault->node()) == nullptr ||
                    std::any_of(nodes.begin(), nodes.end(), [&](const NodeRow& row) {
                      return row.status.node().id() == fault->node() &&
                             row.status.injector_lost_realtime_ns() != 0;
                    });
  if (away) fault->set_unknown_since_realtime_ns(UnknownSince(*fault, nodes, fleet));
}

// Merges what nodes said into what the catalogue knew, newest first.
void MergeLists(std::vector<v1::FaultState> known, const Answers& answers,
                const std::vector<NodeRow>& nodes, const Fleet& fleet, bool active_only,
                v1::ListResponse* response) {
  std::map<std::pair<std::string, std::string>, v1::FaultState> faults;
  const auto add = [&](v1::FaultState fault) {
    const auto key = std::make_pair(fault.node(), fault.spec().id());
    const auto found = faults.find(key);
    if (found == faults.end()) {
      faults.emplace(key, std::move(fault));
    } else if (Supersedes(fault, found->second)) {
      found->second = std::move(fault);
    }
  };
  for (v1::FaultState& fault : known) add(std::move(fault));
  std::set<std::pair<std::string, std::string>> seen;
  std::vector<std::string> halted;
  for (const auto& [node, answer] : answers) {
    if (!answer.ok() || !answer->has_list()) continue;
    if (!answer->list().halted().empty()) {
      halted.push_back(answers.size() == 1 ? answer->list().halted()
                                           : absl::StrCat(node, ": ", answer->list().halted()));
    }
    for (v1::FaultState fault : answer->list().faults()) {
      fault.set_node(node);
      seen.emplace(node, fault.spec().id());
      add(std::move(fault));
    }
  }
  std::vector<v1::FaultState> sorted;
  for (auto& [key, fault] : faults) {
    const bool open = !IsFinal(fault.phase());
    if (open && seen.count(key) == 0) {
      fault.set_unknown_since_realtime_ns(UnknownSince(fault, nodes, fleet));
    }
    if (open || !active_only) sorted.push_back(std::move(fault));
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.edges().commanded().realtime_ns() > b.edges().commanded().realtime_ns();
  });
  if (sorted.size() > kMaxListed) sorted.resize(kMaxListed);
  for (v1::FaultState& fault : sorted) *response->add_faults() = std::move(fault);
  response->set_halted(absl::StrJoin(halted, "; "));
}

}  // namespace

void Control::RefuseAbsent(const std::string& node, grpc::ServerUnaryReactor* reactor) {
  const bool asked = reader_->Submit([node, reactor](Catalogue& catalogue) {
    const auto nodes = catalogue.Nodes();
    reactor->Finish(ToGrpc(nodes.ok() ? Absent(node, NodeNames(*nodes)) : nodes.status()));
  });
  if (!asked) reactor->Finish(ToGrpc(Absent(node, {node})));
}

void Control::Forward(grpc::CallbackServerContext* context, const std::string& node,
                      v1::Command command, grpc::ServerUnaryReactor* reactor, Deliver deliver) {
  std::string name = node;
  if (name.empty()) {
    auto only = OnlyNode(*fleet_);
    if (!only.ok()) return reactor->Finish(ToGrpc(only.status()));
    name = std::move(*only);
  }
  const auto link = fleet_->Find(name);
  if (link == nullptr) return RefuseAbsent(name, reactor);
  link->Call(
      std::move(command), DeadlineOf(context),
      [name, reactor, deliver = std::move(deliver)](absl::StatusOr<v1::CommandResult> result) {
        if (!result.ok()) return reactor->Finish(ToGrpc(WithContext(result.status(), name)));
        deliver(name, std::move(*result));
      });
}

void Control::Learn(const v1::FaultState& fault, const std::function<void()>& then) {
  store_->SaveFault(fault.node(), fault,
                    [feed = feed_, fault, then](const absl::StatusOr<bool>& news) {
                      if (news.ok() && *news) feed->Publish(fault);
                      // The fault is what it is, stored or not.
                      then();
                    });
}

Control::Deliver Control::FinishWithState(v1::FaultState* response,
                                          grpc::ServerUnaryReactor* reactor) {
  return [this, response, reactor](const std::string& node, v1::CommandResult result) {
    if (!result.has_start() && !result.has_stop()) return reactor->Finish(OtherAnswer(node));
    *response = std::move(result.has_start() ? *result.mutable_start() : *result.mutable_stop());
    response->set_node(node);
    // First stored, then answered: a caller that lists next shall find it.
    Learn(*response, [reactor] { reactor->Finish(grpc::Status::OK); });
  };
}

grpc::ServerUnaryReactor* Control::GetCapabilities(grpc::CallbackServerContext* context,
                                                   const v1::CapabilitiesRequest* request,
                                                   v1::Capabilities* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  v1::Command command;
  command.mutable_capabilities();
  Forward(context, request->node(), std::move(command), reactor,
          [response, reactor](const std::string& node, v1::CommandResult result) {
            if (!result.has_capabilities()) return reactor->Finish(OtherAnswer(node));
            *response = std::move(*result.mutable_capabilities());
            reactor->Finish(grpc::Status::OK);
          });
  return reactor;
}

grpc::ServerUnaryReactor* Control::Validate(grpc::CallbackServerContext* context,
                                            const v1::ValidateRequest* request,
                                            v1::Plan* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  v1::Command command;
  *command.mutable_validate()->mutable_spec() = request->spec();
  Forward(context, request->node(), std::move(command), reactor,
          [response, reactor](const std::string& node, v1::CommandResult result) {
            if (!result.has_validate()) return reactor->Finish(OtherAnswer(node));
            *response = std::move(*result.mutable_validate());
            reactor->Finish(grpc::Status::OK);
          });
  return reactor;
}

grpc::ServerUnaryReactor* Control::Start(grpc::CallbackServerContext* context,
                                         const v1::StartRequest* request,
                                         v1::FaultState* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  v1::Command command;
  *command.mutable_start()->mutable_spec() = request->spec();
  Forward(context, request->node(), std::move(command), reactor,
          FinishWithState(response, reactor));
  return reactor;
}

grpc::ServerUnaryReactor* Control::Stop(grpc::CallbackServerContext* context,
                                        const v1::StopRequest* request, v1::FaultState* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (request->fault_id().empty()) {
    reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT,
                     "which fault is to be stopped? Its id is "
                     "what `faultline faults` shows"});
    return reactor;
  }
  v1::Command command;
  command.mutable_stop()->set_fault_id(request->fault_id());
  const Deliver deliver = FinishWithState(response, reactor);
  if (!request->node().empty()) {
    Forward(context, request->node(), std::move(command), reactor, deliver);
    return reactor;
  }
  // The id says which node it is, if the catalogue has it.
  const bool asked = reader_->Submit([=, this](Catalogue& catalogue) {
    const auto node = catalogue.NodeOfFault(request->fault_id());
    Forward(context, node.ok() ? *node : std::string(), command, reactor, deliver);
  });
  if (!asked) Forward(context, "", std::move(command), reactor, deliver);
  return reactor;
}

grpc::ServerUnaryReactor* Control::Halt(grpc::CallbackServerContext* context,
                                        const v1::HaltRequest* request,
                                        v1::HaltResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  v1::Command command;
  command.mutable_halt()->set_reason(request->reason());
  if (!request->node().empty() && fleet_->Find(request->node()) == nullptr) {
    RefuseAbsent(request->node(), reactor);
    return reactor;
  }
  // Whoever is connected is told at once; who is not is looked up afterwards.
  const std::vector<std::string> told =
      request->node().empty() ? fleet_->Connected() : std::vector<std::string>{request->node()};
  const bool all = request->node().empty();
  FanOut(*fleet_, told, command, DeadlineOf(context), [=, this](const Answers& answers) {
    for (const auto& [node, answer] : answers) {
      if (!answer.ok()) {
        response->add_unreachable(absl::StrCat(node, ": ", answer.status().message()));
        continue;
      }
      for (v1::FaultState fault : answer->halt().ended()) {
        fault.set_node(node);
        Learn(fault, [] {});
        *response->add_ended() = std::move(fault);
      }
    }
    const bool asked = all && reader_->Submit([=](Catalogue& catalogue) {
      const auto nodes = catalogue.Nodes();
      for (const std::string& node : nodes.ok() ? NodeNames(*nodes) : std::vector<std::string>()) {
        if (std::find(told.begin(), told.end(), node) == told.end()) {
          response->add_unreachable(absl::StrCat(node, ": not connected"));
        }
      }
      reactor->Finish(grpc::Status::OK);
    });
    if (!asked) reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* Control::Release(grpc::CallbackServerContext* context,
                                           const v1::ReleaseRequest* /*request*/,
                                           v1::ReleaseResponse* /*response*/) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish({grpc::StatusCode::PERMISSION_DENIED,
                   "a halt is released by root on the node itself: faultline --injector "
                   "unix:/run/faultline/root.sock release"});
  return reactor;
}

grpc::ServerUnaryReactor* Control::List(grpc::CallbackServerContext* context,
                                        const v1::ListRequest* request,
                                        v1::ListResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  std::vector<std::string> nodes = fleet_->Connected();
  if (!request->node().empty()) {
    const bool connected = std::find(nodes.begin(), nodes.end(), request->node()) != nodes.end();
    nodes.clear();
    if (connected) nodes.push_back(request->node());
  }
  v1::Command command;
  command.mutable_list();
  const auto deadline = std::min(DeadlineOf(context), system_clock::now() + kListTimeout);
  // The catalogue first: what a node starts or ends meanwhile is in its answer.
  const bool asked = reader_->Submit([=, this](Catalogue& catalogue) {
    const auto rows = catalogue.Nodes();
    if (!rows.ok()) return reactor->Finish(ToGrpc(rows.status()));
    const std::vector<std::string> known = NodeNames(*rows);
    const std::string& node = request->node();
    if (!node.empty() && std::find(known.begin(), known.end(), node) == known.end()) {
      return reactor->Finish(ToGrpc(Absent(node, known)));
    }
    const auto faults = catalogue.Faults(node, request->active_only(), kMaxListed);
    if (!faults.ok()) return reactor->Finish(ToGrpc(faults.status()));
    FanOut(*fleet_, nodes, command, deadline,
           [=, this, rows = *rows, faults = *faults](const Answers& answers) {
             MergeLists(faults, answers, rows, *fleet_, request->active_only(), response);
             reactor->Finish(grpc::Status::OK);
           });
  });
  if (!asked) {
    reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many questions wait; ask again"});
  }
  return reactor;
}

grpc::ServerWriteReactor<v1::FaultState>* Control::Watch(grpc::CallbackServerContext* /*context*/,
                                                         const v1::ListRequest* request) {
  const auto watch = FaultWatch::Begin(feed_, request->node());
  const bool asked = reader_->Submit([watch, fleet = fleet_, node = request->node(),
                                      active_only = request->active_only()](Catalogue& catalogue) {
    const auto rows = catalogue.Nodes();
    if (!rows.ok()) return watch->End(ToGrpc(rows.status()));
    const std::vector<std::string> known = NodeNames(*rows);
    if (!node.empty() && std::find(known.begin(), known.end(), node) == known.end()) {
      return watch->End(ToGrpc(Absent(node, known)));
    }
    auto faults = catalogue.Faults(node, active_only, kMaxListed);
    if (!faults.ok()) return watch->End(ToGrpc(faults.status()));
    for (v1::FaultState& fault : *faults) MarkUnseen(*rows, *fleet, &fault);
    watch->Prime(*faults);
  });
  if (!asked) {
    watch->End({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many questions wait; ask again"});
  }
  return watch.get();
}

}  // namespace faultline
