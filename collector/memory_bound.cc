// SPDX-License-Identifier: Apache-2.0
#include "collector/memory_bound.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cstdint>

#include "faultline/v1/telemetry.pb.h"

namespace faultline {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// A message object, its slot in the repeated field and the allocator's share; the largest of ours
// is FaultState, below 300 bytes.
constexpr std::size_t kMessageBytes = 320;
// A std::string with its slot; text beyond the inline part costs its length again.
constexpr std::size_t kStringBytes = 64;
// Numbers of a repeated field: 8 bytes each, and the array may be half empty after it grew.
constexpr std::size_t kNumberBytes = 16;
// FaultState nests deepest: batch, fault, spec, shape.
constexpr int kMaxDepth = 8;

bool Walk(CodedInputStream* in, const Descriptor* type, int depth, std::size_t* bytes);

bool WalkDelimited(CodedInputStream* in, const FieldDescriptor* field, int depth,
                   std::size_t* bytes) {
  std::uint32_t size = 0;
  if (!in->ReadVarint32(&size) || static_cast<int>(size) < 0) return false;
  if (field == nullptr || field->type() == FieldDescriptor::TYPE_STRING ||
      field->type() == FieldDescriptor::TYPE_BYTES) {
    // Unknown fields are kept as they came.
    *bytes += kStringBytes + 2 * static_cast<std::size_t>(size);
    return in->Skip(static_cast<int>(size));
  }
  if (field->type() == FieldDescriptor::TYPE_MESSAGE) {
    const auto limit = in->PushLimit(static_cast<int>(size));
    *bytes += kMessageBytes;
    const bool good =
        Walk(in, field->message_type(), depth + 1, bytes) && in->BytesUntilLimit() == 0;
    in->PopLimit(limit);
    return good;
  }
  // Packed numbers: none is shorter than a byte.
  *bytes += kNumberBytes * static_cast<std::size_t>(size);
  return in->Skip(static_cast<int>(size));
}

bool Walk(CodedInputStream* in, const Descriptor* type, int depth, std::size_t* bytes) {
  if (depth > kMaxDepth) return false;
  while (const std::uint32_t tag = in->ReadTag()) {
    const FieldDescriptor* field = type->FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    if (WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WalkDelimited(in, field, depth, bytes)) return false;
    } else {
      *bytes += kNumberBytes;
      if (!WireFormatLite::SkipField(in, tag)) return false;
    }
  }
  return in->ConsumedEntireMessage();
}

}  // namespace

absl::StatusOr<std::size_t> BatchMemoryBound(absl::string_view serialised) {
  CodedInputStream in(reinterpret_cast<const std::uint8_t*>(serialised.data()),
                      static_cast<int>(serialised.size()));
  std::size_t bytes = kMessageBytes;
  if (!Walk(&in, v1::Batch::descriptor(), 0, &bytes)) {
    return absl::InvalidArgumentError("the payload is no serialised Batch");
  }
  return bytes;
}

}  // namespace faultline
