// AVX-VNNI: the dot product of bytes in 256-bit vectors.
#include "cpu.h"
#include "vector256.h"
#include "vector_depthwise.h"
#include "vector_elementwise.h"
#include "vector_gemm.h"
#include "vector_matmul.h"
#include "vector_packed.h"
#include "vector_sequence.h"
#include "vector_sparse.h"
#include "vector_sparse_256.h"

namespace espalier {
namespace {

struct V : Vector256 {
  using Weights = I;
  using Quads = I;
  static constexpr int kMaxBlocks = 2;
  static constexpr int kChains = 8, kDepthwiseTile = 2;
  // 16 registers: sums, a block's weights, one broadcast.
  static constexpr int tile_m(int blocks) { return blocks == 2 ? 6 : 12; }

  static Weights weights(const int8_t* p) { return load(p); }
  static Weights weights_of(I w) { return w; }
  static Quads quads(I interleaved) { return interleaved; }
  static Quads broadcast_quad(const uint8_t* p) { return broadcast_4_bytes(p); }
  static I dot(I acc, Quads x, Weights w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
  static I dot_small(I acc, I x, I w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
  // GCC 12 copies every sum to another register and back around the intrinsic where there are many of them.
  static void add_dot(I& acc, Quads x, Weights w) { __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(w)); }
};

const PackedKernels kPacked = vector_packed_kernels<V>();
const SparseKernels kSparse = {2, 8, {1.1f, 8, 25}, {2.3f, 0, 50}, {1.2f, 0, 50},
                               vector_sparse_scratch<Sparse256<V>>, vector_sparse_gemm<Sparse256<V>>};

const SequenceKernels kSequence = {
    vector_matmul_scratch_bytes<V>, vector_matmul<V>, vector_softmax<V>, vector_layer_norm<V>, vector_multiply<V>,
};

}  // namespace

const Kernels kAvxVnni = {
    "avx_vnni",
    cpu_has_avx_vnni,
    uint64_t{1} << 22,
    false,
    {V::kLanes, 4, V::kMaxBlocks, false},
    nullptr,
    vector_gemm<V>,
    V::kBytes,
    vector_depthwise<V>,
    vector_max_pool<V>,
    vector_average_pool<V>,
    vector_add<V>,
    [](const uint8_t* x, const uint8_t* table, size_t n, uint8_t* out) { kPortable.lookup(x, table, n, out); },
    [](const uint8_t* x, const uint8_t* t, uint32_t c, size_t n, uint8_t* out) { kPortable.lookup_channels(x, t, c, n, out); },
    vector_quantize_float<V>,
    &kSparse,
    &kPacked,
    &kSequence,
};

}  // namespace espalier
