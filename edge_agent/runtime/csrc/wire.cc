#include "wire.h"

#include <cstring>

namespace espalier {
namespace {

constexpr uint32_t kVarint = 0, kLength = 2, kFixed32 = 5;

uint32_t to_uint32(uint64_t value) {
  require(value <= UINT32_MAX, "an integer does not fit 32 bits");
  return static_cast<uint32_t>(value);
}

// Length of the well-formed UTF-8 sequence at `s`, or 0. The bounds of the second byte exclude overlong forms, surrogates and
// what lies beyond U+10FFFF (Unicode 15, table 3-7).
size_t utf8_sequence(const uint8_t* s, size_t size) {
  const uint8_t lead = s[0];
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xC2 && lead <= 0xDF ? 2 : lead >= 0xE0 && lead <= 0xEF ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
  if (length == 0 || length > size) return 0;
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (s[1] < low || s[1] > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((s[i] & 0xC0) != 0x80) return 0;
  }
  return length;
}

bool is_utf8(Bytes text) {
  for (size_t i = 0; i < text.size;) {
    const size_t length = utf8_sequence(text.data + i, text.size - i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

}  // namespace

bool Reader::next(uint64_t repeatable) {
  if (at_ == end_) return false;
  const uint64_t tag = varint();
  const uint64_t number = tag >> 3;
  require(number >= 1 && number < 64, "a field is unknown");  // no message of the format has numbers beyond 63
  const bool follows_itself = number == number_ && (repeatable & field_bit(static_cast<uint32_t>(number))) != 0;
  require(number > number_ || follows_itself, "a field is out of order or stands twice");
  number_ = static_cast<uint32_t>(number);
  wire_type_ = static_cast<uint32_t>(tag & 7);
  return true;
}

uint64_t Reader::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    require(at_ != end_, "a varint is cut off");
    const uint8_t byte = *at_++;
    require(shift < 63 || byte <= 1, "a varint is too large");
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) {
      require(byte != 0 || shift == 0, "a varint is not in its shortest form");
      return value;
    }
  }
  throw FormatError("a varint has more than 10 bytes");
}

void Reader::expect(uint32_t wire_type) const { require(wire_type_ == wire_type, "a field has the wrong wire type"); }

uint64_t Reader::uint64(Presence presence) {
  expect(kVarint);
  const uint64_t value = varint();
  require(value != 0 || presence == Presence::kExplicit, "a field is its default and must be left out");
  return value;
}

uint32_t Reader::uint32(Presence presence) { return to_uint32(uint64(presence)); }

bool Reader::boolean() {
  const uint32_t value = uint32();
  require(value <= 1, "a truth value is neither 0 nor 1");
  return value == 1;
}

int32_t Reader::sint32() {
  const uint32_t zigzag = uint32();
  return static_cast<int32_t>((zigzag >> 1) ^ (0u - (zigzag & 1)));
}

float Reader::float32() {
  expect(kFixed32);
  require(end_ - at_ >= 4, "a float is cut off");
  const uint32_t bits = static_cast<uint32_t>(at_[0]) | static_cast<uint32_t>(at_[1]) << 8 |
                        static_cast<uint32_t>(at_[2]) << 16 | static_cast<uint32_t>(at_[3]) << 24;
  at_ += 4;
  require(bits != 0, "a field is its default and must be left out");
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

Bytes Reader::length_delimited() {
  expect(kLength);
  const uint64_t size = varint();
  require(size <= static_cast<uint64_t>(end_ - at_), "a field ends beyond its message");
  const Bytes result{at_, static_cast<size_t>(size)};
  at_ += size;
  return result;
}

Bytes Reader::bytes(Presence presence) {
  const Bytes result = length_delimited();
  require(result.size != 0 || presence == Presence::kExplicit, "a field is empty and must be left out");
  return result;
}

std::string Reader::string(size_t max_bytes, Presence presence) {
  const Bytes text = bytes(presence);
  require(text.size <= max_bytes, "a name is too long");
  require(is_utf8(text), "a string is not UTF-8");
  return std::string(reinterpret_cast<const char*>(text.data), text.size);
}

std::vector<uint32_t> Reader::packed_uint32(size_t max_elements) {
  Reader elements(length_delimited());
  require(elements.at_ != elements.end_, "a field is empty and must be left out");
  std::vector<uint32_t> values;
  while (elements.at_ != elements.end_) {
    require(values.size() < max_elements, "a list is longer than the format allows");
    values.push_back(to_uint32(elements.varint()));
  }
  return values;
}

Reader Reader::message() { return Reader(length_delimited()); }

}  // namespace espalier
