// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/load.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "base/status.h"

namespace faultline::cli {
namespace {

constexpr const char* kNginx = "/usr/sbin/nginx";
constexpr const char* kH2load = "/usr/bin/h2load";

// page.html is compressed for every request, which costs CPU time; blob.bin is sent as it is, which
// costs bandwidth. One worker, so that the group's CPU time is one server's. No access log: nothing
// grows. Connections live for the whole demo, so that their TCP counters do.
constexpr const char* kConfiguration = R"(daemon off;
worker_processes 1;
user www-data;
pid $0/nginx.pid;
error_log $0/nginx-error.log warn;
events { worker_connections 256; }
http {
  access_log off;
  default_type application/octet-stream;
  types { text/html html; }
  client_body_temp_path $0/tmp-body;
  proxy_temp_path $0/tmp-proxy;
  fastcgi_temp_path $0/tmp-fastcgi;
  uwsgi_temp_path $0/tmp-uwsgi;
  scgi_temp_path $0/tmp-scgi;
  keepalive_requests 10000000;
  keepalive_timeout 1h;
  gzip on;
  gzip_comp_level 6;
  sendfile on;
  server {
    listen $1:$2;
    root $0/www;
  }
}
)";

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  return out ? absl::OkStatus() : ErrnoStatus(errno, "write " + path);
}

// Text that compresses to about a third, as pages do: random words of a small vocabulary.
std::string PageText(size_t size) {
  std::minstd_rand random(1);
  std::string text = "<!doctype html><title>faultline demo</title><p>";
  while (text.size() < size) {
    const auto word = random() % 4096;
    absl::StrAppend(&text, absl::Hex(word * 2654435761U % 1048576U), " ");
  }
  return text;
}

std::string BlobBytes(size_t size) {
  std::minstd_rand random(2);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() >> 8U);
  return bytes;
}

}  // namespace

absl::Status FindLoadPrograms() {
  if (::access(kNginx, X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(kNginx, " is not installed: apt-get install nginx-light"));
  }
  if (::access(kH2load, X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(kH2load, " is not installed: apt-get install nghttp2-client"));
  }
  return absl::OkStatus();
}

absl::Status WriteServerFiles(const std::string& dir, const std::string& address) {
  const std::string www = dir + "/www";
  if (::mkdir(www.c_str(), 0755) != 0) return ErrnoStatus(errno, "make folder " + www);
  constexpr size_t kPageBytes = 80'000;
  constexpr size_t kBlobBytes = 64 * 1024;
  absl::Status status = WriteFile(www + "/page.html", PageText(kPageBytes));
  if (status.ok()) status = WriteFile(www + "/blob.bin", BlobBytes(kBlobBytes));
  if (!status.ok()) return status;
  return WriteFile(dir + "/nginx.conf",
                   absl::Substitute(kConfiguration, dir, address, kServerPort));
}

std::vector<std::string> ServerCommand(const std::string& dir) {
  // -e: the error log before the configuration is read.
  return {kNginx, "-e", dir + "/nginx-error.log", "-p", dir, "-c", dir + "/nginx.conf"};
}

std::vector<std::string> ClientCommand(const std::string& address) {
  const std::string base = absl::StrCat("http://", address, ":", kServerPort);
  // Longer than any demo; it is ended with the demo.
  return {kH2load,
          "--h1",
          "-t",
          "1",
          "-c",
          absl::StrCat(kConnections),
          absl::StrCat("--rps=", kRequestsPerConnection),
          "-D",
          "600",
          "-H",
          "Accept-Encoding: gzip",
          base + "/page.html",
          base + "/blob.bin"};
}

}  // namespace faultline::cli
