// SPDX-License-Identifier: Apache-2.0
//
// A node that answers the collector's commands as a test says.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "tests/collector/fake_node.h"

namespace faultline {

inline const std::string kControlEpoch = "epoch-0123456789";

// A node that answers commands on a thread of its own.
class AnsweringNode {
 public:
  using Answer = std::function<bool(const v1::Command&, v1::CommandResult*)>;
  AnsweringNode(const std::shared_ptr<grpc::Channel>& channel, const std::string& name,
                Answer answer)
      : node_(channel) {
    node_.Hello(TestHello(name, kControlEpoch));
    thread_ = std::jthread([this, answer = std::move(answer)] {
      v1::CollectorMessage message;
      while (node_.Read(&message)) {
        if (!message.has_command()) continue;
        v1::NodeMessage reply;
        reply.mutable_result()->set_id(message.command().id());
        if (answer(message.command(), reply.mutable_result())) node_.Write(reply);
      }
    });
  }
  ~AnsweringNode() { node_.HalfClose(); }
  FakeNode& node() { return node_; }

 private:
  FakeNode node_;
  std::jthread thread_;
};

}  // namespace faultline
