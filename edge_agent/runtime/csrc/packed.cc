#include "packed.h"

namespace espalier {
namespace {

// The planes of a width, lowest bits first.
std::vector<uint32_t> planes_of(uint32_t bits) {
  switch (bits) {
    case 3: return {2, 1};
    case 6: return {4, 2};
    default: return {bits};
  }
}

}  // namespace

bool stays_packed(uint32_t n, uint32_t k, uint32_t bits) {
  if (bits == 0) return false;
  const uint64_t least = planes_of(bits).size() == 1 ? kStreamedBytes / 4 * 3 : kStreamedBytes;
  return uint64_t{n} * k > least;
}

Aligned<uint8_t> pack_planes(const int8_t* w, uint32_t n, uint32_t k, uint32_t bits, uint32_t lanes) {
  const size_t units = (size_t{k} + kPackedSteps * 4 - 1) / (kPackedSteps * 4), blocks = (n + lanes - 1) / lanes;
  const size_t vector_bytes = size_t{lanes} * 4, unit_bytes = vector_bytes * bits;
  Aligned<uint8_t> packed(blocks * units * unit_bytes + kOverread, 0);
  for (size_t channel = 0; channel < n; ++channel) {
    uint8_t* block = packed.data() + channel / lanes * units * unit_bytes;
    for (size_t i = 0; i < k; ++i) {
      const uint32_t value = static_cast<uint32_t>(w[channel * k + i] + (1 << (bits - 1)));
      const size_t unit = i / (kPackedSteps * 4), step = i / 4 % kPackedSteps;
      uint8_t* at = block + unit * unit_bytes + channel % lanes * 4 + i % 4;
      uint32_t shift = 0;
      for (const uint32_t width : planes_of(bits)) {  // a plane of `width` bits is `width` vectors
        const uint32_t part = value >> shift & ((1u << width) - 1);
        at[step % width * vector_bytes] |= static_cast<uint8_t>(part << (step / width * width));
        at += width * vector_bytes;
        shift += width;
      }
    }
  }
  return packed;
}

}  // namespace espalier
