// Depthwise convolution with dot products: four rows of the window are interleaved byte by byte, so that a vector holds four taps of each
// channel, and one instruction does what takes four multiplications else.
//
// W is packed [block of channels][column][rows / 4][quarter][..][4] in the order that interleaving gives, see `pack_depthwise`. Maps of few
// channels are treated as one long row of width * channels bytes, where a tap is an offset; then weights repeat with the channels.
#pragma once

#include "vector_requantize.h"

namespace espalier {
namespace {

template <class V>
class Depthwise {
 public:
  using I = typename V::I;

  explicit Depthwise(const DepthwiseArgs& args)
      : d_(args), requantizer_(*args.requantize), row_groups_((args.taps_h + 3) / 4),
        block_bytes_(static_cast<size_t>(args.taps_w) * row_groups_ * 4 * V::kBytes) {}

  void run() const {
    const bool repeats = d_.channels < V::kBytes && V::kBytes % d_.channels == 0;
    if (repeats && d_.m_stride == d_.tap_w_stride && d_.out_m_stride == d_.channels) {
      run_flat();
      return;
    }
    for (uint32_t c = 0, block = 0; c < d_.channels; c += V::kBytes, ++block) {
      const uint32_t count = d_.channels - c < V::kBytes ? d_.channels - c : V::kBytes;
      const Block b{d_.w + block * block_bytes_, block * static_cast<uint32_t>(V::kBytes), count};
      if (d_.taps_w == 3 && d_.m_stride == d_.tap_w_stride) {
        run_block<3, 1>(c, b);
      } else if (d_.taps_w == 3 && d_.m_stride == 2 * d_.tap_w_stride) {
        run_block<3, 2>(c, b);
      } else {
        run_block<0, 1>(c, b);
      }
    }
  }

 private:
  // Columns are interleaved once for this many neighbouring pixels.
  static constexpr int kTile = V::kDepthwiseTile;

  struct Block {
    const int8_t* w;
    uint32_t channel;  // of the parameters
    uint32_t count;    // of bytes to store
  };

  // The whole row of width * channels bytes as if it were the channels of one pixel.
  void run_flat() const {
    const uint32_t length = d_.m * d_.channels;
    for (uint32_t row = 0; row < d_.rows; ++row) {
      const uint8_t* a = d_.a + row * d_.row_stride;
      uint8_t* out = d_.out + row * d_.out_row_stride;
      for (uint32_t at = 0; at < length; at += V::kBytes) {
        const Block b{d_.w, 0, length - at < V::kBytes ? length - at : V::kBytes};
        if (d_.taps_w == 3) {
          pixels<1, 3, 1>(a + at, b, out + at);
        } else {
          pixel(a + at, b, out + at);
        }
      }
    }
  }

  template <int KW, int S>
  void run_block(uint32_t c, const Block& b) const {
    for (uint32_t row = 0; row < d_.rows; ++row) {
      const uint8_t* a = d_.a + row * d_.row_stride + c;
      uint8_t* out = d_.out + row * d_.out_row_stride + c;
      uint32_t m = 0;
      if constexpr (KW > 0) {
        for (; m + kTile <= d_.m; m += kTile) pixels<kTile, KW, S>(a + m * d_.m_stride, b, out + m * d_.out_m_stride);
        for (; m < d_.m; ++m) pixels<1, KW, S>(a + m * d_.m_stride, b, out + m * d_.out_m_stride);
      } else {
        for (; m < d_.m; ++m) pixel(a + m * d_.m_stride, b, out + m * d_.out_m_stride);
      }
    }
  }

  // Four rows of a column. Rows beyond the window meet weights of 0; the first row stands in for them, so that nothing outside the map
  // is read.
  struct Rows {
    size_t offset[4];
  };

  Rows rows_of(uint32_t group) const {
    Rows rows;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = 4 * group + i;
      rows.offset[i] = row < d_.taps_h ? row * d_.tap_h_stride : 0;
    }
    return rows;
  }

  // quads[q] has the four taps of each of the channels 4q to 4q + 3 of every 16.
  static inline __attribute__((always_inline)) void interleave(const uint8_t* column, const Rows& rows, typename V::Quads (&quads)[4]) {
    const I r0 = V::load(column + rows.offset[0]), r1 = V::load(column + rows.offset[1]);
    const I r2 = V::load(column + rows.offset[2]), r3 = V::load(column + rows.offset[3]);
    const I low01 = V::unpacklo8(r0, r1), high01 = V::unpackhi8(r0, r1);
    const I low23 = V::unpacklo8(r2, r3), high23 = V::unpackhi8(r2, r3);
    quads[0] = V::quads(V::unpacklo16(low01, low23));
    quads[1] = V::quads(V::unpackhi16(low01, low23));
    quads[2] = V::quads(V::unpacklo16(high01, high23));
    quads[3] = V::quads(V::unpackhi16(high01, high23));
  }

  static inline __attribute__((always_inline)) void add_column(I (&acc)[4], const typename V::Quads (&quads)[4], const int8_t* w) {
    ESPALIER_UNROLL for (int q = 0; q < 4; ++q) acc[q] = V::dot(acc[q], quads[q], V::weights(w + q * V::kBytes));
  }

  // One pixel, any window.
  void pixel(const uint8_t* a, const Block& b, uint8_t* out) const {
    I acc[4];
    start(acc, b);
    for (uint32_t g = 0; g < row_groups_; ++g) {
      const Rows rows = rows_of(g);
      for (uint32_t j = 0; j < d_.taps_w; ++j) {
        typename V::Quads quads[4];
        interleave(a + j * d_.tap_w_stride, rows, quads);
        add_column(acc, quads, b.w + (j * row_groups_ + g) * 4 * V::kBytes);
      }
    }
    finish(acc, b, out);
  }

  // X neighbours at once, with the window's width and the stride known: each column is interleaved once and meets the weights of every
  // pixel that it is under.
  template <int X, int KW, int S>
  void pixels(const uint8_t* a, const Block& b, uint8_t* out) const {
    I acc[X][4];
    ESPALIER_UNROLL for (int x = 0; x < X; ++x) start(acc[x], b);
    for (uint32_t g = 0; g < row_groups_; ++g) {
      const Rows rows = rows_of(g);
      add_columns<X, KW, S, 0>(acc, a, rows, b.w + g * 4 * V::kBytes);
    }
    ESPALIER_UNROLL for (int x = 0; x < X; ++x) finish(acc[x], b, out + x * d_.out_m_stride);
  }

  // From column C on; unrolled by recursion, so that every index is a constant and the sums stay in registers.
  template <int X, int KW, int S, int C>
  inline __attribute__((always_inline)) void add_columns(I (&acc)[X][4], const uint8_t* a, const Rows& rows, const int8_t* w) const {
    if constexpr (C < (X - 1) * S + KW) {
      typename V::Quads quads[4];
      interleave(a + C * d_.tap_w_stride, rows, quads);
      add_to<X, KW, S, C, 0>(acc, quads, w);
      add_columns<X, KW, S, C + 1>(acc, a, rows, w);
    }
  }

  template <int X, int KW, int S, int C, int P>
  inline __attribute__((always_inline)) void add_to(I (&acc)[X][4], const typename V::Quads (&quads)[4], const int8_t* w) const {
    if constexpr (P < X) {
      constexpr int kTap = C - P * S;
      if constexpr (kTap >= 0 && kTap < KW) add_column(acc[P], quads, w + kTap * row_groups_ * 4 * V::kBytes);
      add_to<X, KW, S, C, P + 1>(acc, quads, w);
    }
  }

  void start(I (&acc)[4], const Block& b) const {
    ESPALIER_UNROLL for (int q = 0; q < 4; ++q) acc[q] = V::load(d_.requantize->bias.data() + b.channel + q * V::kLanes);
  }

  void finish(I (&acc)[4], const Block& b, uint8_t* out) const {
    requantizer_.round(acc, b.channel);
    V::store(out, requantizer_.narrow(acc), b.count);
  }

  const DepthwiseArgs& d_;
  const Requantizer<V> requantizer_;
  const uint32_t row_groups_;
  const size_t block_bytes_;
};

template <class V>
void vector_depthwise(const DepthwiseArgs& args) {
  Depthwise<V>(args).run();
}

}  // namespace
}  // namespace espalier
