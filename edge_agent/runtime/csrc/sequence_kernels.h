// Kernels of sequence operators: what they take, and the portable ones, which run where a path has none of its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format.h"
#include "requantize.h"

namespace espalier {

// out = requantize(sum over k of (a - a_zero) * (b - b_zero)) for each head, row and column; zeros are stored bytes.
struct MatMulArgs {
  const uint8_t* a = nullptr;
  const uint8_t* b = nullptr;  // [inner, columns] of each head, or [columns, inner] where transposed
  uint32_t heads = 1;
  bool b_transposed = false;
  HeadMatrix a_matrix, b_matrix, out_matrix;
  int32_t a_zero = 0, b_zero = 0;
  const RequantizeParams* requantize = nullptr;
  uint8_t* out = nullptr;
};

// The law of docs/format.md: statistics of each pixel in exact integers, then gain and bias of each channel.
struct LayerNormArgs {
  const uint8_t* x = nullptr;
  size_t pixels = 1;
  uint32_t channels = 1;
  int32_t input_zero = 0;  // zero point as a stored byte
  int64_t epsilon = 1;
  const int32_t* gain = nullptr;                // padded like per-channel parameters
  const RequantizeParams* requantize = nullptr;  // with the bias
  uint8_t* out = nullptr;
};

// out = requantize((a - a_zero) * (b - b_zero)); b is as long as a run and starts again for each.
struct MultiplyArgs {
  const uint8_t* a = nullptr;
  const uint8_t* b = nullptr;
  size_t run = 1, runs = 1;
  int32_t a_zero = 0, b_zero = 0;
  const RequantizeParams* requantize = nullptr;
  uint8_t* out = nullptr;
};

// The law of docs/format.md over the channels of each pixel.
struct SoftmaxArgs {
  const uint8_t* x = nullptr;
  size_t pixels = 1;
  uint32_t channels = 1;
  const uint32_t* table = nullptr;  // exponentials by largest - x
  uint8_t* out = nullptr;
};

// What a path provides for them.
struct SequenceKernels {
  size_t (*matmul_scratch_bytes)(uint32_t columns, uint32_t inner);
  void (*matmul)(const MatMulArgs& args, uint8_t* scratch);
  void (*softmax)(const SoftmaxArgs& args, uint8_t* scratch);  // 4 bytes for each channel and `kChannelPadding` more
  void (*layer_norm)(const LayerNormArgs& args);
  void (*multiply)(const MultiplyArgs& args);
};

extern const SequenceKernels kPortableSequence;

// Shared by every path's layer norm: 2^14 / sqrt(D) of a pixel by its sum and its sum of squares.
float inverse_deviation(const LayerNormArgs& args, int32_t sum, int32_t sum_of_squares);

}  // namespace espalier
