// The one law that turns an accumulator into int8 (docs/format.md, section 4), prepared for kernels.
//
// Inside the engine an activation q is stored as the byte q + 128. Kernels compute sums over these bytes; what the offset adds to a sum
// is a constant of each channel, folded into its bias at load, in arithmetic modulo 2^32.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cstdint>
#include <cstring>
#include <vector>

#include "aligned.h"
#include "format.h"
#include "format_limits.h"
#include "tensors.h"

namespace espalier {

constexpr int32_t kByteOffset = 128;      // stored byte = q + kByteOffset
constexpr uint32_t kChannelPadding = 64;  // per-channel arrays are padded, so that kernels read whole vectors

struct RequantizeParams {
  bool is_shift = false;
  bool has_left_shift = false;
  bool fits_int32 = false;  // by multiplier: no product of a sum, below 2^30 by its bound, reaches 2^31
  // Each has `channels` entries and the padding.
  Aligned<int32_t> bias;        // with the offset folded in
  Aligned<float> multiplier;    // by multiplier
  Aligned<int32_t> right;       // by shift: s where positive
  Aligned<int32_t> half;        // by shift: 1 << (s - 1) where s is positive
  Aligned<int32_t> left;        // by shift: -s where s is negative
  Aligned<int32_t> bound;       // by shift: 2^22 where s is negative, else the largest int32
  // Bounds around the zero point, and the zero point as a stored byte.
  int32_t low = 0;   // qmin - z
  int32_t high = 0;  // qmax - z
  int32_t zero = 0;  // z + kByteOffset

  bool is_full_range() const { return low + zero == 0 && high + zero == 255; }

  size_t bytes() const { return (bias.size() + multiplier.size() + 4 * right.size()) * 4; }
};

// `bias` has an entry for each channel, or is empty for zeros.
RequantizeParams prepare_requantize(const Requantize& q, const Tensors& tensors, int32_t zero_point, uint32_t channels,
                                    const std::vector<int32_t>& bias);

// Nearest integer, ties to even, for |r| < 2^22: adding 1.5 * 2^23 leaves no fraction bits, so the sum's own rounding does it. Unlike
// nearbyint it is no call, and compilers vectorise it.
inline int32_t round_half_even(float r) {
  static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must have no excess precision");
  const float shifted = r + 12582912.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  return bits - 0x4B400000;
}

inline int32_t with_bias(int32_t acc, const RequantizeParams& p, uint32_t channel) {
  return static_cast<int32_t>(static_cast<uint32_t>(acc) + static_cast<uint32_t>(p.bias[channel]));
}

inline uint8_t requantize_by_multiplier(int32_t sum, const RequantizeParams& p, uint32_t channel) {
  const float r = static_cast<float>(sum) * p.multiplier[channel];
  const float clamped = std::min(std::max(r, static_cast<float>(p.low)), static_cast<float>(p.high));
  return static_cast<uint8_t>(round_half_even(clamped) + p.zero);
}

inline uint8_t requantize_by_shift(int32_t sum, const RequantizeParams& p, uint32_t channel) {
  const int32_t bounded = std::min(std::max(sum, -p.bound[channel]), p.bound[channel]);
  const int32_t rounded = (bounded + p.half[channel]) >> p.right[channel];
  const int32_t shifted = static_cast<int32_t>(static_cast<uint32_t>(rounded) << p.left[channel]);  // fits: bounded by 2^22
  return static_cast<uint8_t>(std::min(std::max(shifted, p.low), p.high) + p.zero);
}

// acc to a stored byte: the slow twin of what the kernels vectorise.
inline uint8_t requantize(int32_t acc, const RequantizeParams& p, uint32_t channel) {
  const int32_t sum = with_bias(acc, p, channel);
  return p.is_shift ? requantize_by_shift(sum, p, channel) : requantize_by_multiplier(sum, p, channel);
}

}  // namespace espalier
