// SPDX-License-Identifier: Apache-2.0
#include "injector/lease.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "proto/peer_text.h"

namespace faultline {
namespace {

// Longest text that is one: an IPv6 address in brackets, a port, a path of a Unix socket.
constexpr size_t kMaxAddress = 128;

// One address and one port, of TCP: more would spare packets that no collector sends.
absl::StatusOr<v1::PeerFilter> ParseCollector(const std::string& text) {
  absl::StatusOr<v1::PeerFilter> peer =
      text.size() > kMaxAddress ? absl::InvalidArgumentError("too long") : ParsePeer(text);
  const bool one = peer.ok() && peer->protocol().empty() && peer->port_first() != 0 &&
                   peer->port_first() == peer->port_last() &&
                   (absl::EndsWith(peer->cidr(), "/32") || absl::EndsWith(peer->cidr(), "/128"));
  if (!one) {
    return absl::InvalidArgumentError(
        absl::StrCat("collector \"", text.substr(0, kMaxAddress),
                     "\" is no ADDRESS:PORT in numbers, like 10.0.0.7:7443 or [fd00::7]:7443"));
  }
  peer->set_protocol("tcp");
  return peer;
}

absl::StatusOr<std::vector<v1::PeerFilter>> ParseCollectors(const v1::LeaseRequest& request) {
  if (request.collector_size() > Lease::kMaxCollectors) {
    return absl::InvalidArgumentError(absl::StrCat(request.collector_size(),
                                                   " addresses of the collector; a node takes ",
                                                   Lease::kMaxCollectors, " at most"));
  }
  std::vector<v1::PeerFilter> collectors;
  for (const std::string& text : request.collector()) {
    if (text.size() <= kMaxAddress && absl::StartsWith(text, "unix:") &&
        !absl::StrContains(text, "\n")) {
      continue;
    }
    absl::StatusOr<v1::PeerFilter> peer = ParseCollector(text);
    if (!peer.ok()) return peer.status();
    collectors.push_back(*std::move(peer));
  }
  return collectors;
}

// In one step, so that whoever reads it finds all of the old or of the new text.
bool Replace(const std::string& file, const std::string& text) {
  const std::string fresh = file + ".new";
  std::ofstream out(fresh, std::ios::trunc);
  out << text << "\n";
  out.close();
  return out && std::rename(fresh.c_str(), file.c_str()) == 0;
}

}  // namespace

Lease::Lease(std::string file, std::string term_file)
    : file_(std::move(file)), term_file_(std::move(term_file)) {
  const absl::MutexLock lock(&mutex_);
  if (!term_file_.empty()) std::remove(term_file_.c_str());
  std::ifstream in(file_);
  v1::LeaseRequest request;
  for (std::string line; std::getline(in, line);) request.add_collector(line);
  absl::StatusOr<std::vector<v1::PeerFilter>> collectors = ParseCollectors(request);
  if (request.collector_size() == 0 || !collectors.ok()) return;
  collectors_ = *std::move(collectors);
  knows_collector_ = true;
  kept_ = absl::StrJoin(request.collector(), "\n");
}

void Lease::Keep(const v1::LeaseRequest& request) {
  const std::string text = absl::StrJoin(request.collector(), "\n");
  if (file_.empty() || text == kept_) return;
  kept_ = text;
  if (Replace(file_, text)) return;
  LogWarning("cannot keep the collector's address in ", file_,
             ": an injector that starts anew does not know it until it is told");
}

void Lease::KeepTerm(std::int64_t until_ns) {
  if (term_file_.empty() || Replace(term_file_, absl::StrCat(until_ns))) return;
  std::remove(term_file_.c_str());
  LogWarning("cannot write until when the lease stands to ", term_file_,
             ": a keeper does not end the leased faults of an injector that stands still");
}

std::int64_t Lease::ReadTerm(const std::string& term_file) {
  std::ifstream in(term_file);
  std::string line;
  std::int64_t until_ns = 0;
  return std::getline(in, line) && absl::SimpleAtoi(line, &until_ns) ? until_ns : INT64_MAX;
}

absl::StatusOr<v1::LeaseResponse> Lease::Renew(const v1::LeaseRequest& request,
                                               std::int64_t now_ns) {
  if (request.ttl_ns() <= 0) {
    return absl::InvalidArgumentError("a lease needs a time: give ttl_ns of at most 15 s");
  }
  absl::StatusOr<std::vector<v1::PeerFilter>> collectors = ParseCollectors(request);
  if (!collectors.ok()) return collectors.status();
  const absl::MutexLock lock(&mutex_);
  if (request.collector_size() > 0) {
    Keep(request);
    collectors_ = *std::move(collectors);
    knows_collector_ = true;
  }
  const bool past = request.from_boottime_ns() > 0 && request.from_boottime_ns() < now_ns;
  const std::int64_t from_ns = past ? request.from_boottime_ns() : now_ns;
  heard_ns_ = std::max(heard_ns_, from_ns);
  if (const std::int64_t until_ns = from_ns + std::min(request.ttl_ns(), kMaxTtlNs);
      until_ns > until_ns_) {
    KeepTerm(until_ns);
    until_ns_ = until_ns;
  }
  v1::LeaseResponse response;
  response.set_until_boottime_ns(until_ns_);
  return response;
}

std::int64_t Lease::until_ns() const {
  const absl::MutexLock lock(&mutex_);
  return until_ns_;
}

std::int64_t Lease::heard_ns() const {
  const absl::MutexLock lock(&mutex_);
  return heard_ns_;
}

std::vector<v1::PeerFilter> Lease::collectors() const {
  const absl::MutexLock lock(&mutex_);
  return collectors_;
}

bool Lease::knows_collector() const {
  const absl::MutexLock lock(&mutex_);
  return knows_collector_;
}

std::string Lease::Silence(std::int64_t now_ns) const {
  return absl::StrCat(
      "the collector was not heard of for ",
      absl::FormatDuration(absl::Trunc(absl::Nanoseconds(now_ns - heard_ns()), absl::Seconds(1))));
}

}  // namespace faultline
