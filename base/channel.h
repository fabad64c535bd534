// SPDX-License-Identifier: Apache-2.0
//
// The one way in which Faultline's programs open a channel. Any thread.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>

namespace faultline {

// A channel to `address` itself: a proxy of the environment (http_proxy) is for the web, and who
// speaks without TLS because the address is loopback must not be led off this host by it.
std::shared_ptr<grpc::Channel> OpenChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    grpc::ChannelArguments arguments = {});

}  // namespace faultline
