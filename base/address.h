// SPDX-License-Identifier: Apache-2.0
//
// How addresses are written: what gRPC takes beyond that ("dns:///x", a port of 99999, which it
// cuts to 16 bits) only fails later, or leads elsewhere. Each function yields what is wrong with an
// address, "" if nothing is, as CLI::Validator wants it; nothing is resolved. Any thread.
#pragma once

#include <string>

namespace faultline {

// To dial: HOST:PORT, [IPV6]:PORT or unix:/PATH.
std::string CheckDialAddress(const std::string& address);

// The same to listen on, where port 0 lets the system choose.
std::string CheckListenAddress(const std::string& address);

// What gRPC calls the other end of a call ("ipv4:10.0.0.7:7443", "ipv6:%5Bfd00::7%5D:7443",
// "unix:/PATH") as addresses are written: "10.0.0.7:7443", "[fd00::7]:7443", "unix:/PATH". Empty:
// it is of another kind.
std::string NumericPeer(const std::string& peer);

// Of an injector, which is never on the network: unix:/PATH.
std::string CheckInjectorAddress(const std::string& address);

}  // namespace faultline
