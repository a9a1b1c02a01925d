// The path that every machine runs: plain loops in the shapes that compilers vectorise for whatever instruction set is the baseline.
//
// The matrix product widens rows of A to int16 once and keeps four of them against each row of W, so that a vectoriser finds
// sums of int16 products (one instruction on x86 since SSE2).
#include <cstring>

#include "kernels.h"
#include "sparse.h"

namespace espalier {
namespace {

constexpr uint32_t kTileM = 4;
constexpr uint32_t kStepK = 16;
constexpr uint32_t kChannelBlock = 64;

size_t padded_k(uint32_t k) { return (k + kStepK - 1) / kStepK * kStepK; }

// A row of accumulators, channel by channel, to stored bytes.
void requantize_row(const int32_t* acc, const RequantizeParams& p, uint32_t channel, uint32_t count, uint8_t* out) {
  if (p.is_shift) {
    for (uint32_t i = 0; i < count; ++i) out[i] = requantize_by_shift(with_bias(acc[i], p, channel + i), p, channel + i);
  } else {
    for (uint32_t i = 0; i < count; ++i) out[i] = requantize_by_multiplier(with_bias(acc[i], p, channel + i), p, channel + i);
  }
}

size_t gemm_scratch_bytes(uint32_t taps, uint32_t k) { return kTileM * padded_k(taps * k) * sizeof(int16_t); }

// One pixel's runs, widened and laid end to end.
void gather(const GemmArgs& args, const uint8_t* a, size_t k_padded, int16_t* out) {
  size_t at = 0;
  for (uint32_t i = 0; i < args.taps_h; ++i) {
    for (uint32_t j = 0; j < args.taps_w; ++j) {
      const uint8_t* run = a + i * args.tap_h_stride + j * args.tap_w_stride;
      for (uint32_t k = 0; k < args.k; ++k) out[at + k] = run[k];
      at += args.k;
    }
  }
  std::memset(out + at, 0, (k_padded - at) * sizeof(int16_t));
}

void dot4(const int16_t* a, const int8_t* w, size_t k, int32_t* acc) {
  const int16_t *a0 = a, *a1 = a + k, *a2 = a + 2 * k, *a3 = a + 3 * k;
  int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (size_t i = 0; i < k; ++i) {
    const int16_t v = w[i];
    s0 += a0[i] * v;
    s1 += a1[i] * v;
    s2 += a2[i] * v;
    s3 += a3[i] * v;
  }
  acc[0] = s0, acc[1] = s1, acc[2] = s2, acc[3] = s3;
}

void gemm_tile(const GemmArgs& args, const int16_t* a, size_t k, uint32_t tile, uint8_t* out) {
  int32_t acc[kTileM][kChannelBlock];
  for (uint32_t n0 = 0; n0 < args.n; n0 += kChannelBlock) {
    const uint32_t count = std::min(kChannelBlock, args.n - n0);
    for (uint32_t i = 0; i < count; ++i) {
      int32_t sums[kTileM];
      dot4(a, args.w + (n0 + i) * k, k, sums);
      for (uint32_t m = 0; m < kTileM; ++m) acc[m][i] = sums[m];
    }
    for (uint32_t m = 0; m < tile; ++m) {
      requantize_row(acc[m], *args.requantize, args.channel + n0, count, out + m * args.out_m_stride + n0);
    }
  }
}

void gemm(const GemmArgs& args, uint8_t* scratch) {
  const size_t k = padded_k(args.taps_h * args.taps_w * args.k);
  auto* a = reinterpret_cast<int16_t*>(scratch);
  for (uint32_t row = 0; row < args.rows; ++row) {
    const uint8_t* in = args.a + row * args.row_stride;
    uint8_t* out = args.out + row * args.out_row_stride;
    for (uint32_t m = 0; m < args.m; m += kTileM) {
      const uint32_t tile = std::min(kTileM, args.m - m);
      for (uint32_t i = 0; i < kTileM; ++i) gather(args, in + (m + std::min(i, tile - 1)) * args.m_stride, k, a + i * k);
      gemm_tile(args, a, k, tile, out + m * args.out_m_stride);
    }
  }
}

void depthwise_block(const DepthwiseArgs& args, const uint8_t* in, uint32_t c0, uint32_t count, uint8_t* out) {
  int32_t acc[kChannelBlock] = {};
  for (uint32_t i = 0; i < args.taps_h; ++i) {
    for (uint32_t j = 0; j < args.taps_w; ++j) {
      const uint8_t* x = in + i * args.tap_h_stride + j * args.tap_w_stride + c0;
      const int8_t* w = args.w + (static_cast<size_t>(i) * args.taps_w + j) * args.channels + c0;
      // A byte times an int8 fits int16: 255 * 128 < 2^15.
      for (uint32_t c = 0; c < count; ++c) acc[c] += static_cast<int16_t>(x[c] * w[c]);
    }
  }
  requantize_row(acc, *args.requantize, c0, count, out + c0);
}

void depthwise(const DepthwiseArgs& args) {
  for (uint32_t row = 0; row < args.rows; ++row) {
    for (uint32_t m = 0; m < args.m; ++m) {
      const uint8_t* in = args.a + row * args.row_stride + m * args.m_stride;
      uint8_t* out = args.out + row * args.out_row_stride + m * args.out_m_stride;
      for (uint32_t c = 0; c < args.channels; c += kChannelBlock) {
        depthwise_block(args, in, c, std::min(kChannelBlock, args.channels - c), out);
      }
    }
  }
}

// The taps of one output position that lie inside the map.
struct Range {
  uint32_t begin, end;
};

Range valid_range(uint32_t position, uint32_t stride, uint32_t pad, uint32_t kernel, uint32_t size) {
  const int64_t start = static_cast<int64_t>(position) * stride - pad;
  const int64_t end = std::min<int64_t>(start + kernel, size);
  return {static_cast<uint32_t>(std::max<int64_t>(start, 0)), static_cast<uint32_t>(std::max<int64_t>(end, 0))};
}

template <class Reduce, class Finish>
void pool(const PoolArgs& args, Reduce reduce, Finish finish) {
  const Window& w = args.window;
  for (uint32_t row = 0; row < args.out_height; ++row) {
    const Range rows = valid_range(row, w.stride_h, w.top, w.kernel_h, args.height);
    for (uint32_t column = 0; column < args.out_width; ++column) {
      const Range columns = valid_range(column, w.stride_w, w.left, w.kernel_w, args.width);
      uint8_t* out = args.out + (static_cast<size_t>(row) * args.out_width + column) * args.channels;
      for (uint32_t c0 = 0; c0 < args.channels; c0 += kChannelBlock) {
        const uint32_t count = std::min(kChannelBlock, args.channels - c0);
        int32_t acc[kChannelBlock] = {};
        for (uint32_t y = rows.begin; y < rows.end; ++y) {
          const uint8_t* x = args.a + (static_cast<size_t>(y) * args.width + columns.begin) * args.channels + c0;
          for (uint32_t i = columns.begin; i < columns.end; ++i, x += args.channels) reduce(acc, x, count);
        }
        const int32_t taps = static_cast<int32_t>((rows.end - rows.begin) * (columns.end - columns.begin));
        finish(acc, taps, c0, count, out + c0);
      }
    }
  }
}

void max_pool(const PoolArgs& args) {  // 0 is the stored byte of -128, the padding
  pool(
      args,
      [](int32_t* acc, const uint8_t* x, uint32_t count) {
        for (uint32_t c = 0; c < count; ++c) acc[c] = std::max<int32_t>(acc[c], x[c]);
      },
      [](const int32_t* acc, int32_t, uint32_t, uint32_t count, uint8_t* out) {
        for (uint32_t c = 0; c < count; ++c) out[c] = static_cast<uint8_t>(acc[c]);
      });
}

void average_pool(const PoolArgs& args) {
  pool(
      args,
      [](int32_t* acc, const uint8_t* x, uint32_t count) {
        for (uint32_t c = 0; c < count; ++c) acc[c] += x[c];
      },
      [&args](int32_t* acc, int32_t taps, uint32_t, uint32_t count, uint8_t* out) {
        for (uint32_t c = 0; c < count; ++c) {
          out[c] = requantize((acc[c] - taps * args.input_zero) * args.reciprocal, *args.requantize, 0);
        }
      });
}

void add(const AddArgs& args) {
  for (size_t i = 0; i < args.elements; ++i) {
    const uint32_t sum = static_cast<uint32_t>(args.multiplier_a) * args.a[i] + static_cast<uint32_t>(args.multiplier_b) * args.b[i];
    args.out[i] = requantize(static_cast<int32_t>(sum), *args.requantize, 0);
  }
}

void lookup(const uint8_t* x, const uint8_t* table, size_t elements, uint8_t* out) {
  for (size_t i = 0; i < elements; ++i) out[i] = table[x[i]];
}

void lookup_channels(const uint8_t* x, const uint8_t* tables, uint32_t channels, size_t elements, uint8_t* out) {
  for (size_t pixel = 0; pixel < elements; pixel += channels) {
    for (size_t c = 0; c < channels; ++c) out[pixel + c] = tables[256 * c + x[pixel + c]];
  }
}

void quantize_float(const float* x, float multiplier, int32_t zero_point, size_t elements, uint8_t* out) {
  const float low = static_cast<float>(-128 - zero_point), high = static_cast<float>(127 - zero_point);
  for (size_t i = 0; i < elements; ++i) {
    const float clamped = std::min(std::max(x[i] * multiplier, low), high);
    out[i] = static_cast<uint8_t>(round_half_even(clamped) + zero_point + kByteOffset);
  }
}

}  // namespace

const Kernels kPortable = {
    "portable",
    [] { return true; },
    uint64_t{1} << 20,
    false,
    {1, kStepK, 1, true},
    gemm_scratch_bytes,
    gemm,
    0,
    depthwise,
    max_pool,
    average_pool,
    add,
    lookup,
    lookup_channels,
    quantize_float,
    &kPortableSparse,
    nullptr,
};

}  // namespace espalier
