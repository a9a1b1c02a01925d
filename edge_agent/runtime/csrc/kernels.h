// The short list of micro-kernels that a path provides; a path is an instruction set, with one file that fills one table.
//
// Activations are stored bytes (q + 128). Packing, tiling and scratch are private to a path. A kernel may read up to `kOverread` bytes
// beyond its inputs, which the arena provides, and never writes beyond its outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "requantize.h"

namespace espalier {

constexpr size_t kOverread = 64;

// out[row, m, n] = requantize(sum over taps and k of a * w). One call is a whole convolution, one group of it, or a linear operator:
// the K axis is `taps_h * taps_w` runs of `k` bytes, so that no im2col is needed.
struct GemmArgs {
  const uint8_t* a = nullptr;
  size_t row_stride = 0, m_stride = 0;          // bytes between output rows, between neighbours in a row
  size_t tap_h_stride = 0, tap_w_stride = 0;    // bytes between runs
  uint32_t rows = 1, m = 1, n = 1;
  uint32_t taps_h = 1, taps_w = 1, k = 1;
  const int8_t* w = nullptr;                    // as `pack_gemm` laid it out
  const RequantizeParams* requantize = nullptr;
  uint32_t channel = 0;                         // of n = 0
  uint8_t* out = nullptr;
  size_t out_row_stride = 0, out_m_stride = 0;
};

// out[row, m, c] = requantize(sum over taps of a[.., c] * w[tap, c]), one input channel for each output channel.
struct DepthwiseArgs {
  const uint8_t* a = nullptr;
  size_t row_stride = 0, m_stride = 0;
  size_t tap_h_stride = 0, tap_w_stride = 0;
  uint32_t rows = 1, m = 1, channels = 1;
  uint32_t taps_h = 1, taps_w = 1;
  const int8_t* w = nullptr;                    // as `pack_depthwise` laid it out
  const RequantizeParams* requantize = nullptr;
  uint8_t* out = nullptr;
  size_t out_row_stride = 0, out_m_stride = 0;
};

// A pooling window that may hang over the edges of the map: taps outside are skipped.
struct PoolArgs {
  const uint8_t* a = nullptr;
  uint32_t height = 1, width = 1, channels = 1;
  uint32_t out_height = 1, out_width = 1;
  Window window;
  uint8_t* out = nullptr;
  // Average only.
  int32_t input_zero = 0;   // zero point as a stored byte
  int32_t reciprocal = 1;
  const RequantizeParams* requantize = nullptr;
};

// out = requantize(multiplier_a * (a - zero_a) + multiplier_b * (b - zero_b)); the zeros are folded into the bias.
struct AddArgs {
  const uint8_t* a = nullptr;
  const uint8_t* b = nullptr;
  int32_t multiplier_a = 0, multiplier_b = 0;
  size_t elements = 0;
  const RequantizeParams* requantize = nullptr;
  uint8_t* out = nullptr;
};

// How a path wants the weights of a matrix product: [groups][taps][k / kr][blocks of the group][nr][kr], filled up with zeros. What a kernel
// reads while it computes a group of blocks, each of nr channels, is one stream.
struct GemmLayout {
  uint32_t nr, kr;
  uint32_t max_blocks;  // of a group
  bool joins_taps;      // all taps are one run of taps * k
};

// Blocks of the group that starts at block `first`: as even as possible, 9 are 3 + 3 + 3 rather than 4 + 4 + 1.
inline uint32_t group_of_blocks(uint32_t first, uint32_t blocks, uint32_t max_blocks) {
  const uint32_t left = blocks - first;
  if (left % max_blocks == 0) return max_blocks;
  const uint32_t groups = left / max_blocks + 1;
  return (left + groups - 1) / groups;
}

// Weights that take more bytes are read from beyond the second-level cache of most CPUs whenever a layer runs.
constexpr uint64_t kStreamedBytes = uint64_t{1} << 21;

struct PackedKernels;  // packed.h
struct SparseKernels;  // sparse.h
struct SequenceKernels;  // sequence_kernels.h

struct Kernels {
  const char* name;
  bool (*is_supported)();
  uint64_t worth_helpers;  // multiplications in shared operators from which several threads are faster than one

  // Whether `gemm` and `depthwise` multiply q rather than the stored byte q + 128: what the offset adds to a sum is then not in the bias.
  bool signed_products;

  GemmLayout gemm_layout;
  size_t (*gemm_scratch_bytes)(uint32_t taps, uint32_t k);  // null where it needs none
  void (*gemm)(const GemmArgs& args, uint8_t* scratch);

  uint32_t depthwise_block;  // channels whose taps are interleaved four by four; 0 for the layout [taps][channels]
  void (*depthwise)(const DepthwiseArgs& args);

  void (*max_pool)(const PoolArgs& args);
  void (*average_pool)(const PoolArgs& args);
  void (*add)(const AddArgs& args);
  // One table of 256 entries for all, or one for each channel; never reads beyond `elements`.
  void (*lookup)(const uint8_t* x, const uint8_t* table, size_t elements, uint8_t* out);
  void (*lookup_channels)(const uint8_t* x, const uint8_t* tables, uint32_t channels, size_t elements, uint8_t* out);
  void (*quantize_float)(const float* x, float multiplier, int32_t zero_point, size_t elements, uint8_t* out);

  const SparseKernels* sparse = nullptr;  // null where the path computes zero blocks too
  const PackedKernels* packed = nullptr;  // null where the path expands all packed weights
  const SequenceKernels* sequence = nullptr;  // null where the path has nothing better than the portable ones
};

// Every path that was built, best first; `portable` is the last and runs everywhere.
const std::vector<const Kernels*>& built_paths();

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvxVnni;
extern const Kernels kAvx512Vnni;
const Kernels& amx_int8();  // kAvx512Vnni with another matrix product
#elif defined(__aarch64__)
extern const Kernels kNeon;
extern const Kernels kNeonDotprod;
#endif

}  // namespace espalier
