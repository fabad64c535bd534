// SPDX-License-Identifier: Apache-2.0
//
// One BPF object file (embedded in the program by its skeleton header) from opening to closing:
// globals, maps, programs and links. Everything attached is an unpinned link and ends with this
// object, or with the process, whatever kills it. One thread at a time.
#pragma once

#include <bpf/libbpf.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

class BpfObject {
 public:
  // Parses the object; nothing is in the kernel yet. `elf` is a skeleton's elf_bytes and must
  // outlive the object.
  static absl::StatusOr<std::unique_ptr<BpfObject>> Open(const std::string& name,
                                                         absl::string_view elf);
  ~BpfObject() = default;
  BpfObject(const BpfObject&) = delete;
  BpfObject& operator=(const BpfObject&) = delete;

  // Before Load: sets the `const volatile` global `name`, whose size must be sizeof(T). NotFound:
  // there is none.
  template <typename T>
  absl::Status SetGlobal(absl::string_view name, const T& value) {
    return SetGlobalBytes(name, &value, sizeof(value));
  }
  // After Load, while no program of it runs: sets the variable `name`, which is 0 at first.
  template <typename T>
  absl::Status SetVariable(absl::string_view name, const T& value) {
    return SetVariableBytes(name, &value, sizeof(value));
  }

  // Before Load: of the programs only `name` is to be loaded. NotFound: there is none.
  absl::Status LoadOnly(const std::string& name);

  // Loads what is switched on. On failure the message ends with the verifier's last words.
  absl::Status Load();

  // NotFound where the object has none of that name.
  absl::StatusOr<bpf_map*> Map(const std::string& name) const;
  absl::StatusOr<bpf_program*> Program(const std::string& name) const;

  // Attaches `program` as its section says; the link lives as long as this object.
  absl::Status Attach(bpf_program* program);
  // Takes over a link that was made in another way.
  void Adopt(bpf_link* link);
  // Detaches everything.
  void Detach() { links_.clear(); }

  bpf_object* get() const { return object_.get(); }
  const std::string& name() const { return name_; }

 private:
  struct ObjectCloser {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
  };
  struct LinkDestroyer {
    void operator()(bpf_link* link) const { bpf_link__destroy(link); }
  };

  BpfObject(std::string name, bpf_object* object) : name_(std::move(name)), object_(object) {}
  absl::Status SetGlobalBytes(absl::string_view name, const void* value, size_t size);
  absl::Status SetVariableBytes(absl::string_view name, const void* value, size_t size);

  // Where in the value of its only element a section's map has a variable.
  struct Place {
    bpf_map* map = nullptr;
    size_t offset = 0;
  };
  absl::StatusOr<Place> PlaceOf(absl::string_view section, absl::string_view name,
                                size_t size) const;

  std::string name_;
  std::unique_ptr<bpf_object, ObjectCloser> object_;
  // Declared after the object, so that links go first.
  std::vector<std::unique_ptr<bpf_link, LinkDestroyer>> links_;
};

// The bytes of object file NAME from its skeleton, e.g. SkeletonBytes<sched_bpf>().
template <typename Skeleton>
absl::string_view SkeletonBytes() {
  size_t size = 0;
  const void* bytes = Skeleton::elf_bytes(&size);
  return {static_cast<const char*>(bytes), size};
}

}  // namespace faultline
