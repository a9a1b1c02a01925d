// The matrix product of kernels.h with vectors: a tile of MR pixels by NB blocks of channels stays in registers while K runs by.
//
// W is packed [group][tap][k / 4][block][lanes][4], so that a vector holds four k of each of a block's channels; four bytes of A are
// broadcast against it. Runs whose length is no multiple of 4 read a little too far, against weights of 0. Without a dot product of bytes it
// is two of K instead of four.
#pragma once

#include "vector_requantize.h"

namespace espalier {
namespace {

// Bytes of K that one product takes. Paths without a dot product of bytes multiply pairs of 16 bits and say so (`kWideRun`).
template <class V>
constexpr auto run_bytes(int) -> decltype(V::kWideRun) {
  return V::kWideRun;
}
template <class V>
constexpr uint32_t run_bytes(long) {
  return 4;
}

template <class V>
class Gemm {
 public:
  using I = typename V::I;

  static constexpr uint32_t kRun = run_bytes<V>(0);
  static constexpr bool kWidens = kRun < 4;
  static constexpr uint32_t kWideChunk = 128, kWideBytes = 2 * kRun;  // products, and bytes of one
  static constexpr uint32_t kPiece = V::kLanes * kRun;  // bytes of a block's weights for one product

  explicit Gemm(const GemmArgs& args)
      : g_(args), requantizer_(*args.requantize), steps_((args.k + kRun - 1) / kRun),
        block_bytes_(static_cast<size_t>(args.taps_h) * args.taps_w * steps_ * kPiece) {}

  void run() const {
    const uint32_t blocks = (g_.n + V::kLanes - 1) / V::kLanes;
    for (uint32_t block = 0; block < blocks;) {
      const uint32_t group = group_of_blocks(block, blocks, V::kMaxBlocks);
      run_blocks<V::kMaxBlocks>(block, group);
      block += group;
    }
  }

  size_t block_bytes() const { return block_bytes_; }

  // Sums, biases included, of MR neighbouring pixels to stored bytes; `out` is that of channel n0. Pixels whose channels together fill a vector
  // are narrowed and stored at once.
  template <int MR, int NB>
  void finish_tile(I (&acc)[MR][NB], uint32_t n0, uint32_t channels, uint8_t* out) const {
    constexpr int kTogether = NB < 4 && 4 % NB == 0 ? 4 / NB : 1, kWhole = MR / kTogether * kTogether;
    requantizer_.template round_pixels<MR>(acc, g_.channel + n0);
    if constexpr (kTogether > 1) {
      if (g_.n == NB * V::kLanes && g_.out_m_stride == g_.n) {
        ESPALIER_UNROLL for (int m = 0; m < kWhole; m += kTogether) {
          const auto v = [&](int i) { return acc[m + i / NB][i % NB]; };
          V::store(out + m * g_.out_m_stride, V::in_order(requantizer_.narrow(v(0), v(1), v(2), v(3))), V::kBytes);
        }
        ESPALIER_UNROLL for (int m = kWhole; m < MR; ++m) store<NB>(acc[m], channels, out + m * g_.out_m_stride);
        return;
      }
    }
    if constexpr (V::kLanes == 8 && NB == 2) {  // or two pixels are narrowed at once and stored apart
      if (channels == NB * V::kLanes) {
        ESPALIER_UNROLL for (int m = 0; m < kWhole; m += 2) {
          const I both = V::in_order(requantizer_.narrow(acc[m][0], acc[m][1], acc[m + 1][0], acc[m + 1][1]));
          V::store_halves(out + m * g_.out_m_stride, out + (m + 1) * g_.out_m_stride, both);
        }
        ESPALIER_UNROLL for (int m = kWhole; m < MR; ++m) store<NB>(acc[m], channels, out + m * g_.out_m_stride);
        return;
      }
    }
    ESPALIER_UNROLL for (int m = 0; m < MR; ++m) store<NB>(acc[m], channels, out + m * g_.out_m_stride);
  }

 private:
  // A group of blocks over all pixels.
  template <int NB>
  void run_blocks(uint32_t block, uint32_t group) const {
    if constexpr (NB > 1) {
      if (group < NB) return run_blocks<NB - 1>(block, group);
    }
    const uint32_t n0 = block * V::kLanes;
    const uint32_t channels = g_.n - n0 < NB * V::kLanes ? g_.n - n0 : NB * V::kLanes;
    const int8_t* w = g_.w + block * block_bytes_;
    constexpr uint32_t kTile = V::tile_m(NB);
    const uint32_t tiles = (g_.m + kTile - 1) / kTile;
    // Pixels that are stored together stay together.
    constexpr uint32_t kGrain = NB < 4 && 4 % NB == 0 && kTile % (4 / NB) == 0 ? 4 / NB : 1;
    for (uint32_t row = 0; row < g_.rows; ++row) {
      const uint8_t* a = g_.a + row * g_.row_stride;
      uint8_t* out = g_.out + row * g_.out_row_stride + n0;
      for (uint32_t t = 0, m = 0; t < tiles; ++t) {  // as even as possible: 7 pixels are 4 + 3 rather than 6 + 1
        const uint32_t even = static_cast<uint32_t>(static_cast<uint64_t>(g_.m) * (t + 1) / tiles);
        const uint32_t end = t + 1 == tiles ? g_.m : (even + kGrain - 1) / kGrain * kGrain;
        run_tile<kTile, NB>(end - m, a + m * g_.m_stride, w, n0, channels, out + m * g_.out_m_stride);
        m = end;
      }
    }
  }

  template <int MR, int NB>
  void run_tile(uint32_t pixels, const uint8_t* a, const int8_t* w, uint32_t n0, uint32_t channels, uint8_t* out) const {
    if constexpr (MR > 1) {
      if (pixels < MR) return run_tile<MR - 1, NB>(pixels, a, w, n0, channels, out);
    }
    if constexpr (MR == 1 && !kWidens) {
      tile_of_one<NB>(a, w, n0, channels, out);
    } else {
      tile<MR, NB>(a, w, n0, channels, out);
    }
  }

  template <int MR, int NB>
  void tile(const uint8_t* a, const int8_t* w, uint32_t n0, uint32_t channels, uint8_t* out) const {
    I acc[MR][NB];
    ESPALIER_UNROLL for (int n = 0; n < NB; ++n) {
      const I bias = V::load(g_.requantize->bias.data() + g_.channel + n0 + n * V::kLanes);
      ESPALIER_UNROLL for (int m = 0; m < MR; ++m) acc[m][n] = bias;
    }
    if constexpr (kWidens) {
      add_wide<MR, NB>(acc, a, w);
    } else {
      add_bytes<MR, NB>(acc, a, w);
    }
    finish_tile<MR, NB>(acc, n0, channels, out);
  }

  template <int MR, int NB>
  inline __attribute__((always_inline)) void add_bytes(I (&acc)[MR][NB], const uint8_t* a, const int8_t* w) const {
    const size_t stride = g_.m_stride;
    for (uint32_t i = 0; i < g_.taps_h; ++i) {
      for (uint32_t j = 0; j < g_.taps_w; ++j) {
        const uint8_t* run = a + i * g_.tap_h_stride + j * g_.tap_w_stride;
        for (uint32_t k = 0; k < steps_; ++k, run += 4, w += NB * kPiece) {
          typename V::Weights weights[NB];
          ESPALIER_UNROLL for (int n = 0; n < NB; ++n) weights[n] = V::weights(w + n * kPiece);
          ESPALIER_UNROLL for (int m = 0; m < MR; ++m) {
            const typename V::Quads x = V::broadcast_quad(run + m * stride);
            ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[m][n] = V::dot(acc[m][n], x, weights[n]);
          }
        }
      }
    }
  }

  // Where the next products of a tile come from.
  struct Cursor {
    uint32_t i = 0, j = 0, k = 0;  // tap and step
  };

  // The next pixels' products are widened side by side, across taps, as many as stay in the first level of cache. Then all blocks of the tile
  // meet them, and a broadcast is a mere load.
  template <int MR, int NB>
  inline __attribute__((always_inline)) void add_wide(I (&acc)[MR][NB], const uint8_t* a, const int8_t* w) const {
    alignas(64) uint8_t wide[MR][kWideChunk * kWideBytes + kOverread];
    Cursor next;
    while (next.i < g_.taps_h) {
      const uint32_t count = widen_next<MR>(a, next, wide);
      for (uint32_t i = 0; i < count; ++i, w += NB * kPiece) {
        I weights[NB];
        ESPALIER_UNROLL for (int n = 0; n < NB; ++n) weights[n] = V::wide_weights(w + n * kPiece);
        ESPALIER_UNROLL for (int m = 0; m < MR; ++m) {
          const I x = V::broadcast_4_bytes(wide[m] + i * kWideBytes);
          ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[m][n] = V::add32(acc[m][n], V::madd16(x, weights[n]));
        }
      }
    }
  }

  // Returns how many products there are; a run may write a little more than its own, which the next one overwrites.
  template <int MR>
  uint32_t widen_next(const uint8_t* a, Cursor& next, uint8_t (&wide)[MR][kWideChunk * kWideBytes + kOverread]) const {
    uint32_t held = 0;
    while (held < kWideChunk && next.i < g_.taps_h) {
      const uint32_t left = steps_ - next.k, room = kWideChunk - held, count = left < room ? left : room;
      const uint8_t* run = a + next.i * g_.tap_h_stride + next.j * g_.tap_w_stride + next.k * kRun;
      ESPALIER_UNROLL for (int m = 0; m < MR; ++m) V::widen(run + m * g_.m_stride, count * kRun, wide[m] + held * kWideBytes);
      held += count;
      next.k += count;
      if (next.k < steps_) continue;
      next.k = 0;
      if (++next.j < g_.taps_w) continue;
      next.j = 0;
      ++next.i;
    }
    return held;
  }

  // One pixel, or a linear operator at batch 1: bound by loading weights, if there are enough sums to hide the latency of a dot product.
  template <int NB>
  void tile_of_one(const uint8_t* a, const int8_t* w, uint32_t n0, uint32_t channels, uint8_t* out) const {
    constexpr int kChains = V::kChains / NB > 1 ? V::kChains / NB : 1;
    I acc[kChains][NB];
    ESPALIER_UNROLL for (int n = 0; n < NB; ++n) {
      acc[0][n] = V::load(g_.requantize->bias.data() + g_.channel + n0 + n * V::kLanes);
      ESPALIER_UNROLL for (int c = 1; c < kChains; ++c) acc[c][n] = V::zero();
    }
    for (uint32_t i = 0; i < g_.taps_h; ++i) {
      for (uint32_t j = 0; j < g_.taps_w; ++j) {
        const uint8_t* run = a + i * g_.tap_h_stride + j * g_.tap_w_stride;
        uint32_t k = 0;
        for (; k + kChains <= steps_; k += kChains, run += 4 * kChains, w += NB * kPiece * kChains) {
          ESPALIER_UNROLL for (int c = 0; c < kChains; ++c) {
            const typename V::Quads x = V::broadcast_quad(run + 4 * c);
            ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[c][n] = V::dot(acc[c][n], x, V::weights(w + (c * NB + n) * kPiece));
          }
        }
        for (; k < steps_; ++k, run += 4, w += NB * kPiece) {
          const typename V::Quads x = V::broadcast_quad(run);
          ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[0][n] = V::dot(acc[0][n], x, V::weights(w + n * kPiece));
        }
      }
    }
    ESPALIER_UNROLL for (int c = 1; c < kChains; ++c) {
      ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[0][n] = V::add32(acc[0][n], acc[c][n]);
    }
    requantizer_.round(acc[0], g_.channel + n0);
    store<NB>(acc[0], channels, out);
  }

  template <int NB>
  void store(const I (&rounded)[NB], uint32_t channels, uint8_t* out) const {
    V::store(out, V::in_order(requantizer_.narrow(rounded)), channels);
  }

  const GemmArgs& g_;
  const Requantizer<V> requantizer_;
  const uint32_t steps_;
  const size_t block_bytes_;
};

template <class V>
void vector_gemm(const GemmArgs& args, uint8_t*) {
  const Gemm<V> gemm(args);
  // Keeps what only the end of a tile needs in memory: GCC would hold it in registers and spill sums instead.
  asm volatile("" : : "r"(&gemm) : "memory");
  gemm.run();
}

}  // namespace
}  // namespace espalier
