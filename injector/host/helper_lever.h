// SPDX-License-Identifier: Apache-2.0
//
// A helper program that runs inside a control group. On cgroup v1 it joins the group only where
// what it does is counted, so that a fault which freezes the group neither stops nor protects it.
// Ends as NotFound when the group had processes and only helpers are left: they must not keep a
// target alive. Change: kind "helper", object the group, attribute the primary dose. One thread at
// a time.
#pragma once

#include <string>
#include <vector>

#include "injector/faults/shape.h"
#include "injector/host/cgroup.h"
#include "injector/host/helpers.h"
#include "injector/host/lever.h"

namespace faultline {

// Which helper, and what it is to do.
struct HelperSpec {
  std::string fault_id;
  std::string cgroup;
  // Whose groups it joins. In the first it is seen who else is in the group.
  std::vector<std::string> controllers;
  // Of kHelperPrograms, and its numbers: the arguments "--NAME VALUE", and "NAME=VALUE" in the
  // journal.
  std::string program;
  std::vector<std::pair<std::string, std::int64_t>> numbers;
  // A file that it may read; "": none.
  std::string feed;
  // "held_bytes" or "burnt_ns".
  std::string dose;
};

// The same of a shape that begins at `start_ns`; none of a constant one.
std::vector<std::pair<std::string, std::int64_t>> ShapeNumbers(const Shape& shape,
                                                               std::int64_t start_ns);

// FailedPrecondition: the program is not there. NotFound: the group is not.
LeverOr MakeHelper(Cgroups* cgroups, Helpers* helpers, Clock* clock, const HelperSpec& spec);
LeverOr RecoverHelper(Cgroups* cgroups, Helpers* helpers, Clock* clock, const v1::Change& change);

}  // namespace faultline
