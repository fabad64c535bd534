// SPDX-License-Identifier: Apache-2.0
#include "collector/authority_table.h"

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "faultline/v1/datasets.pb.h"
#include "faultline/v1/faults.pb.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {
namespace {

const Peer kNode{Role::kNode, "n"};
const Peer kOperator{Role::kOperator, "o"};
const Peer kCollector{Role::kCollector, "c"};

TEST(AuthorityTable, EachRowMeansWhatItSays) {
  for (const AuthorityRow& row : AuthorityTable()) {
    const std::string method = absl::StrReplaceAll(row.method, {{"*", "Check"}});
    EXPECT_EQ(MayCall(kNode, method).ok(), row.node) << method;
    EXPECT_EQ(MayCall(kOperator, method).ok(), row.operator_) << method;
    EXPECT_TRUE(absl::IsPermissionDenied(MayCall(kCollector, method))) << method;
  }
}

// The rule itself, beside the table: whatever is no delivery and no question after health needs an
// operator.
TEST(AuthorityTable, NodesDeliverAndOperatorsDoTheRest) {
  for (const AuthorityRow& row : AuthorityTable()) {
    const bool delivery = row.method == "/faultline.v1.Ingest/Stream";
    const bool health = absl::StartsWith(row.method, "/grpc.health.v1.Health/");
    EXPECT_EQ(row.node, delivery || health) << row.method;
    EXPECT_EQ(row.operator_, !delivery) << row.method;
  }
}

TEST(AuthorityTable, CommandsAreWhatChangesFaultsAndRuns) {
  std::set<std::string> commands;
  for (const AuthorityRow& row : AuthorityTable()) {
    if (row.command) commands.insert(std::string(row.method));
  }
  EXPECT_EQ(commands,
            (std::set<std::string>{"/faultline.v1.Faults/Start", "/faultline.v1.Faults/Stop",
                                   "/faultline.v1.Faults/Halt", "/faultline.v1.Runs/StartRun",
                                   "/faultline.v1.Runs/StopRun"}));
}

TEST(AuthorityTable, HasEachMethodOfTheContract) {
  std::set<std::string> listed;
  for (const AuthorityRow& row : AuthorityTable()) {
    EXPECT_TRUE(listed.insert(std::string(row.method)).second) << row.method << " twice";
  }
  for (const auto* file : {v1::FaultSpec::descriptor()->file(), v1::Hello::descriptor()->file(),
                           v1::Run::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      const auto* service = file->service(s);
      for (int m = 0; m < service->method_count(); ++m) {
        const std::string path =
            absl::StrCat("/", service->full_name(), "/", service->method(m)->name());
        EXPECT_EQ(listed.count(path), 1u) << path;
      }
    }
  }
}

TEST(AuthorityTable, RefusesWhatHasNoRow) {
  for (const char* method :
       {"", "/", "*", "/*", "/faultline.v1.Faults/", "/faultline.v1.Faults/start",
        "/faultline.v1.Faults/Start/", "faultline.v1.Faults/Start", "/faultline.v1.Ingest/Streams",
        "/grpc.health.v1.Healthy/Check", "/grpc.channelz.v1.Channelz/GetServers"}) {
    for (const Peer& peer : {kNode, kOperator, kCollector}) {
      EXPECT_TRUE(absl::IsPermissionDenied(MayCall(peer, method))) << method;
    }
  }
}

}  // namespace
}  // namespace faultline
