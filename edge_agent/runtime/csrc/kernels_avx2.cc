// AVX2: no dot product of bytes. maddubs would saturate its int16 sums, so bytes are split into even and odd ones and widened: two
// products of int16 pairs, exact for every weight and every byte.
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
  struct Pairs {
    I even, odd;  // int16, of bytes 0 and 2 and of bytes 1 and 3 of each four
  };
  using Weights = Pairs;
  using Quads = Pairs;
  static constexpr int kMaxBlocks = 2;
  static constexpr int kDepthwiseTile = 1;
  // 16 registers: sums, a block's weights, one broadcast, one product.
  static constexpr int tile_m(int blocks) { return blocks == 2 ? 4 : 8; }

  // The matrix product's: two bytes of K as int16.
  static constexpr uint32_t kWideRun = 2;
  static I wide_weights(const int8_t* p) { return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(p))); }
  static void widen(const uint8_t* x, uint32_t bytes, uint8_t* out) {
    for (uint32_t i = 0; i < bytes; i += 16) {
      const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), _mm256_cvtepu8_epi16(narrow));
    }
  }

  // Depthwise and sparse convolution's: four taps, or four of K.
  static Weights weights(const int8_t* p) { return weights_of(load(p)); }
  static Weights weights_of(I w) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
  }
  static Quads quads(I bytes) { return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16(bytes, 8)}; }
  static Quads broadcast_quad(const uint8_t* p) { return quads(broadcast_4_bytes(p)); }
  // Weights within [0, 63]: two products of a byte add up to less than 2^15.
  static I dot_small(I acc, I x, I w) { return add32(acc, madd16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1))); }
  static void add_dot(I& acc, Quads x, Weights w) { acc = dot(acc, x, w); }
  static I dot(I acc, Quads x, Weights w) {
    return add32(acc, add32(madd16(x.even, w.even), madd16(x.odd, w.odd)));
  }
};

const PackedKernels kPacked = vector_packed_kernels<V>();
const SparseKernels kSparse = {2, 8, {1.0f, 8, 25}, {1.45f, 0, 50}, {1.2f, 0, 50},
                               vector_sparse_scratch<Sparse256<V>>, vector_sparse_gemm<Sparse256<V>>};

const SequenceKernels kSequence = {
    vector_matmul_scratch_bytes<V>, vector_matmul<V>, vector_softmax<V>, vector_layer_norm<V>, vector_multiply<V>,
};

}  // namespace

const Kernels kAvx2 = {
    "avx2",
    cpu_has_avx2,
    uint64_t{1} << 21,
    false,
    {V::kLanes, V::kWideRun, V::kMaxBlocks, false},
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
