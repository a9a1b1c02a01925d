// Reads protobuf bytes in the canonical form of docs/format.md, section 1, and nothing else.
//
// A message's parse function loops over `next()` and reads each field with the call that fits its type; order, repetition, shortest
// varints and forbidden defaults are checked here, so that format.cc and format_operators.cc only say which fields there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "error.h"

namespace espalier {

struct Bytes {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

enum class Presence {
  kImplicit,  // the default value must be left out
  kExplicit,  // `optional`, members of a oneof, elements of repeated fields
};

class Reader {
 public:
  explicit Reader(Bytes bytes) : at_(bytes.data), end_(bytes.data + bytes.size) {}

  // Moves to the next field; false at the end. `repeatable` has a bit for each field number that may follow itself.
  bool next(uint64_t repeatable = 0);
  uint32_t number() const { return number_; }

  uint32_t uint32(Presence presence = Presence::kImplicit);
  uint64_t uint64(Presence presence = Presence::kImplicit);
  bool boolean();
  int32_t sint32();
  float float32();
  Bytes bytes(Presence presence = Presence::kImplicit);
  std::string string(size_t max_bytes, Presence presence = Presence::kImplicit);
  std::vector<uint32_t> packed_uint32(size_t max_elements);
  Reader message();

  [[noreturn]] void unknown() const { throw FormatError("a field is unknown"); }

 private:
  uint64_t varint();
  Bytes length_delimited();
  void expect(uint32_t wire_type) const;

  const uint8_t* at_;
  const uint8_t* end_;
  uint32_t number_ = 0;
  uint32_t wire_type_ = 0;
};

constexpr uint64_t field_bit(uint32_t number) { return uint64_t{1} << number; }

// The next element of a repeated field.
template <class T>
T& add(std::vector<T>& list, size_t most) {
  require(list.size() < most, "a list is longer than the format allows");
  return list.emplace_back();
}

}  // namespace espalier
