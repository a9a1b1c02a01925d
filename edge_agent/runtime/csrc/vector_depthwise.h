// Depthwise convolution with dot products: four rows of the window are interleaved byte by byte, so that a vector holds four taps of each
// channel, and one instruction does what takes four multiplications else.
//
// W is packed [block of channels][column][rows / 4][quarter][..][4] in the order that interleaving gives, see `pack_depthwise_quads`. Maps of few
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
      if (d_.taps_w == 3 && d_.m_stride == d_.tap_w_stride) {
        run_block<3, 1>(c, block, count);
      } else if (d_.taps_w == 3 && d_.m_stride == 2 * d_.tap_w_stride) {
        run_block<3, 2>(c, block, count);
      } else {
        run_block<0, 0>(c, block, count);
      }
    }
  }

 private:
  static constexpr uint32_t kTile = 4;

  void run_flat() const {
    const uint32_t length = d_.m * d_.channels;
    for (uint32_t row = 0; row < d_.rows; ++row) {
      const uint8_t* a = d_.a + row * d_.row_stride;
      uint8_t* out = d_.out + row * d_.out_row_stride;
      for (uint32_t at = 0; at < length; at += V::kBytes) {
        const uint32_t count = length - at < V::kBytes ? length - at : V::kBytes;
        pixel(a + at, d_.w, 0, count, out + at);
      }
    }
  }

  // One block of channels over all pixels. With the window's width and the stride known, columns are interleaved once for `kTile` pixels.
  template <int KW, int S>
  void run_block(uint32_t c, uint32_t block, uint32_t count) const {
    const int8_t* w = d_.w + block * block_bytes_;
    for (uint32_t row = 0; row < d_.rows; ++row) {
      const uint8_t* a = d_.a + row * d_.row_stride + c;
      uint8_t* out = d_.out + row * d_.out_row_stride + c;
      uint32_t m = 0;
      if constexpr (KW > 0) {
        for (; m + kTile <= d_.m; m += kTile) {
          pixels<KW, S>(a + m * d_.m_stride, w, block * V::kBytes, count, out + m * d_.out_m_stride);
        }
      }
      for (; m < d_.m; ++m) pixel(a + m * d_.m_stride, w, block * V::kBytes, count, out + m * d_.out_m_stride);
    }
  }

  // Rows 4g to 4g + 3 of a column, interleaved: quads[q] has four taps of each of the channels 4q to 4q + 3 of every 16. Rows beyond the
  // window meet weights of 0; the first row stands in for them, so that nothing outside the map is read.
  void interleave(const uint8_t* column, uint32_t group, typename V::Quads (&quads)[4]) const {
    I rows[4];
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = 4 * group + i;
      rows[i] = V::load(column + (row < d_.taps_h ? row : 0) * d_.tap_h_stride);
    }
    const I low01 = V::unpacklo8(rows[0], rows[1]), high01 = V::unpackhi8(rows[0], rows[1]);
    const I low23 = V::unpacklo8(rows[2], rows[3]), high23 = V::unpackhi8(rows[2], rows[3]);
    quads[0] = V::quads(V::unpacklo16(low01, low23));
    quads[1] = V::quads(V::unpackhi16(low01, low23));
    quads[2] = V::quads(V::unpacklo16(high01, high23));
    quads[3] = V::quads(V::unpackhi16(high01, high23));
  }

  void pixel(const uint8_t* a, const int8_t* w, uint32_t channel, uint32_t count, uint8_t* out) const {
    I acc[4];
    start(acc, channel);
    for (uint32_t j = 0; j < d_.taps_w; ++j) {
      for (uint32_t g = 0; g < row_groups_; ++g, w += 4 * V::kBytes) {
        typename V::Quads quads[4];
        interleave(a + j * d_.tap_w_stride, g, quads);
        for (int q = 0; q < 4; ++q) acc[q] = V::dot(acc[q], quads[q], V::weights(w + q * V::kBytes));
      }
    }
    finish(acc, channel, count, out);
  }

  template <int KW, int S>
  void pixels(const uint8_t* a, const int8_t* w, uint32_t channel, uint32_t count, uint8_t* out) const {
    constexpr int kColumns = (kTile - 1) * S + KW;
    I acc[kTile][4];
    for (uint32_t x = 0; x < kTile; ++x) start(acc[x], channel);
    for (uint32_t g = 0; g < row_groups_; ++g) {
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) {
        typename V::Quads quads[4];
        interleave(a + column * d_.tap_w_stride, g, quads);
#pragma GCC unroll 4
        for (int x = 0; x < static_cast<int>(kTile); ++x) {
          const int j = column - x * S;
          if (j < 0 || j >= KW) continue;
          const int8_t* tap = w + (j * row_groups_ + g) * 4 * V::kBytes;
          for (int q = 0; q < 4; ++q) acc[x][q] = V::dot(acc[x][q], quads[q], V::weights(tap + q * V::kBytes));
        }
      }
    }
    for (uint32_t x = 0; x < kTile; ++x) finish(acc[x], channel, count, out + x * d_.out_m_stride);
  }

  void start(I (&acc)[4], uint32_t channel) const {
    for (int q = 0; q < 4; ++q) acc[q] = V::load(d_.requantize->bias.data() + channel + q * V::kLanes);
  }

  void finish(I (&acc)[4], uint32_t channel, uint32_t count, uint8_t* out) const {
    requantizer_.round(acc, channel);
    V::store(out, requantizer_.narrow(acc), count);
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
