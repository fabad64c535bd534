// SPDX-License-Identifier: Apache-2.0
#include "base/channel.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>

namespace faultline {

std::shared_ptr<grpc::Channel> OpenChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    grpc::ChannelArguments arguments) {
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

}  // namespace faultline
