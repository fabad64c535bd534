// SPDX-License-Identifier: Apache-2.0
//
// Load for a running collector, to measure it by hand:
//   collector_load ADDRESS NODES BATCHES [DIR]
// Each node delivers BATCHES batches of one frame with 200 values, one after the other as an agent
// does; then the run is exported, into DIR if it is given. Prints rates; judge memory by the
// collector's own /proc/PID/status.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "faultline/v1/datasets.grpc.pb.h"
#include "tests/collector/batch_builder.h"
#include "tests/collector/fake_node.h"

namespace faultline {
namespace {

constexpr int kHostColumns = 60;
constexpr int kCgroupColumns = 12;
constexpr int kCgroups = 10;
// cgroup columns that are histograms, 10 x 2 of the 200 values.
constexpr int kHistograms = 2;
// Short, so that an hour of windows lies in the past when it is exported.
constexpr std::int64_t kWindowNs = kNsPerMs / 10;

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

v1::Schema LoadSchema() {
  v1::Schema schema;
  schema.set_id(200);
  auto* host = schema.add_tables();
  host->set_name("host");
  for (int c = 0; c < kHostColumns; ++c) {
    *host->add_columns() = MakeColumn(absl::StrCat("host_", c, "_ns"),
                                      c % 2 == 0 ? v1::KIND_COUNTER : v1::KIND_GAUGE, "ns");
  }
  auto* cgroup = schema.add_tables();
  cgroup->set_name("cgroup");
  for (int c = 0; c < kCgroupColumns + kHistograms; ++c) {
    *cgroup->add_columns() =
        MakeColumn(absl::StrCat("cgroup_", c, "_ns"),
                   c < kCgroupColumns ? v1::KIND_COUNTER : v1::KIND_HISTOGRAM, "ns");
  }
  return schema;
}

v1::EncodedBatch MakeBatch(std::uint64_t sequence, std::int64_t realtime_ns,
                           const std::string& epoch, std::mt19937_64* random) {
  BatchBuilder builder(LoadSchema());
  const auto host = builder.Entity("host", "host");
  std::vector<std::uint64_t> cgroups;
  cgroups.reserve(kCgroups);
  for (int g = 0; g < kCgroups; ++g) {
    cgroups.push_back(builder.Entity("cgroup", absl::StrCat("/system.slice/unit-", g, ".service")));
  }
  const auto begin = static_cast<std::int64_t>(sequence) * kWindowNs;
  builder.Frame(static_cast<std::int64_t>(sequence), begin, begin + kWindowNs, realtime_ns);
  const auto value = [&] { return Cell(static_cast<std::int64_t>((*random)() % 20'000'000)); };
  std::vector<Cell> cells;
  cells.reserve(kHostColumns);
  for (int c = 0; c < kHostColumns; ++c) cells.push_back(value());
  builder.Row("host", host, cells);
  for (const std::uint64_t group : cgroups) {
    cells.clear();
    for (int c = 0; c < kCgroupColumns; ++c) cells.push_back(value());
    for (int h = 0; h < kHistograms; ++h) {
      std::vector<std::uint64_t> observed;
      observed.reserve(20);
      for (int i = 0; i < 20; ++i) observed.push_back((*random)() % (1U << (4 + i)));
      cells.push_back(Cell::Histogram(observed));
    }
    builder.Row("cgroup", group, cells);
  }
  return builder.Encode(epoch, sequence);
}

std::int64_t Deliver(const std::string& address, int number, int batches, std::int64_t begin_ns) {
  const std::string epoch = absl::StrCat("load-", 10'000'000'000 + number);
  std::mt19937_64 random(static_cast<std::uint64_t>(number));
  grpc::ChannelArguments arguments;
  arguments.SetInt("load", number);  // a connection of its own
  const auto stub = v1::Ingest::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto stream = stub->Stream(&context);
  v1::NodeMessage message;
  *message.mutable_hello() = TestHello(absl::StrCat("load", number), epoch, LoadSchema());
  message.mutable_hello()->set_interval_ns(kWindowNs);
  v1::CollectorMessage answer;
  if (!stream->Write(message) || !stream->Read(&answer)) return 0;
  std::int64_t stored = 0;
  for (int i = 1; i <= batches; ++i) {
    *message.mutable_batch() = MakeBatch(static_cast<std::uint64_t>(i), begin_ns, epoch, &random);
    if (!stream->Write(message) || !stream->Read(&answer) || !answer.has_ack()) break;
    ++stored;
  }
  stream->WritesDone();
  (void)stream->Finish();
  return stored;
}

int Main(const std::string& address, int nodes, int batches, const std::string& dir) {
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  const auto runs = v1::Runs::NewStub(channel);
  v1::StartRunRequest start;
  start.set_name(absl::StrCat("load-", ::getpid()));
  v1::Run run;
  grpc::ClientContext context;
  if (!runs->StartRun(&context, start, &run).ok()) return 1;
  auto begin = std::chrono::steady_clock::now();
  std::vector<std::int64_t> stored(static_cast<std::size_t>(nodes));
  {
    std::vector<std::jthread> threads;
    threads.reserve(stored.size());
    for (int i = 0; i < nodes; ++i) {
      threads.emplace_back([&, i] {
        stored[static_cast<std::size_t>(i)] = Deliver(address, i, batches, run.begin_realtime_ns());
      });
    }
  }
  std::int64_t total = 0;
  for (const std::int64_t count : stored) total += count;
  std::printf("ingest: %lld batches of 200 values in %.2f s, %.0f/s\n",
              static_cast<long long>(total), SecondsSince(begin),
              static_cast<double>(total) / SecondsSince(begin));
  begin = std::chrono::steady_clock::now();
  const auto datasets = v1::Datasets::NewStub(channel);
  grpc::ClientContext export_context;
  v1::ExportRequest request;
  request.set_run(start.name());
  const auto reader = datasets->Export(&export_context, request);
  v1::ExportChunk chunk;
  std::size_t bytes = 0;
  v1::ExportSummary summary;
  while (reader->Read(&chunk)) {
    bytes += chunk.data().size();
    if (chunk.has_summary()) summary = chunk.summary();
    if (dir.empty() || chunk.path().empty()) continue;
    std::filesystem::create_directories(dir + "/data");
    std::ofstream(dir + "/" + chunk.path(), std::ios::app) << chunk.data();
  }
  std::printf("export: %lld rows, %lld samples, %.1f MB in %.2f s%s\n",
              static_cast<long long>(summary.rows()), static_cast<long long>(summary.samples()),
              static_cast<double>(bytes) / 1e6, SecondsSince(begin),
              reader->Finish().ok() ? "" : " FAILED");
  return 0;
}

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) {
  int nodes = 0;
  int batches = 0;
  if (argc < 4 || !absl::SimpleAtoi(argv[2], &nodes) || !absl::SimpleAtoi(argv[3], &batches)) {
    std::fprintf(stderr, "usage: collector_load ADDRESS NODES BATCHES [DIR]\n");
    return 2;
  }
  return faultline::Main(argv[1], nodes, batches, argc > 4 ? argv[4] : "");
}
