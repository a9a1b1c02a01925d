// Products with weights of which most blocks are zero: how the blocks are listed, when skipping them pays, and what a path provides for it.
//
// Whatever grain the model's file has, an engine works in blocks of 4 channels by 4 k. Blocks of 8 and 16 channels are several of these.
#pragma once

#include "kernels.h"

namespace espalier {

// The stored blocks of one matrix. A row of blocks is four channels; a slot is four neighbouring k of a patch, taps end to end.
struct BlockList {
  std::vector<uint32_t> starts;  // by row of blocks, and the end: where its blocks start; counts are multiples of `SparseKernels::together`
  Aligned<uint16_t> slots;       // by block
  Aligned<int8_t> weights;       // by block: [4 channels][4 k]

  size_t bytes() const { return starts.size() * 4 + slots.size() * 2 + weights.size(); }
};

struct SparseArgs {
  GemmArgs product;  // without its weights; k of a run is a multiple of 4
  const uint32_t* starts = nullptr;
  const uint16_t* slots = nullptr;
  const int8_t* weights = nullptr;
};

// Time of a sparse product as a share of the dense one's: what each stored block costs, and what is paid once for all channels and once for
// all of a patch. Measured; docs/kernels.md says how.
struct SparseCost {
  float density, channels, patch;

  float share(double stored, uint32_t n, uint32_t patch_size) const {
    return density * static_cast<float>(stored) + channels / static_cast<float>(n) + patch / static_cast<float>(patch_size);
  }
};

struct SparseKernels {
  uint32_t together;  // blocks of a row that a product with one pixel takes at once
  uint32_t lanes;     // pixels of a vector in a product with several
  SparseCost pixels;
  SparseCost one_cached, one_streamed;  // one pixel, dense weights that stay in the second-level cache and weights that do not

  size_t (*scratch_bytes)(const GemmArgs& product);
  void (*gemm)(const SparseArgs& args, uint8_t* scratch);
};

extern const SparseKernels kPortableSparse;

// The blocks of `w`, int8 [n, patch], that are not all 0.
BlockList list_blocks(const int8_t* w, uint32_t n, uint32_t patch, uint32_t together);

// Whether `kernels` should skip the zero blocks of `w` in this product (docs/kernels.md states the rule).
bool skips_blocks(const Kernels& kernels, const GemmArgs& product, const int8_t* w);

}  // namespace espalier
