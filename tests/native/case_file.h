// Reads what cases.py writes. All numbers are u32, little endian; bytes are a size and that many bytes.
//
//   file: "ESPCASE1", cases to the end
//   case: name, model, verdict, payloads (a count, then bytes each, by tensor), runs (a count, then each)
//   run:  raw (0 or 1), input, output, trace (a count, then bytes each, by operator)
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "espalier.h"

namespace cases {

enum Verdict : uint32_t { kRefused = 0, kValuesRefused = 1, kLoads = 2, kTooLarge = 3 };

struct Run {
  bool raw;
  espalier_bytes input, output;
  std::vector<espalier_bytes> trace;
};

struct Case {
  std::string name;
  espalier_bytes model;
  Verdict verdict;
  std::vector<espalier_bytes> payloads;
  std::vector<Run> runs;
};

// The cases point into `bytes`.
struct File {
  std::vector<uint8_t> bytes;
  std::vector<Case> cases;
};

class Reader {
 public:
  explicit Reader(const std::vector<uint8_t>& bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  bool ended() const { return at_ == end_; }
  espalier_bytes take(size_t size) {
    if (size > static_cast<size_t>(end_ - at_)) {
      std::fprintf(stderr, "the file of cases is cut off\n");
      std::exit(2);
    }
    const espalier_bytes taken{at_, size};
    at_ += size;
    return taken;
  }
  uint32_t number() {
    const uint8_t* p = take(4).data;
    return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
           static_cast<uint32_t>(p[3]) << 24;
  }
  espalier_bytes bytes() { return take(number()); }
  std::vector<espalier_bytes> list() {
    std::vector<espalier_bytes> items;
    for (uint32_t count = number(); count > 0; --count) items.push_back(bytes());
    return items;
  }

 private:
  const uint8_t *at_, *end_;
};

inline Case read_case(Reader& reader) {
  Case c;
  const espalier_bytes name = reader.bytes();
  c.name.assign(reinterpret_cast<const char*>(name.data), name.size);
  c.model = reader.bytes();
  c.verdict = static_cast<Verdict>(reader.number());
  c.payloads = reader.list();
  for (uint32_t count = reader.number(); count > 0; --count) {
    const bool raw = reader.number() != 0;
    const espalier_bytes input = reader.bytes(), output = reader.bytes();
    c.runs.push_back({raw, input, output, reader.list()});
  }
  return c;
}

inline File read_file(const char* name) {
  std::ifstream stream(name, std::ios::binary);
  File file{{std::istreambuf_iterator<char>(stream), {}}, {}};
  Reader reader(file.bytes);
  const char magic[] = "ESPCASE1";
  if (std::memcmp(reader.take(8).data, magic, 8) != 0) {
    std::fprintf(stderr, "%s is no file of cases\n", name);
    std::exit(2);
  }
  while (!reader.ended()) file.cases.push_back(read_case(reader));
  return file;
}

// An `espalier_payload_fn` over a case's payloads.
inline espalier_bytes payload_of(void* context, size_t tensor, const uint8_t*, uint64_t) {
  const auto& payloads = *static_cast<const std::vector<espalier_bytes>*>(context);
  return tensor < payloads.size() ? payloads[tensor] : espalier_bytes{nullptr, 0};
}

}  // namespace cases
