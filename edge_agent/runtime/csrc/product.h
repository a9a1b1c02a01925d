// What convolution and linear share: matrix products, dense or without zero blocks, and shares of them.
#pragma once

#include <optional>

#include "sparse.h"
#include "step.h"

namespace espalier {

// sum w * (x - z) = sum w * byte - (z + 128) * sum w, or without the 128 where kernels multiply q. All modulo 2^32: the proven bound makes
// the final sum exact.
std::vector<int32_t> fold_bias(const PlanContext& context, uint32_t weight, const std::optional<uint32_t>& bias, int32_t input_zero_point);

size_t gemm_scratch_bytes(const Kernels& kernels, uint32_t taps, uint32_t k);

inline uint64_t work_of(const GemmArgs& g) { return uint64_t{g.rows} * g.m * g.n * g.taps_h * g.taps_w * g.k; }

// Narrows arguments to a share of the rows; false where none is left for it.
template <class Args>
bool take_rows(Args& args, Share share) {
  const size_t begin = share.begin(args.rows), end = share.end(args.rows);
  args.a += begin * args.row_stride;
  args.out += begin * args.out_row_stride;
  args.rows = static_cast<uint32_t>(end - begin);
  return begin < end;
}

// Computes a share: of the rows, else of the pixels of the only row, else of the output channels of the only pixel.
void run_gemm(const Kernels& kernels, GemmArgs args, Share share, uint8_t* scratch);

// Whether the weight has zero blocks that are worth skipping.
bool is_sparse(const PlanContext& context, uint32_t weight, const GemmArgs& product);

// The weights of a product whose zero blocks are skipped.
class SparseProduct {
 public:
  SparseProduct(PlanContext& context, const GemmArgs& product, const int8_t* weight)
      : kernels_(*context.kernels.sparse),
        blocks_(list_blocks(weight, product.n, product.taps_h * product.taps_w * product.k, kernels_.together)),
        scratch_(context.buffers, context.scratch(kernels_.scratch_bytes(product))) {}

  void run(const GemmArgs& product, uint8_t* arena) const {
    kernels_.gemm({product, blocks_.starts.data(), blocks_.slots.data(), blocks_.weights.data()}, scratch_.in(arena));
  }

  size_t bytes() const { return blocks_.bytes(); }

 private:
  const SparseKernels& kernels_;
  BlockList blocks_;
  Place scratch_;
};

}  // namespace espalier
