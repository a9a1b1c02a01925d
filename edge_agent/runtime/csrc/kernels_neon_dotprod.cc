// NEON with dot products: sdot adds four products of bytes to each of four sums.
#include "cpu.h"
#include "vector_depthwise.h"
#include "vector_elementwise.h"
#include "vector_gemm.h"
#include "vector_neon.h"

namespace espalier {
namespace {

struct V : VectorNeon {
  static constexpr int kMaxBlocks = 4;
  static constexpr int kChains = 8, kDepthwiseTile = 4;
  // 32 registers: sums, a block's weights, one broadcast.
  static constexpr int tile_m(int blocks) { return blocks == 4 ? 6 : blocks == 3 ? 8 : 12; }

  static I dot(I acc, Quads x, Weights w) { return vdotq_s32(acc, x, w); }
};

}  // namespace

const Kernels kNeonDotprod = {
    "neon_dotprod",
    cpu_has_neon_dotprod,
    uint64_t{1} << 21,
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
