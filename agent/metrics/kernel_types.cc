// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/kernel_types.h"

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace faultline {

absl::StatusOr<KernelTypes> KernelTypes::Open(const std::string& path) {
  btf* types = btf__parse(path.c_str(), nullptr);
  if (types == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("this kernel has no type information in ", path, " (CONFIG_DEBUG_INFO_BTF)"));
  }
  return KernelTypes(types);
}

const btf_type* KernelTypes::Prototype(const std::string& name) const {
  const int id =
      btf__find_by_name_kind(types_.get(), ("btf_trace_" + name).c_str(), BTF_KIND_TYPEDEF);
  if (id < 0) return nullptr;
  const btf_type* definition = btf__type_by_id(types_.get(), static_cast<__u32>(id));
  const btf_type* pointer = btf__type_by_id(types_.get(), definition->type);
  if (pointer == nullptr || !btf_is_ptr(pointer)) return nullptr;
  const btf_type* function = btf__type_by_id(types_.get(), pointer->type);
  return function != nullptr && btf_is_func_proto(function) ? function : nullptr;
}

bool KernelTypes::HasTracepoint(const std::string& name) const {
  return Prototype(name) != nullptr;
}

int KernelTypes::TracepointArguments(const std::string& name) const {
  const btf_type* function = Prototype(name);
  return function == nullptr ? -1 : btf_vlen(function) - 1;
}

bool KernelTypes::FirstArgumentIsPointer(const std::string& name) const {
  const btf_type* function = Prototype(name);
  if (function == nullptr || btf_vlen(function) < 2) return false;
  const btf_type* argument = btf__type_by_id(types_.get(), btf_params(function)[1].type);
  return argument != nullptr && btf_is_ptr(argument);
}

int KernelTypes::EnumValue(const std::string& type, absl::string_view enumerator) const {
  const int id = btf__find_by_name_kind(types_.get(), type.c_str(), BTF_KIND_ENUM);
  if (id < 0) return -1;
  const btf_type* found = btf__type_by_id(types_.get(), static_cast<__u32>(id));
  const auto* values = btf_enum(found);
  for (int i = 0; i < btf_vlen(found); ++i) {
    if (enumerator == btf__name_by_offset(types_.get(), values[i].name_off)) return values[i].val;
  }
  return -1;
}

bool KernelTypes::HasFunction(const std::string& name) const {
  return btf__find_by_name_kind(types_.get(), name.c_str(), BTF_KIND_FUNC) > 0;
}

bool KernelTypes::HasField(const std::string& structure, absl::string_view field) const {
  const int id = btf__find_by_name_kind(types_.get(), structure.c_str(), BTF_KIND_STRUCT);
  if (id < 0) return false;
  const btf_type* found = btf__type_by_id(types_.get(), static_cast<__u32>(id));
  const btf_member* members = btf_members(found);
  for (int i = 0; i < btf_vlen(found); ++i) {
    if (field == btf__name_by_offset(types_.get(), members[i].name_off)) return true;
  }
  return false;
}

}  // namespace faultline
