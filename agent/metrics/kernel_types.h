// SPDX-License-Identifier: Apache-2.0
//
// The running kernel's own description of its types (BTF), asked before a BPF program is loaded:
// a missing tracepoint reads as "forbidden" from the load, and some arguments changed without the
// name. Opened while sources start and dropped after it, as it is 10 MB. One thread.
#pragma once

#include <bpf/btf.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

class KernelTypes {
 public:
  // Unimplemented: this kernel has no BTF.
  static absl::StatusOr<KernelTypes> Open(const std::string& path = "/sys/kernel/btf/vmlinux");

  // Whether there is a tracepoint `name` for tp_btf and raw_tp.
  bool HasTracepoint(const std::string& name) const;
  // Number of arguments of tracepoint `name`; -1: there is none.
  int TracepointArguments(const std::string& name) const;
  // Whether the first argument of tracepoint `name` is a pointer.
  bool FirstArgumentIsPointer(const std::string& name) const;
  // Value of `enumerator` of enum `type`; -1: there is none.
  int EnumValue(const std::string& type, absl::string_view enumerator) const;
  bool HasFunction(const std::string& name) const;
  bool HasField(const std::string& structure, absl::string_view field) const;

 private:
  struct Closer {
    void operator()(btf* types) const { btf__free(types); }
  };
  explicit KernelTypes(btf* types) : types_(types) {}
  // The function type of tracepoint `name`, whose parameter 0 is a void pointer; null: none.
  const btf_type* Prototype(const std::string& name) const;

  std::unique_ptr<btf, Closer> types_;
};

}  // namespace faultline
