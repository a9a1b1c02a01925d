// NEON without dot products: bytes are multiplied to int16, neighbours added there, and those pairs added to the sums. Two products fit:
// q is at least -128 and a weight at least -127, so their sum is at most 2 * 128 * 127 < 2^15.
#include "cpu.h"
#include "vector_depthwise.h"
#include "vector_elementwise.h"
#include "vector_gemm.h"
#include "vector_neon.h"

namespace espalier {
namespace {

struct V : VectorNeon {
  static constexpr int kMaxBlocks = 4;
  static constexpr int kChains = 4, kDepthwiseTile = 2;
  // 32 registers: sums, a block's weights, one broadcast, products.
  static constexpr int tile_m(int blocks) { return blocks == 4 ? 4 : blocks == 3 ? 6 : 8; }

  static I dot(I acc, Quads x, Weights w) {
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
    return vpadalq_s16(acc, vpaddq_s16(low, high));
  }
};

}  // namespace

const Kernels kNeon = {
    "neon",
    cpu_has_neon,
    uint64_t{1} << 20,
    true,
    {V::kLanes, 4, V::kMaxBlocks, false},
    nullptr,
    vector_gemm<V>,
    V::kBytes,
    vector_depthwise<V>,
    vector_max_pool<V>,
    vector_average_pool<V>,
    vector_add<V>,
    neon_lookup,
    neon_lookup_channels,
    vector_quantize_float<V>,
};

}  // namespace espalier
