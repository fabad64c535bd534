// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "tests/kernel/bpf_meter.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

constexpr int kConnections = 40;
constexpr int kRefused = 7;

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A listening socket on a free port of 127.0.0.1.
int Listen(std::uint16_t* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 64) != 0) return -1;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  *port = ntohs(address.sin_port);
  return fd;
}

int Connect(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

// Echoes one byte on each of `connections` connections; the port goes to `out`.
int Serve(int out, int connections) {
  std::uint16_t port = 0;
  const int listener = Listen(&port);
  if (listener < 0 || write(out, &port, sizeof(port)) != sizeof(port)) return 1;
  for (int i = 0; i < connections; ++i) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    char byte = 0;
    while (read(fd, &byte, 1) == 1) (void)!write(fd, &byte, 1);
    close(fd);
  }
  close(listener);
  return 0;
}

int Call(std::uint16_t port, int connections) {
  for (int i = 0; i < connections; ++i) {
    const int fd = Connect(port);
    if (fd < 0) return 1;
    char byte = 'x';
    for (int round = 0; round < 5; ++round) {
      if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) return 2;
    }
    close(fd);
  }
  return 0;
}

// The line "Tcp:" of /proc/net/snmp by name.
std::map<std::string, std::int64_t> Snmp() {
  std::ifstream in("/proc/net/snmp");
  std::map<std::string, std::int64_t> result;
  std::string names;
  std::string values;
  while (std::getline(in, names) && std::getline(in, values)) {
    if (names.rfind("Tcp:", 0) != 0) continue;
    std::istringstream name(names);
    std::istringstream value(values);
    std::string key;
    std::string number;
    while (name >> key && value >> number) {
      if (key != "Tcp:") result[key] = std::stoll(number);
    }
  }
  return result;
}

class TcpMetric : public ::testing::Test {
 protected:
  void SetUp() override {
    client_ = *TestCgroup::Create("tcp-client");
    server_ = *TestCgroup::Create("tcp-server");
    idle_ = *TestCgroup::Create("tcp-idle");
    absl::StatusOr<std::unique_ptr<BpfMeter>> meter = BpfMeter::Create("tcp");
    ASSERT_TRUE(meter.ok()) << meter.status();
    meter_ = *std::move(meter);
    for (const char* column : {"tcp_rtt_us", "tcp_retransmits_count",
                               "tcp_retransmits_synack_count", "tcp_connections_opened_count"}) {
      NEED_METRIC(*meter_, column);
    }
  }

  std::int64_t Count(const std::string& column, const TestCgroup& group) {
    const std::optional<std::int64_t> count = meter_->Count(column, group.path());
    EXPECT_TRUE(count.has_value()) << column;
    return count.value_or(-1);
  }
  histogram Observed(const std::string& column, const TestCgroup& group) {
    const std::optional<histogram> observed = meter_->Observed(column, group.path());
    EXPECT_TRUE(observed.has_value()) << column;
    return observed.value_or(histogram{});
  }

  std::unique_ptr<TestCgroup> client_;
  std::unique_ptr<TestCgroup> server_;
  std::unique_ptr<TestCgroup> idle_;
  std::unique_ptr<BpfMeter> meter_;
};

TEST_F(TcpMetric, ConnectionsAreCountedWhereTheirSocketsAre) {
  std::map<std::string, std::int64_t> before = Snmp();
  meter_->Read();
  int ports[2];
  ASSERT_EQ(pipe2(ports, O_CLOEXEC), 0);
  const pid_t server = *server_->Spawn([&] { return Serve(ports[1], kConnections); });
  std::uint16_t port = 0;
  ASSERT_EQ(read(ports[0], &port, sizeof(port)), static_cast<ssize_t>(sizeof(port)));
  ASSERT_EQ(client_->Run([&] { return Call(port, kConnections); }), 0);
  ASSERT_EQ(server_->Wait(server), 0);
  // Nobody listens there any more.
  ASSERT_EQ(client_->Run([&] {
    for (int i = 0; i < kRefused; ++i) {
      if (Connect(port) >= 0) return 1;
    }
    return 0;
  }),
            0);
  close(ports[0]);
  close(ports[1]);
  meter_->Read();
  std::map<std::string, std::int64_t> after = Snmp();

  EXPECT_EQ(Count("tcp_connections_opened_count", *client_), kConnections);
  EXPECT_EQ(Count("tcp_connections_failed_count", *client_), kRefused);
  EXPECT_EQ(Count("tcp_connections_accepted_count", *client_), 0);
  EXPECT_EQ(Count("tcp_connections_accepted_count", *server_), kConnections);
  EXPECT_EQ(Count("tcp_connections_opened_count", *server_), 0);
  EXPECT_EQ(Count("tcp_connections_closed_count", *client_), kConnections);
  EXPECT_EQ(Count("tcp_connections_closed_count", *server_), kConnections);
  for (const char* what : {"opened", "accepted", "failed", "closed"}) {
    EXPECT_EQ(Count(absl::StrCat("tcp_connections_", what, "_count"), *idle_), 0) << what;
  }
  // The kernel's own count includes everybody else's.
  EXPECT_GE(after["ActiveOpens"] - before["ActiveOpens"], kConnections + kRefused);
  EXPECT_GE(after["PassiveOpens"] - before["PassiveOpens"], kConnections);
  EXPECT_GE(after["AttemptFails"] - before["AttemptFails"], kRefused);

  // At least one packet for each of the five exchanges of a connection.
  const histogram rtt = Observed("tcp_rtt_us", *client_);
  EXPECT_GE(rtt.count, static_cast<std::uint64_t>(kConnections) * 5);
  EXPECT_LT(rtt.sum, rtt.count * 100'000U);
  EXPECT_EQ(Observed("tcp_rtt_us", *idle_).count, 0U);

  NEED_METRIC(*meter_, "tcp_connect_duration_ns");
  const histogram connect = Observed("tcp_connect_duration_ns", *client_);
  EXPECT_EQ(connect.count, static_cast<std::uint64_t>(kConnections));
  EXPECT_GT(connect.sum, connect.count * 1'000U);
  EXPECT_LT(connect.sum, connect.count * 100'000'000U);
  EXPECT_EQ(Observed("tcp_connect_duration_ns", *server_).count, 0U);
  EXPECT_EQ(Observed("tcp_connect_duration_ns", *idle_).count, 0U);
}

// A listener whose queue is full drops what comes: the connecting side sends its SYN again.
TEST_F(TcpMetric, RetransmitsAreThoseThatTheSocketCounts) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 0), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const std::uint16_t port = ntohs(address.sin_port);
  const int filler = Connect(port);
  ASSERT_GE(filler, 0);

  int result[2];
  ASSERT_EQ(pipe2(result, O_CLOEXEC), 0);
  std::map<std::string, std::int64_t> before = Snmp();
  meter_->Read();
  ASSERT_EQ(client_->Run([&] {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const sockaddr_in to = Loopback(port);
    (void)connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    // SYNs go out again after 1 s and, depending on the kernel, 2 s and 3 s.
    usleep(3'500'000);
    tcp_info info{};
    socklen_t length = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 1;
    const std::int64_t total = info.tcpi_total_retrans;
    return write(result[1], &total, sizeof(total)) == sizeof(total) ? 0 : 2;
  }),
            0);
  meter_->Read();
  std::map<std::string, std::int64_t> after = Snmp();
  std::int64_t total = 0;
  ASSERT_EQ(read(result[0], &total, sizeof(total)), static_cast<ssize_t>(sizeof(total)));
  close(result[0]);
  close(result[1]);
  const std::int64_t sent_again = Count("tcp_retransmits_count", *client_);
  EXPECT_GE(sent_again, 1);
  EXPECT_EQ(sent_again, total);
  EXPECT_GE(after["RetransSegs"] - before["RetransSegs"], sent_again);
  EXPECT_EQ(Count("tcp_connections_failed_count", *client_), 1);
  EXPECT_EQ(Count("tcp_retransmits_count", *idle_), 0);
  close(filler);
  close(listener);
}

}  // namespace
}  // namespace faultline
