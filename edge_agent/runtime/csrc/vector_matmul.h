// The product of two activations with dot products of bytes. B of a head is packed while it runs, as [block][k / 4][lanes][4] of q, so that
// a vector holds four k of each of a block's columns, against four broadcast bytes of A. With a and b as stored, a = q_a + 128:
//
//   sum of (a - z_a) * (q_b - z_b) = sum of a * q_b - z_a * (sum of q_b - K * z_b) - z_b * sum of a
//
// The middle is a bias of each column, the last a start of each row, where z_b is not 0.
#pragma once

#include <immintrin.h>

#include "sequence_kernels.h"
#include "vector_requantize.h"

namespace espalier {
namespace {

template <class V>
size_t vector_matmul_scratch_bytes(uint32_t columns, uint32_t inner) {
  const size_t blocks = (columns + V::kLanes - 1) / V::kLanes, steps = (static_cast<size_t>(inner) + 3) / 4;
  return blocks * V::kLanes * 4 * (steps + 1) + kOverread;
}

template <class V>
class MatMulKernel {
 public:
  using I = typename V::I;

  MatMulKernel(const MatMulArgs& args, uint8_t* scratch)
      : g_(args), requantizer_(*args.requantize), inner_(args.a_matrix.columns), columns_(args.out_matrix.columns),
        rows_(args.out_matrix.rows), steps_((args.a_matrix.columns + 3) / 4), blocks_((args.out_matrix.columns + V::kLanes - 1) / V::kLanes),
        block_bytes_(static_cast<size_t>(steps_) * kPiece), packed_(scratch), bias_(scratch + blocks_ * block_bytes_) {}

  void run() const {
    for (uint32_t head = 0; head < g_.heads; ++head) {
      const uint8_t* b = g_.b + head * g_.b_matrix.head_stride;
      if (g_.b_transposed) {
        pack_transposed(b);
      } else {
        pack(b);
      }
      for (uint32_t block = 0; block < blocks_; ++block) make_bias(block);
      const uint8_t* a = g_.a + head * g_.a_matrix.head_stride;
      uint8_t* out = g_.out + head * g_.out_matrix.head_stride;
      for (uint32_t block = 0; block < blocks_;) {
        const uint32_t group = group_of_blocks(block, blocks_, V::kMaxBlocks);
        run_blocks<V::kMaxBlocks>(block, group, a, out);
        block += group;
      }
    }
  }

 private:
  static constexpr size_t kPiece = V::kLanes * 4;
  static constexpr int32_t kToSigned = static_cast<int32_t>(0x80808080u);

  // Rows of B are columns of the product: four of its bytes are a quad. Columns beyond the last are never stored.
  void pack_transposed(const uint8_t* b) const {
    const uint32_t whole = inner_ / 4, rest = inner_ % 4;
    for (uint32_t n = 0; n < columns_; ++n, b += g_.b_matrix.row_stride) {
      uint8_t* out = packed_ + n / V::kLanes * block_bytes_ + n % V::kLanes * 4;
      for (uint32_t k = 0; k < whole; ++k) store_quad(out + k * kPiece, load_quad(b + 4 * k) ^ kToSigned);
      if (rest != 0) store_quad(out + whole * kPiece, (load_quad(b + 4 * whole) ^ kToSigned) & ((1 << (8 * rest)) - 1));
    }
  }

  // Four rows of B at a time, interleaved byte by byte, sixteen columns at a time.
  void pack(const uint8_t* b) const {
    for (uint32_t step = 0; step < steps_; ++step, b += 4 * g_.b_matrix.row_stride) {
      const uint32_t valid = inner_ - 4 * step;  // rows beyond the last count as 0
      for (uint32_t n = 0; n < columns_; n += 16) {
        __m128i row[4];
        for (uint32_t i = 0; i < 4; ++i) {
          row[i] = i < valid ? _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i * g_.b_matrix.row_stride + n)),
                                             _mm_set1_epi32(kToSigned))
                             : _mm_setzero_si128();
        }
        const __m128i low01 = _mm_unpacklo_epi8(row[0], row[1]), high01 = _mm_unpackhi_epi8(row[0], row[1]);
        const __m128i low23 = _mm_unpacklo_epi8(row[2], row[3]), high23 = _mm_unpackhi_epi8(row[2], row[3]);
        store_quads(n, step, _mm_unpacklo_epi16(low01, low23));
        store_quads(n + 4, step, _mm_unpackhi_epi16(low01, low23));
        store_quads(n + 8, step, _mm_unpacklo_epi16(high01, high23));
        store_quads(n + 12, step, _mm_unpackhi_epi16(high01, high23));
      }
    }
  }

  void store_quads(uint32_t n, uint32_t step, __m128i quads) const {
    if (n / V::kLanes >= blocks_) return;
    uint8_t* out = packed_ + n / V::kLanes * block_bytes_ + step * kPiece + n % V::kLanes * 4;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), quads);
  }

  static int32_t load_quad(const uint8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return quad;
  }
  static void store_quad(uint8_t* p, int32_t quad) { __builtin_memcpy(p, &quad, 4); }

  int32_t b_zero_point() const { return g_.b_zero - kByteOffset; }

  // -z_a * (sum of q_b - K * z_b)
  void make_bias(uint32_t block) const {
    const typename V::Quads ones = V::quads(V::set1_8(1));
    I sum = V::zero();
    for (uint32_t k = 0; k < steps_; ++k) sum = V::dot(sum, ones, V::weights(weights_of(block) + k * kPiece));
    const I centred = V::sub32(sum, V::set1_32(static_cast<int32_t>(inner_) * b_zero_point()));
    const I bias = V::mul32(centred, V::set1_32(-g_.a_zero));
    __builtin_memcpy(bias_ + block * kPiece, &bias, sizeof bias);
  }

  const int8_t* weights_of(uint32_t block) const { return reinterpret_cast<const int8_t*>(packed_ + block * block_bytes_); }

  // A group of blocks over all rows.
  template <int NB>
  void run_blocks(uint32_t block, uint32_t group, const uint8_t* a, uint8_t* out) const {
    if constexpr (NB > 1) {
      if (group < NB) return run_blocks<NB - 1>(block, group, a, out);
    }
    // Whole tiles, the last one moved back over rows that are done already: the same values again, and no kernel for every height.
    constexpr uint32_t kTile = V::tile_m(NB);
    if (rows_ < kTile) {
      for (uint32_t m = 0; m < rows_; ++m) tile<1, NB>(block, a + m * g_.a_matrix.row_stride, out + m * g_.out_matrix.row_stride);
      return;
    }
    for (uint32_t m = 0; m < rows_; m += kTile) {
      const uint32_t first = m + kTile <= rows_ ? m : rows_ - kTile;
      tile<kTile, NB>(block, a + first * g_.a_matrix.row_stride, out + first * g_.out_matrix.row_stride);
    }
  }

  template <int MR, int NB>
  void tile(uint32_t block, const uint8_t* a, uint8_t* out) const {
    I acc[MR][NB];
    ESPALIER_UNROLL for (int m = 0; m < MR; ++m) {
      const I start = V::set1_32(b_zero_point() == 0 ? 0 : -b_zero_point() * sum_of(a + m * g_.a_matrix.row_stride));
      ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[m][n] = V::add32(start, V::load(bias_ + (block + n) * kPiece));
    }
    const int8_t* w = weights_of(block);
    for (uint32_t k = 0; k < steps_; ++k, a += 4, w += kPiece) {
      typename V::Weights weights[NB];
      ESPALIER_UNROLL for (int n = 0; n < NB; ++n) weights[n] = V::weights(w + n * block_bytes_);
      ESPALIER_UNROLL for (int m = 0; m < MR; ++m) {
        const typename V::Quads x = V::broadcast_quad(a + m * g_.a_matrix.row_stride);
        ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[m][n] = V::dot(acc[m][n], x, weights[n]);
      }
    }
    const uint32_t n0 = block * V::kLanes;
    const uint32_t count = columns_ - n0 < NB * V::kLanes ? columns_ - n0 : NB * V::kLanes;
    ESPALIER_UNROLL for (int m = 0; m < MR; ++m) {
      requantizer_.round_shared(acc[m]);
      V::store(out + m * g_.out_matrix.row_stride + n0, V::in_order(requantizer_.narrow(acc[m])), count);
    }
  }

  int32_t sum_of(const uint8_t* row) const {
    int32_t sum = 0;
    for (uint32_t k = 0; k < inner_; ++k) sum += row[k];
    return sum;
  }

  const MatMulArgs& g_;
  const Requantizer<V> requantizer_;
  const uint32_t inner_, columns_, rows_, steps_, blocks_;
  const size_t block_bytes_;
  uint8_t* packed_;
  uint8_t* bias_;  // int32, after the packed columns
};

template <class V>
void vector_matmul(const MatMulArgs& args, uint8_t* scratch) {
  MatMulKernel<V>(args, scratch).run();
}

}  // namespace
}  // namespace espalier
