// Linear operators at batch 1 whose weights stay packed: where weights come from beyond the second-level cache, time is bytes.
//
// A weight of b bits is kept as w + 2^(b-1), which is not negative, in planes of 4, 2 and 1 bits: 6 bits are 4 + 2, 3 bits are 2 + 1. What the
// offset adds to each sum is 2^(b-1) times the sum of the inputs, the same for all channels, and is taken off again.
#pragma once

#include "kernels.h"

namespace espalier {

struct PackedArgs {
  const uint8_t* a = nullptr;
  uint32_t n = 1, k = 1;
  const uint8_t* w = nullptr;  // as `pack_planes` laid it out
  const RequantizeParams* requantize = nullptr;
  uint8_t* out = nullptr;
};

struct PackedKernels {
  uint32_t lanes;  // channels of a block
  void (*linear_2)(const PackedArgs& args);
  void (*linear_3)(const PackedArgs& args);
  void (*linear_4)(const PackedArgs& args);
  void (*linear_6)(const PackedArgs& args);
};

// Whether int8 [n, k] of `bits` bits is read faster packed. Two planes cost more to put together than one.
bool stays_packed(uint32_t n, uint32_t k, uint32_t bits);

constexpr uint32_t kPackedSteps = 8;  // quads of k that a unit holds: a 1-bit plane's byte has one bit of each

// `w` is int8 [n, k] of `bits` = 2, 3, 4 or 6 bits. [block][k / 32][plane][vector of the plane]: vector j of a plane of p bits has in the bits
// [p * i, p * (i + 1)) of byte (lane, b) the weight of channel `lane` and k = 32 * unit + 4 * (j + i * vectors) + b, where `vectors` is p.
Aligned<uint8_t> pack_planes(const int8_t* w, uint32_t n, uint32_t k, uint32_t bits, uint32_t lanes);

}  // namespace espalier
