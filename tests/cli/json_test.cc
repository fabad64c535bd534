// SPDX-License-Identifier: Apache-2.0
#include "cli/json.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/fault_view.h"
#include "cli/terminal.h"

namespace faultline::cli {
namespace {

v1::FaultState SomeFault() {
  v1::FaultState fault;
  v1::FaultSpec* spec = fault.mutable_spec();
  spec->set_id("id-1");
  spec->set_type("net.loss");
  spec->mutable_target()->set_cgroup("/web");
  (*spec->mutable_parameters())["loss"] = "5%";
  (*spec->mutable_parameters())["direction"] = "out";
  spec->add_peers()->set_cidr("10.0.0.0/8");
  spec->set_seed(7);
  spec->set_duration_ns(30'000'000'000);
  fault.set_phase(v1::PHASE_VERIFIED);
  fault.mutable_edges()->mutable_commanded()->set_boottime_ns(1'000'000'000);
  fault.mutable_edges()->mutable_acked()->set_boottime_ns(1'002'000'000);
  fault.mutable_edges()->mutable_acked()->set_realtime_ns(1'700'000'000'000'000'000);
  v1::Dose* dose = fault.add_dose();
  dose->set_name("packets_dropped");
  dose->set_unit("{packet}");
  dose->set_value(731);
  return fault;
}

TEST(Json_OfAFault, KeepsTheDocumentedNames) {
  const Json json = ToJson(SomeFault());
  EXPECT_EQ(
      OneLine(json),
      R"({"id":"id-1","type":"net.loss","target":"cgroup:/web",)"
      R"("parameters":{"direction":"out","loss":"5%"},"peers":["10.0.0.0/8"],)"
      R"("shape":"constant","seed":7,)"
      R"("duration_ns":30000000000,"start_delay_ns":null,"start_realtime_ns":null,)"
      R"("node":null,"phase":"verified","edges":{)"
      R"("commanded":{"boottime_ns":1000000000,"realtime_ns":null,"error_ns":0},)"
      R"("acked":{"boottime_ns":1002000000,"realtime_ns":1700000000000000000,"error_ns":0},)"
      R"("first_touch":null,"last_touch":null,"undone":null},)"
      R"("dose":[{"name":"packets_dropped","unit":"{packet}","value":731,"gauge":false}],)"
      R"("verdict":null,"residue":[],"reason":null,"cgroup":null,"sham":false,"hold":false,)"
      R"("symptoms":[],"changes":[],"start_boottime_ns":null,"deadline_boottime_ns":null,"boot_id":null,)"
      R"("unknown_since_realtime_ns":null})"
      "\n");
}

TEST(Json_OfBytesThatAreNoText, IsStillPrinted) {
  v1::FaultState fault;
  fault.set_reason("bad \xff byte");
  EXPECT_NE(Pretty(ToJson(fault)).find("bad"), std::string::npos);
}

TEST(FaultView_Limits, SayWhatIsAllowed) {
  v1::Limits limits;
  EXPECT_EQ(LimitsText(limits), "");
  EXPECT_TRUE(ToJson(limits).is_null());
  limits.set_max_faults(4);
  limits.set_max_duration_ns(3600'000'000'000);
  limits.set_max_hour_share(50);
  limits.add_protected_("ssh.service");
  limits.add_protected_("/db");
  limits.add_exempt(":22/tcp");
  limits.add_stop_when("memory pressure above 60 %");
  EXPECT_EQ(LimitsText(limits),
            "limits: at most 4 faults at a time, 60 min each, 50 % of any hour together\n"
            "protected: ssh.service, /db\n"
            "no network fault meets: :22/tcp\n"
            "every fault ends when: memory pressure above 60 %\n"
            "faults that came through the collector end within 15 s of its loss\n");
  EXPECT_EQ(ToJson(limits)["protected"][1], "/db");
  EXPECT_EQ(ToJson(limits)["max_hour_share"], 50);
}

TEST(FaultView_Edges_ThatHappened, AreRelativeToTheCommand) {
  EXPECT_EQ(EdgesText(SomeFault()),
            "commanded    - UTC  +0.000 s\nacked        22:13:20.000 UTC  +0.002 s\n");
}

TEST(FaultView_TypeHelp, ListsParametersWithBounds) {
  v1::FaultInfo info;
  info.set_type("cpu.limit");
  info.set_meaning("limits CPU time");
  info.set_availability(v1::AVAILABILITY_AVAILABLE);
  info.add_targets("cgroup");
  v1::ParameterInfo* parameter = info.add_parameters();
  parameter->set_name("quota");
  parameter->set_kind("percent");
  parameter->set_unit("%");
  parameter->set_minimum(1);
  parameter->set_maximum(6400);
  parameter->set_meaning("share of one CPU");
  std::ostringstream sink;
  const std::string text = TypeHelp(Terminal(sink, sink, {}), info);
  EXPECT_NE(text.find("quota        share of one CPU (percent, required, 1 % to 6400 %)"),
            std::string::npos)
      << text;
}

TEST(FaultView_Plan, ShowsBeforeAndAfter) {
  v1::Plan plan;
  v1::Change* change = plan.add_changes();
  change->set_kind("cgroup_value");
  change->set_object("/sys/fs/cgroup/cpu/web");
  change->set_attribute("cpu.cfs_quota_us");
  change->set_before("-1");
  change->set_after("20000");
  plan.add_notes("threads only");
  EXPECT_EQ(PlanText(plan),
            "cgroup_value /sys/fs/cgroup/cpu/web cpu.cfs_quota_us: -1 -> 20000\n"
            "note: threads only\n");
}

}  // namespace
}  // namespace faultline::cli
