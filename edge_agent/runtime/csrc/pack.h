// Lays weights and per-channel parameters out as a path wants them. Runs at load, in code that every CPU can run: the files of instruction
// sets must not instantiate library templates (see vector_requantize.h).
#pragma once

#include "kernels.h"

namespace espalier {

// `w` is int8 [n, taps, k] of one group.
Aligned<int8_t> pack_gemm(const int8_t* w, uint32_t n, uint32_t taps, uint32_t k, GemmLayout layout);

// `w` is int8 [channels, taps_h, taps_w]. Block 0 gives [taps][channels]. Otherwise
// [channels / block][taps_w][taps_h / 4][quarter][block / 4][4]: quarter q holds, for each 16 channels of the block, channels 4q to 4q + 3 with four taps
// of a column each, the order that unpack instructions give. Where the block is a multiple of the channels, they are repeated.
Aligned<int8_t> pack_depthwise(const int8_t* w, uint32_t channels, uint32_t taps_h, uint32_t taps_w, uint32_t block);

// Per-channel parameters in the order of `pack_depthwise`.
RequantizeParams order_for_depthwise(const RequantizeParams& params, uint32_t channels, uint32_t block);

}  // namespace espalier
