// Damages the bytes of a message so that much of what comes out is still well formed: records change, and lengths are written anew.
//
// The schema is not needed: a length-delimited field that reads as a message is taken for one.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace mutate {

using Random = std::mt19937_64;

inline uint64_t below(Random& random, uint64_t limit) { return random() % limit; }
inline bool chance(Random& random, unsigned percent) { return below(random, 100) < percent; }

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kDelimited = 2, kFixed32 = 5 };

struct Record {
  uint32_t field;
  uint32_t wire;
  uint64_t varint = 0;
  std::string bytes;             // of a delimited or fixed field
  std::vector<Record> children;  // of a message; then `bytes` is not used
};

class Parser {
 public:
  explicit Parser(const std::string& bytes) : bytes_(bytes) {}

  // False where the bytes are no message; then `out` is of no use.
  bool message(std::vector<Record>& out, int depth = 0) {
    while (at_ < bytes_.size()) {
      uint64_t tag, size;
      if (!varint(tag) || tag >> 3 == 0 || tag >> 3 > 100) return false;
      Record record{static_cast<uint32_t>(tag >> 3), static_cast<uint32_t>(tag & 7), 0, {}, {}};
      switch (record.wire) {
        case kVarint:
          if (!varint(record.varint)) return false;
          break;
        case kFixed32: case kFixed64:
          if (!take(record.wire == kFixed32 ? 4 : 8, record.bytes)) return false;
          break;
        case kDelimited:
          if (!varint(size) || !take(size, record.bytes)) return false;
          if (depth < 6 && !record.bytes.empty() && !Parser(record.bytes).message(record.children, depth + 1)) record.children.clear();
          break;
        default: return false;
      }
      out.push_back(std::move(record));
    }
    return true;
  }

 private:
  bool varint(uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && at_ < bytes_.size(); shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool take(uint64_t size, std::string& out) {
    if (size > bytes_.size() - at_) return false;
    out = bytes_.substr(at_, size);
    at_ += size;
    return true;
  }

  const std::string& bytes_;
  size_t at_ = 0;
};

inline void write_varint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

inline std::string write(const std::vector<Record>& message) {
  std::string out;
  for (const Record& record : message) {
    write_varint(static_cast<uint64_t>(record.field) << 3 | record.wire, out);
    const std::string& body = record.children.empty() ? record.bytes : write(record.children);
    if (record.wire == kVarint) {
      write_varint(record.varint, out);
    } else {
      if (record.wire == kDelimited) write_varint(body.size(), out);
      out += body;
    }
  }
  return out;
}

inline void edit_bytes(std::string& bytes, Random& random) {
  const size_t at = below(random, bytes.size() + 1);
  switch (below(random, 6)) {
    case 0: bytes.insert(at, 1, static_cast<char>(random())); return;
    case 1: bytes.resize(at); return;
    case 2: bytes.insert(at, bytes.substr(at / 2, 1 + below(random, 40))); return;
    case 3: bytes.erase(at, 1); return;
    case 4: if (at < bytes.size()) bytes[at] = static_cast<char>(random()); return;
    default: if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(random, 8)); return;
  }
}

inline uint64_t other_number(uint64_t value, Random& random) {
  static const uint64_t interesting[] = {0, 1, 2, 3, 4, 7, 8, 30, 31, 127, 128, 255, 256, 4096, 65535, 65536, 1 << 24, 0x7FFFFFFF, 0x80000000,
                                         0xFFFFFFFF, 0x100000000, ~uint64_t{0}};
  switch (below(random, 4)) {
    case 0: return value + 1;
    case 1: return value - 1;
    case 2: return value ^ uint64_t{1} << below(random, 33);
    default: return interesting[below(random, sizeof interesting / sizeof *interesting)];
  }
}

// One change somewhere in the tree; each level is as likely to be changed as to be gone into.
inline void change(std::vector<Record>& message, const std::vector<Record>& donor, Random& random) {
  if (message.empty() || chance(random, 3)) {
    if (!donor.empty()) message.insert(message.begin() + static_cast<long>(below(random, message.size() + 1)), donor[below(random, donor.size())]);
    return;
  }
  const size_t index = below(random, message.size());
  Record& record = message[index];
  if (!record.children.empty() && chance(random, 85)) {
    const std::vector<Record> none;
    return change(record.children, donor.empty() ? none : donor[below(random, donor.size())].children, random);
  }
  switch (below(random, 12)) {
    case 0: message.erase(message.begin() + static_cast<long>(index)); return;
    case 1: message.insert(message.begin() + static_cast<long>(index), Record(record)); return;
    case 2: std::swap(record, message[below(random, message.size())]); return;
    case 3: record.field = static_cast<uint32_t>(1 + below(random, 40)); return;
    case 4: record.wire = record.wire == kVarint ? kDelimited : kVarint; return;
    default: break;
  }
  if (record.wire == kVarint) {
    record.varint = other_number(record.varint, random);
  } else if (record.wire == kDelimited && record.children.empty()) {
    edit_bytes(record.bytes, random);
  } else if (record.children.empty() && !record.bytes.empty()) {
    record.bytes[below(random, record.bytes.size())] = static_cast<char>(random());
  } else {
    record.children.clear();  // what it was when it was read
  }
}

// One to three changes of `bytes`; `donor` gives records of another message.
inline std::string message(const std::string& bytes, const std::string& donor, Random& random) {
  std::vector<Record> tree, other;
  std::string result = bytes;
  const bool is_message = Parser(bytes).message(tree);
  if (!Parser(donor).message(other)) other.clear();
  if (is_message && chance(random, 90)) {
    for (uint64_t i = 0, changes = 1 + below(random, 3); i < changes; ++i) change(tree, other, random);
    result = write(tree);
  }
  if (!is_message || chance(random, 12)) edit_bytes(result, random);
  return result;
}

}  // namespace mutate
