// The sparse product of sparse.h with vectors.
//
// Many pixels: a vector holds the same four k of one pixel in each lane, so that a block of weights is four broadcasts against it and no
// zero block costs anything, whatever its neighbours are. Pixels come in as rows of channels, so a tile is transposed first, four k at a
// time, and the bytes that result are transposed back; both are paid once for all channels.
//
// One pixel: a vector holds as many blocks of one row as fit, side by side, against the four k of each, which were repeated before.
#pragma once

#include "sparse.h"
#include "vector_requantize.h"

namespace espalier {
namespace {

template <class V>
class SparseGemm {
 public:
  using I = typename V::I;
  static constexpr uint32_t kGroups = V::kLanes / 4;  // 128-bit groups of a vector
  static constexpr uint32_t kMaxVectors = V::kSparseVectors, kMaxPixels = kMaxVectors * V::kLanes;

  SparseGemm(const SparseArgs& args, uint8_t* scratch)
      : args_(args), g_(args.product), requantizer_(*g_.requantize), scratch_(scratch), slots_per_run_(g_.k / 4),
        rows_((g_.n + 3) / 4) {}

  static size_t scratch_bytes(const GemmArgs& g) {
    const size_t slots = size_t{g.taps_h} * g.taps_w * g.k / 4;
    if (g.rows * g.m == 1) return slots * 16 + (size_t{g.n} + kChannelPadding) * sizeof(int32_t);
    return (slots + 3) * kMaxVectors * V::kBytes;
  }

  void run() const {
    const uint32_t pixels = g_.rows * g_.m;
    if (pixels == 1) return run_one();
    const uint32_t vectors = (pixels + V::kLanes - 1) / V::kLanes, tiles = (vectors + kMaxVectors - 1) / kMaxVectors;
    for (uint32_t t = 0, v = 0; t < tiles; ++t) {  // as even as possible
      const uint32_t end = static_cast<uint32_t>(static_cast<uint64_t>(vectors) * (t + 1) / tiles);
      run_tile<kMaxVectors>(end - v, v * V::kLanes, pixels);
      v = end;
    }
  }

 private:
  template <uint32_t NV>
  void run_tile(uint32_t vectors, uint32_t first, uint32_t pixels) const {
    if constexpr (NV > 1) {
      if (vectors < NV) return run_tile<NV - 1>(vectors, first, pixels);
    }
    const uint8_t* in[NV * V::kLanes];
    uint8_t* out[NV * V::kLanes];
    const uint32_t count = pixels - first < NV * V::kLanes ? pixels - first : NV * V::kLanes;
    uint32_t row = first / g_.m, m = first % g_.m;
    for (uint32_t p = 0; p < NV * V::kLanes; ++p) {
      in[p] = g_.a + row * g_.row_stride + m * g_.m_stride;
      out[p] = g_.out + row * g_.out_row_stride + m * g_.out_m_stride;
      if (p + 1 < count && ++m == g_.m) m = 0, ++row;  // lanes beyond the last pixel repeat it
    }
    transpose_in<NV>(in);
    for (uint32_t block_row = 0; block_row < rows_; block_row += 4) run_channels<NV>(block_row, count, out);
  }

  // Panel [slot][NV] of vectors: lane i has the four bytes of pixel i.
  template <uint32_t NV>
  void transpose_in(const uint8_t* const (&in)[NV * V::kLanes]) const {
    uint8_t* panel = scratch_;
    for (uint32_t i = 0; i < g_.taps_h; ++i) {
      for (uint32_t j = 0; j < g_.taps_w; ++j, panel += slots_per_run_ * NV * V::kBytes) {
        const size_t run = i * g_.tap_h_stride + j * g_.tap_w_stride;
        for (uint32_t slot = 0; slot < slots_per_run_; slot += 4) {  // the last may write three slots too many; the next run overwrites
          for (uint32_t v = 0; v < NV; ++v) {
            I x[4];
            ESPALIER_UNROLL for (int q = 0; q < 4; ++q) x[q] = V::load_groups(in + v * V::kLanes + q, run + slot * 4);
            transpose_quads(x);
            ESPALIER_UNROLL for (int q = 0; q < 4; ++q) V::store_all(panel + ((slot + q) * NV + v) * V::kBytes, x[q]);
          }
        }
      }
    }
  }

  // In each 128-bit group: four rows of four 32-bit lanes to four columns.
  static void transpose_quads(I (&x)[4]) {
    const I a = V::unpacklo32(x[0], x[1]), b = V::unpackhi32(x[0], x[1]), c = V::unpacklo32(x[2], x[3]), d = V::unpackhi32(x[2], x[3]);
    x[0] = V::unpacklo64(a, c), x[1] = V::unpackhi64(a, c), x[2] = V::unpacklo64(b, d), x[3] = V::unpackhi64(b, d);
  }

  // Sixteen channels of all pixels of a tile.
  template <uint32_t NV>
  void run_channels(uint32_t block_row, uint32_t count, uint8_t* const (&out)[NV * V::kLanes]) const {
    const uint32_t rows = rows_ - block_row < 4 ? rows_ - block_row : 4;
    const uint32_t channels = g_.n - block_row * 4 < 16 ? g_.n - block_row * 4 : 16;
    alignas(64) uint8_t bytes[4][NV * V::kBytes];  // by row of blocks: [pixel][4 channels]
    for (uint32_t r = 0; r < rows; ++r) run_row<NV>(block_row + r, bytes[r]);
    for (uint32_t v = 0; v < NV && v * V::kLanes < count; ++v) {
      I x[4];
      ESPALIER_UNROLL for (int r = 0; r < 4; ++r) x[r] = V::load(bytes[r] + v * V::kBytes);
      transpose_quads(x);
      const uint32_t left = count - v * V::kLanes;
      ESPALIER_UNROLL for (int q = 0; q < 4; ++q) V::store_groups(out + v * V::kLanes + q, block_row * 4, x[q], channels, q, left);
    }
  }

  // Four channels of all pixels. Not inlined: there the loop's own pointers would find no register.
  template <uint32_t NV>
  __attribute__((noinline)) void run_row(uint32_t row, uint8_t* bytes) const {
    const uint32_t channel = g_.channel + row * 4;
    I acc[4][NV];
    ESPALIER_UNROLL for (int c = 0; c < 4; ++c) {
      const I bias = V::set1_32(g_.requantize->bias[channel + c]);
      ESPALIER_UNROLL for (uint32_t v = 0; v < NV; ++v) acc[c][v] = bias;
    }
    const int8_t* w = args_.weights + size_t{args_.starts[row]} * 16;
    for (uint32_t block = args_.starts[row]; block < args_.starts[row + 1]; ++block, w += 16) {
      const uint8_t* x = scratch_ + size_t{args_.slots[block]} * NV * V::kBytes;
      typename V::Quads quads[NV];
      ESPALIER_UNROLL for (uint32_t v = 0; v < NV; ++v) quads[v] = V::quads(V::load(x + v * V::kBytes));
      ESPALIER_UNROLL for (int c = 0; c < 4; ++c) {
        const typename V::Weights weights = V::broadcast_weights(w + 4 * c);
        ESPALIER_UNROLL for (uint32_t v = 0; v < NV; ++v) V::add_dot(acc[c][v], quads[v], weights);
      }
    }
    ESPALIER_UNROLL for (int c = 0; c < 4; ++c) requantizer_.round_channel(acc[c], channel + c);
    ESPALIER_UNROLL for (uint32_t v = 0; v < NV; ++v) {
      const I by_channel = requantizer_.narrow(acc[0][v], acc[1][v], acc[2][v], acc[3][v]);
      V::store_all(bytes + v * V::kBytes, V::transpose_bytes(by_channel));
    }
  }

  void run_one() const {
    const uint32_t slots = g_.taps_h * g_.taps_w * slots_per_run_;
    uint8_t* repeated = scratch_;  // [slot][4] times the slot's four bytes
    for (uint32_t i = 0, slot = 0; i < g_.taps_h; ++i) {
      for (uint32_t j = 0; j < g_.taps_w; ++j) {
        const uint8_t* run = g_.a + i * g_.tap_h_stride + j * g_.tap_w_stride;
        for (uint32_t s = 0; s < slots_per_run_; ++s, ++slot) V::repeat_quad(run + 4 * s, repeated + 16 * slot);
      }
    }
    auto* sums = reinterpret_cast<int32_t*>(scratch_ + size_t{slots} * 16);
    for (uint32_t row = 0; row < rows_; ++row) {
      I acc[2] = {V::zero(), V::zero()};
      uint32_t block = args_.starts[row];
      const uint32_t end = args_.starts[row + 1];
      for (; block + 2 * kGroups <= end; block += 2 * kGroups) {
        acc[0] = dot_blocks(acc[0], repeated, block);
        acc[1] = dot_blocks(acc[1], repeated, block + kGroups);
      }
      if (block < end) acc[0] = dot_blocks(acc[0], repeated, block);
      V::sum_groups(V::add32(acc[0], acc[1]), sums + row * 4);
    }
    finish_one(sums);
  }

  I dot_blocks(I acc, const uint8_t* repeated, uint32_t block) const {
    const uint16_t* slots = args_.slots + block;
    const uint8_t* at[kGroups];
    ESPALIER_UNROLL for (uint32_t i = 0; i < kGroups; ++i) at[i] = repeated + size_t{slots[i]} * 16;
    return V::dot(acc, V::quads(V::load_each(at)), V::weights(args_.weights + size_t{block} * 16));
  }

  void finish_one(const int32_t* sums) const {
    for (uint32_t n = 0; n < g_.n; n += V::kBytes) {
      I acc[4];  // what lies beyond the channels is not stored
      ESPALIER_UNROLL for (int i = 0; i < 4; ++i) {
        const uint32_t at = n + i * V::kLanes;
        acc[i] = V::add32(V::load(sums + at), V::load(g_.requantize->bias.data() + g_.channel + at));
      }
      requantizer_.round(acc, g_.channel + n);
      V::store(g_.out + n, V::in_order(requantizer_.narrow(acc)), g_.n - n);
    }
  }

  const SparseArgs& args_;
  const GemmArgs& g_;
  const Requantizer<V> requantizer_;
  uint8_t* scratch_;
  const uint32_t slots_per_run_, rows_;
};

template <class V>
void vector_sparse_gemm(const SparseArgs& args, uint8_t* scratch) {
  SparseGemm<V>(args, scratch).run();
}

template <class V>
size_t vector_sparse_scratch(const GemmArgs& product) {
  return SparseGemm<V>::scratch_bytes(product);
}

}  // namespace
}  // namespace espalier
