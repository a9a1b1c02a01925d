#include "product.h"

#include <algorithm>
#include <numeric>

namespace espalier {
namespace {

bool take_pixels(GemmArgs& args, Share share) {
  constexpr size_t kGrain = 4;  // kernels store up to four pixels at once
  const size_t begin = share.begin(args.m, kGrain), end = share.end(args.m, kGrain);
  args.a += begin * args.m_stride;
  args.out += begin * args.out_m_stride;
  args.m = static_cast<uint32_t>(end - begin);
  return begin < end;
}

// A share of the output channels, in whole groups of blocks: within them a part is packed as the whole is.
bool take_channels(GemmArgs& args, Share share, GemmLayout layout) {
  const uint32_t blocks = (args.n + layout.nr - 1) / layout.nr;
  const size_t k = layout.joins_taps ? size_t{args.taps_h} * args.taps_w * args.k : args.k;
  const size_t taps = layout.joins_taps ? 1 : size_t{args.taps_h} * args.taps_w;
  const size_t block_bytes = taps * ((k + layout.kr - 1) / layout.kr) * layout.nr * layout.kr;
  const auto boundary = [&](size_t wanted) {  // the first group that does not start before the block `wanted`
    uint32_t block = 0;
    while (block < wanted && block < blocks) block += group_of_blocks(block, blocks, layout.max_blocks);
    return block;
  };
  const uint32_t begin = boundary(share.begin(blocks)), end = boundary(share.end(blocks));
  const uint32_t first = begin * layout.nr, last = std::min(end * layout.nr, args.n);
  if (first >= last) return false;
  args.w += begin * block_bytes;
  args.channel += first;
  args.out += first;
  args.n = last - first;
  return true;
}

}  // namespace

std::vector<int32_t> fold_bias(const PlanContext& context, uint32_t weight, const std::optional<uint32_t>& bias, int32_t input_zero_point) {
  const Tensor& t = context.model.tensors[weight];
  const std::vector<int8_t>& values = context.tensors.int8(weight);
  const uint64_t row = t.row_elements();
  const int32_t zero = input_zero_point + (context.kernels.signed_products ? 0 : kByteOffset);
  std::vector<int32_t> folded(t.shape[0]);
  for (size_t channel = 0; channel < folded.size(); ++channel) {
    const int8_t* w = values.data() + channel * row;
    const int64_t sum = std::accumulate(w, w + row, int32_t{0});  // fits: the proven bound is that of the magnitudes
    const int64_t start = bias ? context.tensors.int32(*bias)[channel] : 0;
    folded[channel] = static_cast<int32_t>(static_cast<uint32_t>(start - sum * zero));
  }
  return folded;
}

size_t gemm_scratch_bytes(const Kernels& kernels, uint32_t taps, uint32_t k) {
  return kernels.gemm_scratch_bytes == nullptr ? 0 : kernels.gemm_scratch_bytes(taps, k);
}

void run_gemm(const Kernels& kernels, GemmArgs args, Share share, uint8_t* scratch) {
  if (share.count > 1) {
    const bool has_work = args.rows > 1 ? take_rows(args, share)
                          : args.m > 1  ? take_pixels(args, share)
                                        : take_channels(args, share, kernels.gemm_layout);
    if (!has_work) return;
  }
  kernels.gemm(args, scratch);
}

bool is_sparse(const PlanContext& context, uint32_t weight, const GemmArgs& product) {
  if (!context.model.tensors[weight].is_block_sparse()) return false;
  return skips_blocks(context.kernels, product, context.tensors.int8(weight).data());
}

}  // namespace espalier
