// SPDX-License-Identifier: Apache-2.0
//
// An edge device and a collector, two machines with a network between them and nothing but mutual
// TLS on it: what the users of the packages do, and what their networks do to them.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/csv.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr char kStoreAddress[] = "10.77.0.1";
constexpr char kEdgeAddress[] = "10.77.0.2";

// As an operator on the machine of the collector.
constexpr char kOperator[] =
    "faultline --collector 10.77.0.1:4640 --tls /root/ca/operator-operator ";

double Number(const std::string& text) {
  double value = 0;
  EXPECT_TRUE(absl::SimpleAtod(text, &value)) << text;
  return value;
}

class FleetTest : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    Guest::Options options;
    options.memory_mib = 512;
    options.name = "store";
    options.peer = "edge";
    store_ = Boot(options);
    std::swap(options.name, options.peer);
    edge_ = Boot(options);
    ASSERT_TRUE(store_ != nullptr && edge_ != nullptr);
    Connect(*store_, kStoreAddress);
    Connect(*edge_, kEdgeAddress);
    // The one line of configuration that each needs.
    store_->Do("echo 'listen: 10.77.0.1:4640' >> /etc/faultline/collector.yaml");
    edge_->Do(
        "echo '10.77.0.1 store' >> /etc/hosts; "
        "echo 'collector: store:4640' >> /etc/faultline/agent.yaml");
  }

  static void Connect(Machine& machine, const std::string& address) {
    machine.Write("/etc/systemd/network/10-wire.network",
                  absl::StrCat("[Match]\nType=ether\n[Network]\nAddress=", address, "/24\n"));
    machine.Do("systemctl enable --now systemd-networkd");
    machine.Await(absl::StrCat("ip -br address | grep -q ", address));
  }

  // The authority on the collector's machine, and the collector with its certificate.
  void StartStore() {
    store_->Do(
        "faultline tls init /root/ca && cp -rT /root/ca/collector-collector /etc/faultline/tls && "
        "chown -R faultline-collector: /etc/faultline/tls && systemctl restart "
        "faultline-collector");
  }
  // Gives the edge device a folder of the store's as its certificates; all in one step, so that a
  // program that reads them sees the old ones or the new ones.
  void GiveEdge(const std::string& folder) {
    const std::string tar = store_->Do(absl::StrCat("tar -C ", folder, " -c . | base64 -w 0"));
    edge_->Do(absl::StrCat(
        "cd /etc/faultline; rm -rf tls.old tls.new; mkdir -m 700 tls.new; base64 -d <<< ", tar,
        " | tar -C tls.new -x; chown -R faultline-agent: tls.new; [ ! -d tls ] || mv tls tls.old; "
        "mv tls.new tls"));
  }
  void AwaitConnected() {
    store_->Await(absl::StrCat(kOperator, "status 2> /dev/null | grep -q '^edge .*connected'"));
  }
  // One of the counters of the agent's stream, by its log.
  void AwaitLog(Machine& machine, const std::string& service, const std::string& word) {
    machine.Await(absl::StrCat("journalctl -u ", service, " -o cat | grep -q -- '", word, "'"));
  }
  // A file of the store's, as rows.
  std::vector<CsvRow> Read(const std::string& path) {
    const std::string copy = dir_.path() + "/rows.csv";
    std::ofstream(copy) << store_->Do("cat " + path);
    return ReadCsv(copy);
  }

  void ExpectCertificatesDecide();
  void ExpectLabelledDataset();
  void ExpectNothingLostUnsaid();

  Machine* store_ = nullptr;
  Machine* edge_ = nullptr;
};

// Who is heard is decided by certificates.
void FleetTest::ExpectCertificatesDecide() {
  // None: neither listens or dials beyond loopback, and both say what to do.
  store_->Fail("systemctl start faultline-collector");
  AwaitLog(*store_, "faultline-collector", "faultline tls init");
  edge_->Fail("systemctl start faultline-agent");
  AwaitLog(*edge_, "faultline-agent", "faultline tls");
  for (Machine* machine : {store_, edge_}) {
    EXPECT_THAT(machine->Do("journalctl FAULTLINE_EVENT=cannot_start -o cat"),
                HasSubstr("faultline tls"));
  }
  EXPECT_THAT(edge_->Fail("faultline --collector store:4640 status 2>&1"),
              HasSubstr("faultline tls"));

  StartStore();
  // Another authority's: the agent does not believe this collector.
  store_->Do("faultline tls init /root/other && faultline tls node edge --ca /root/other");
  GiveEdge("/root/other/node-edge");
  // It has tried again and again.
  edge_->Await("systemctl -q is-active faultline-agent");
  AwaitLog(*edge_, "faultline-agent", "certificate");
  EXPECT_THAT(store_->Do(absl::StrCat(kOperator, "status 2>&1")), HasSubstr("no node"));

  // What the collector itself decides, by a client of HTTP/2 that is not ours: an operator is
  // heard, a node is not an operator, and another authority's operator is nobody.
  store_->Do("faultline tls node thief --ca /root/ca && printf '\\0\\0\\0\\0\\0' > /root/empty");
  const auto call = [this](const std::string& folder) {
    const std::string own =
        folder.empty() ? ""
                       : absl::StrCat("--cert=", folder, "/cert.pem --key=", folder, "/key.pem");
    return store_->Do(
        absl::StrCat("timeout 20 nghttp -v ", own,
                     " -d /root/empty -H 'content-type: application/grpc' -H 'te: trailers' "
                     "https://10.77.0.1:4640/faultline.v1.Faults/List 2>&1 | tr -d '\\0'; true"));
  };
  EXPECT_THAT(call("/root/ca/operator-operator"), HasSubstr("grpc-status: 0"));
  EXPECT_THAT(call("/root/ca/node-thief"), HasSubstr("grpc-status: 7"));
  EXPECT_THAT(store_->Do("journalctl FAULTLINE_EVENT=call_denied -o cat"), HasSubstr("thief"));
  EXPECT_THAT(call("/root/other/operator-operator"), Not(HasSubstr("grpc-status")));
  // Ours says so before it calls.
  EXPECT_THAT(store_->Fail("faultline --collector 10.77.0.1:4640 --tls /root/ca/node-thief run "
                           "start stolen 2>&1"),
              HasSubstr("operator"));

  // Expired: made ten days ago, for a day.
  store_->Do(
      "up() { cut -d. -f1 /proc/uptime; }; at=$(up); now=$(date +%s); date -s @$((now - 864000)); "
      "faultline tls node edge --ca /root/ca --days 1 --out /root/expired; "
      "faultline tls operator late --ca /root/ca --days 1 --out /root/late; "
      "date -s @$((now + $(up) - at))");
  GiveEdge("/root/expired");
  // What the kernel dialled; nobody but the agent does there.
  const auto dialled = [this] {
    return Number(edge_->Do("awk '/^Tcp:/ { v = $6 } END { print v }' /proc/net/snmp"));
  };
  edge_->Do("systemctl stop faultline-agent");
  const double dialled_before = dialled();
  edge_->Do("systemctl start faultline-agent");
  edge_->Await("journalctl FAULTLINE_EVENT=certificate_time -o cat | grep -q expired");
  EXPECT_THAT(call("/root/late"), Not(HasSubstr("grpc-status")));
  EXPECT_THAT(store_->Fail("faultline --collector 10.77.0.1:4640 --tls /root/late status 2>&1"),
              HasSubstr("expired"));
  EXPECT_THAT(call(""), Not(HasSubstr("grpc-status")));
  edge_->Do("sleep 10; systemctl is-active faultline-agent");
  EXPECT_GT(dialled(), dialled_before);
  EXPECT_THAT(store_->Do(absl::StrCat(kOperator, "status 2>&1")), HasSubstr("no node"));

  // The right one, while the agent runs: taken without a restart.
  store_->Do("faultline tls node edge --ca /root/ca");
  GiveEdge("/root/ca/node-edge");
  AwaitConnected();
  EXPECT_EQ(edge_->Do("systemctl show -P NRestarts faultline-agent"), "0\n");
}

// Two minutes of an edge device become a labelled dataset.
void FleetTest::ExpectLabelledDataset() {
  edge_->Do("systemctl enable --now nginx faultline-injector");
  // Work for the server, by the network. nginx ends a connection after 1,000 requests, and h2load
  // opens none in its place.
  store_->Do(
      absl::StrCat("systemd-run -q --unit=load sh -c 'while :; do h2load --h1 -c 4 -D 10 "
                   "--rps 8 http://",
                   kEdgeAddress, "/ > /root/load; done'"));
  const auto throttled_us = [this] {
    return Number(
        edge_->Do("sed -n 's/^throttled_usec //p' "
                  "/sys/fs/cgroup/system.slice/nginx.service/cpu.stat || echo 0"));
  };
  const auto retransmitted = [this] {
    return Number(store_->Do("awk '/^Tcp:/ { v = $13 } END { print v }' /proc/net/snmp"));
  };
  // For 20 s, on the unit, through the collector.
  const auto inject = [this](const std::string& fault) {
    store_->Do(absl::StrCat(kOperator, "inject --target unit:nginx --for 20s --wait ", fault));
  };
  store_->Do(absl::StrCat(kOperator, "run start two --target edge/unit:nginx && sleep 25"));
  inject("cpu.limit cpus=0.05");
  store_->Do("sleep 12");
  const double lost_before = retransmitted();
  inject("net.loss loss=30% direction=in");
  const double lost_after = retransmitted();
  store_->Do("sleep 12");
  inject("mem.leak bytes=24MiB rate=8MiB");
  store_->Do(absl::StrCat("sleep 12; ", kOperator, "run stop two; systemctl stop load"));
  std::printf("%s", store_
                        ->Do(absl::StrCat(kOperator,
                                          "export --run two --out /root/two; cd "
                                          "/root/two && sha256sum --quiet -c CHECKSUMS"))
                        .c_str());

  EXPECT_THAT(store_->Do("cat /root/two/targets.csv"),
              HasSubstr(",unit:nginx.service,hold-two-1-"));
  std::map<std::string, double> dose;
  for (const CsvRow& fault : Read("/root/two/faults.csv")) {
    EXPECT_EQ(At(fault, "phase"), "undone");
    EXPECT_EQ(At(fault, "verdict"), "effective") << At(fault, "type") << At(fault, "reason");
    EXPECT_EQ(At(fault, "node"), "edge");
    const Json doses = Json::parse(At(fault, "dose"), nullptr, false);
    std::printf("%s: %s\n", At(fault, "type").c_str(), doses.dump().c_str());
    if (doses.is_array() && !doses.empty()) dose[At(fault, "type")] = doses[0].value("value", 0.0);
  }
  ASSERT_EQ(dose.size(), 3u);
  // What the kernels of both ends say.
  EXPECT_GT(dose["cpu.limit"], 1e9);
  EXPECT_LE(dose["cpu.limit"], throttled_us() * 1e3);
  EXPECT_EQ(dose["mem.leak"], 24 << 20);
  EXPECT_GE(Number(edge_->Do("cat /sys/fs/cgroup/system.slice/nginx.service/memory.peak")),
            24 << 20);
  std::printf("%.0f packets dropped, %.0f sent again by the other end\n", dose["net.loss"],
              lost_after - lost_before);
  EXPECT_GT(dose["net.loss"], 20);
  EXPECT_GT(lost_after - lost_before, 10);

  // A row for each second of each fault, and none beyond.
  std::map<std::string, int> labelled;
  for (const CsvRow& row : Read("/root/two/data/cgroup.csv")) {
    if (At(row, "label_target") == "1" && At(row, "entity") == "/system.slice/nginx.service") {
      ++labelled[At(row, "fault_type")];
    }
  }
  for (const char* type : {"cpu.limit", "net.loss", "mem.leak"}) {
    std::printf("%s: %d windows\n", type, labelled[type]);
    EXPECT_GE(labelled[type], 14) << type;
    EXPECT_LE(labelled[type], 20) << type;
  }
  EXPECT_EQ(Read("/root/two/gaps.csv").size(), 0u);
}

// A collector that is away, and a reboot, lose nothing unsaid.
void FleetTest::ExpectNothingLostUnsaid() {
  edge_->Do("systemctl enable faultline-agent");
  store_->Do(absl::StrCat(kOperator, "run start away"));
  const double begin = edge_->Now();
  // The cable is out.
  const int away_s = Long() ? 300 : 60;
  const std::string device = "$(basename $(ls -d /sys/class/net/e*))";
  store_->Do(absl::StrCat("ip link set ", device, " down"));
  edge_->Do(absl::StrCat("sleep ", away_s));
  EXPECT_EQ(edge_->Do("systemctl is-active faultline-agent; systemctl show -P NRestarts "
                      "faultline-agent"),
            "active\n0\n");
  const double memory =
      Number(edge_->Do("cat /sys/fs/cgroup/system.slice/faultline-agent.service/memory.current"));
  std::printf("agent's memory after %d s without collector: %.1f MiB\n", away_s, memory / 1048576);
  // As its unit says of it.
  EXPECT_LT(memory, 40 << 20);
  store_->Do(absl::StrCat("ip link set ", device, " up"));
  AwaitConnected();
  // What was kept has come when the newest has.
  store_->Do("sleep 10");
  const double seconds = edge_->Now() - begin;
  store_->Do(
      absl::StrCat(kOperator, "run stop away; ", kOperator, "export --run away --out /root/away"));
  const size_t rows = Read("/root/away/data/host.csv").size();
  std::printf("%zu windows of %.0f s\n", rows, seconds);
  EXPECT_GE(static_cast<double>(rows), seconds - 4);
  EXPECT_EQ(Read("/root/away/gaps.csv").size(), 0u);

  // Nothing waits for a collector that is away, neither a stop nor a start. And what no longer fits
  // into memory is told.
  store_->Do(absl::StrCat(kOperator, "run start full; sleep 3; ip link set ", device, " down"));
  edge_->Do("sleep 3; echo 'buffer-bytes: 65536' >> /etc/faultline/agent.yaml");
  const double stopping = edge_->Now();
  edge_->Do("systemctl stop faultline-agent");
  EXPECT_LT(edge_->Now() - stopping, 15);
  edge_->Do("systemctl start faultline-agent; sleep 30");
  store_->Do(absl::StrCat("ip link set ", device, " up"));
  AwaitConnected();
  store_->Do(absl::StrCat("sleep 5; ", kOperator, "run stop full; ", kOperator,
                          "export --run full --out /root/full"));
  const std::vector<CsvRow> gaps = Read("/root/full/gaps.csv");
  EXPECT_FALSE(gaps.empty());
  for (const CsvRow& gap : gaps) {
    EXPECT_EQ(At(gap, "reason"), "buffer_full");
    std::printf("%s samples from %s to %s did not fit\n", At(gap, "samples").c_str(),
                At(gap, "begin").c_str(), At(gap, "end").c_str());
  }

  // An orderly reboot ends what is active, and all comes back by itself.
  edge_->Do(absl::StrCat(kRoot, "inject cpu.limit --target unit:nginx --for 300s cpus=0.5"));
  ASSERT_TRUE(edge_->guest().PowerOff().ok());
  store_->Await(absl::StrCat("! ", kOperator, "status | grep -q '^edge .*connected'"));
  ASSERT_TRUE(edge_->guest().Start().ok());
  AwaitConnected();
  // Whichever systemd stopped first, the target or the injector.
  EXPECT_THAT(edge_->Do(absl::StrCat(kRoot, "faults")),
              AnyOf(HasSubstr("the injector was stopped"), HasSubstr("was stopped or restarted")));
  edge_->Do("! grep -q '^[0-9]' /sys/fs/cgroup/system.slice/nginx.service/cpu.max");
}

// One life of two machines, as each boot of an emulated one costs the time of half a scenario.
TEST_F(FleetTest, CertificatesThenADatasetThenACollectorThatIsAway) {
  ExpectCertificatesDecide();
  if (!HasFailure()) ExpectLabelledDataset();
  if (!HasFailure()) ExpectNothingLostUnsaid();
}

}  // namespace
}  // namespace faultline
