// SPDX-License-Identifier: Apache-2.0
#include "base/bpf_object.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace faultline {
namespace {

// What libbpf and the verifier said during the current call; libbpf has one process-wide hook.
thread_local std::string* words = nullptr;

int Collect(libbpf_print_level level, const char* format, va_list args) {
  if (level == LIBBPF_DEBUG || words == nullptr) return 0;
  char line[2048];
  const int size = std::vsnprintf(line, sizeof(line), format, args);
  if (size > 0) words->append(line);
  return size;
}

// Runs `call` and returns its Status with libbpf's own explanation of a failure.
template <typename Call>
absl::Status Explained(absl::string_view what, const Call& call) {
  static std::once_flag once;
  std::call_once(once, [] { libbpf_set_print(Collect); });
  std::string said;
  words = &said;
  const int result = call();
  words = nullptr;
  if (result >= 0) return absl::OkStatus();
  // The reason stands near the end of the verifier's log, before its statistics.
  constexpr size_t kTail = 600;
  absl::string_view tail = absl::StripAsciiWhitespace(said);
  if (tail.size() > kTail) tail.remove_prefix(tail.size() - kTail);
  const absl::Status status = BpfStatus(result, what);
  if (tail.empty()) return status;
  return {status.code(), absl::StrCat(status.message(), "; ", tail)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpfObject>> BpfObject::Open(const std::string& name,
                                                           absl::string_view elf) {
  bpf_object_open_opts options{};
  options.sz = sizeof(options);
  options.object_name = name.c_str();
  // Saves libbpf the walk over every module's BTF, which CAP_BPF alone may not do.
  options.btf_custom_path = "/sys/kernel/btf/vmlinux";
  bpf_object* object = nullptr;
  absl::Status status = Explained(absl::StrCat("open BPF object ", name), [&] {
    object = bpf_object__open_mem(elf.data(), elf.size(), &options);
    return object == nullptr ? -errno : 0;
  });
  if (!status.ok()) return status;
  return std::unique_ptr<BpfObject>(new BpfObject(name, object));
}

absl::StatusOr<BpfObject::Place> BpfObject::PlaceOf(absl::string_view section,
                                                    absl::string_view name, size_t size) const {
  const btf* types = bpf_object__btf(object_.get());
  const int id = btf__find_by_name_kind(types, std::string(section).c_str(), BTF_KIND_DATASEC);
  Place place;
  bpf_map* candidate = nullptr;
  bpf_object__for_each_map(candidate, object_.get()) {
    if (absl::EndsWith(bpf_map__name(candidate), section)) place.map = candidate;
  }
  if (id < 0 || place.map == nullptr) {
    return absl::NotFoundError(absl::StrCat("BPF object ", name_, " has no ", section));
  }
  const btf_type* datasec = btf__type_by_id(types, static_cast<__u32>(id));
  const btf_var_secinfo* variable = btf_var_secinfos(datasec);
  for (int i = 0; i < btf_vlen(datasec); ++i, ++variable) {
    const btf_type* type = btf__type_by_id(types, variable->type);
    if (name != btf__name_by_offset(types, type->name_off)) continue;
    place.offset = variable->offset;
    if (variable->size == size && place.offset + size <= bpf_map__value_size(place.map)) {
      return place;
    }
    return absl::InternalError(
        absl::StrCat(name, " in ", section, " of BPF object ", name_, " has another size"));
  }
  return absl::NotFoundError(absl::StrCat("BPF object ", name_, " has no ", name, " in ", section));
}

absl::Status BpfObject::SetGlobalBytes(absl::string_view name, const void* value, size_t size) {
  const absl::StatusOr<Place> place = PlaceOf(".rodata", name, size);
  if (!place.ok()) return place.status();
  size_t space = 0;
  // libbpf's accessor is const-incorrect about memory that it hands out to be written.
  auto* memory = static_cast<char*>(const_cast<void*>(bpf_map__initial_value(place->map, &space)));
  std::memcpy(memory + place->offset, value, size);
  return absl::OkStatus();
}

// By the map's element: libbpf maps the memory of a section for skeletons alone.
absl::Status BpfObject::SetVariableBytes(absl::string_view name, const void* value, size_t size) {
  const absl::StatusOr<Place> place = PlaceOf(".bss", name, size);
  if (!place.ok()) return place.status();
  const __u32 key = 0;
  const int fd = bpf_map__fd(place->map);
  std::vector<char> all(bpf_map__value_size(place->map));
  int result = bpf_map_lookup_elem(fd, &key, all.data());
  if (result == 0) {
    std::memcpy(all.data() + place->offset, value, size);
    result = bpf_map_update_elem(fd, &key, all.data(), BPF_ANY);
  }
  if (result == 0) return absl::OkStatus();
  return BpfStatus(result, absl::StrCat("set ", name, " of BPF object ", name_));
}

absl::Status BpfObject::LoadOnly(const std::string& name) {
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, object_.get()) {
    bpf_program__set_autoload(each, name == bpf_program__name(each));
  }
  return Program(name).status();
}

absl::Status BpfObject::Load() {
  return Explained(absl::StrCat("load BPF object ", name_),
                   [&] { return bpf_object__load(object_.get()); });
}

absl::StatusOr<bpf_map*> BpfObject::Map(const std::string& name) const {
  bpf_map* map = bpf_object__find_map_by_name(object_.get(), name.c_str());
  if (map == nullptr) {
    return absl::NotFoundError(absl::StrCat("BPF object ", name_, " has no map ", name));
  }
  return map;
}

absl::StatusOr<bpf_program*> BpfObject::Program(const std::string& name) const {
  bpf_program* program = bpf_object__find_program_by_name(object_.get(), name.c_str());
  if (program == nullptr) {
    return absl::NotFoundError(absl::StrCat("BPF object ", name_, " has no program ", name));
  }
  return program;
}

absl::Status BpfObject::Attach(bpf_program* program) {
  bpf_link* link = nullptr;
  absl::Status status = Explained(absl::StrCat("attach ", bpf_program__section_name(program)), [&] {
    link = bpf_program__attach(program);
    return link == nullptr ? -errno : 0;
  });
  if (status.ok()) Adopt(link);
  return status;
}

void BpfObject::Adopt(bpf_link* link) { links_.emplace_back(link); }

}  // namespace faultline
