// SPDX-License-Identifier: Apache-2.0
#include "collector/options.h"

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/config_file.h"
#include "base/log.h"
#include "base/reference.h"

namespace faultline {

absl::StatusOr<CollectorOptions> ParseCollectorOptions(int argc, const char* const* argv) {
  CollectorOptions options;
  CLI::App app{
      "Takes what Faultline's nodes measure, stores it, relays fault commands and makes "
      "datasets.",
      "faultline-collector"};
  app.footer(
      "Exit status: 0 it was ended by SIGTERM or SIGINT, 1 it cannot work here, 2 a wrong option "
      "or "
      "configuration file.");
  app.set_version_flag("--version", "faultline-collector " FAULTLINE_VERSION);
  app.add_option(
         "--listen", options.listen,
         "HOST:PORT (port 0: the system chooses) or unix:/PATH; beyond loopback with TLS only")
      ->type_name("ADDRESS")
      ->capture_default_str()
      ->check(CLI::Validator(CheckListenAddress, ""));
  app.add_option("--tls", options.tls.folder,
                 absl::StrCat("Folder with ca.pem, cert.pem and key.pem; named, they are used on "
                              "loopback too. Beyond loopback without it: ",
                              kTlsFolder))
      ->type_name("DIR");
  app.add_option(
         "--state-dir", options.state_dir,
         "Directory of the store; made if missing. As a service the collector can write to "
         "/var/lib/faultline-collector alone: for another one, which has to be there and be "
         "faultline-collector's, `systemctl edit faultline-collector` and put [Service] "
         "and, below it, ReadWritePaths=DIR")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--address-file", options.address_file,
                 "File that the address taken is written to")
      ->type_name("FILE");
  app.add_option("--grpc-memory", options.grpc_memory_bytes,

                 "Bound on the network buffers of all connections, bytes. The service may take 512 "
                 "MiB in all: more than 384 MiB needs another MemoryMax= (`systemctl edit "
                 "faultline-collector`)")
      ->type_name("BYTES")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{16} << 20, std::int64_t{64} << 30).description(""));
  AddConfigFile(&app);
  AddReference(&app, 8);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return absl::CancelledError(app.help());
  } catch (const CLI::CallForVersion& version) {
    return absl::CancelledError(absl::StrCat(version.what(), "\n"));
  } catch (const CLI::ParseError& error) {
    if (!HasTask(app)) {
      return absl::InvalidArgumentError(absl::StrCat(error.what(), "; --help says what it takes"));
    }
    // What is wrong with a task is no matter of the service.
    LogError(error.what());
    return absl::InvalidArgumentError("");
  }
  return options;
}

}  // namespace faultline
