// SPDX-License-Identifier: Apache-2.0
//
// Who this node is: kernel, machine, boot. Read once at start.
#pragma once

#include <string>

#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// Describes this host under the name `id`; what cannot be read stays empty.
v1::Node DescribeNode(const std::string& id, const std::string& proc = "/proc",
                      const std::string& os_release = "/etc/os-release");

}  // namespace faultline
