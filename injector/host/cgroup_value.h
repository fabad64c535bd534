// SPDX-License-Identifier: Apache-2.0
//
// A value of a control group as a lever. Change: kind "cgroup_value", object the group, attribute
// "controller:file", or "controller:file KEY" for one line of a file that has a line per device:
// the others are left alone. One thread at a time.
#pragma once

#include <string>
#include <vector>

#include "injector/host/cgroup.h"
#include "injector/host/lever.h"

namespace faultline {

// As Host::CgroupValue. `cgroups` must outlive the lever.
LeverOr MakeCgroupValue(Cgroups* cgroups, const std::string& cgroup, const std::string& controller,
                        const std::string& file, const std::string& value,
                        const std::vector<std::string>& steps);
// As Host::CgroupKey.
LeverOr MakeCgroupKey(Cgroups* cgroups, const std::string& cgroup, const std::string& controller,
                      const std::string& file, const std::string& key, const std::string& value,
                      const std::vector<std::string>& steps);
LeverOr RecoverCgroupValue(Cgroups* cgroups, const v1::Change& change);

}  // namespace faultline
