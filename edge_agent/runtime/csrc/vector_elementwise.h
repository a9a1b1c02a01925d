// Add, pools and input quantization with vectors.
#pragma once

#include "vector_requantize.h"

namespace espalier {
namespace {

// Bytes widened to int32, in the order that `Requantizer::narrow` undoes.
template <class V>
void widen(typename V::I bytes, typename V::I (&out)[4]) {
  const typename V::I zero = V::zero();
  const typename V::I low = V::unpacklo8(bytes, zero), high = V::unpackhi8(bytes, zero);
  out[0] = V::unpacklo16(low, zero);
  out[1] = V::unpackhi16(low, zero);
  out[2] = V::unpacklo16(high, zero);
  out[3] = V::unpackhi16(high, zero);
}

// A multiplier of up to 24 bits times a byte is two products of int16, one shifted: m = (m >> 12) * 2^12 + (m & 4095).
template <class V>
void vector_add(const AddArgs& args) {
  using I = typename V::I;
  const auto pair = [](int32_t a, int32_t b) {
    return V::set1_32(static_cast<int32_t>((static_cast<uint32_t>(b) << 16) | (static_cast<uint32_t>(a) & 0xFFFF)));
  };
  const I low = pair(args.multiplier_a & 4095, args.multiplier_b & 4095);
  const I high = pair(args.multiplier_a >> 12, args.multiplier_b >> 12);
  const Requantizer<V> requantizer(*args.requantize);
  const I bias = V::set1_32(args.requantize->bias[0]), zero = V::zero();
  for (size_t i = 0; i < args.elements; i += V::kBytes) {
    const I a = V::load(args.a + i), b = V::load(args.b + i);
    const I ab[2] = {V::unpacklo8(a, b), V::unpackhi8(a, b)};
    I acc[4];
    ESPALIER_UNROLL for (int q = 0; q < 4; ++q) {
      const I x = q % 2 == 0 ? V::unpacklo8(ab[q / 2], zero) : V::unpackhi8(ab[q / 2], zero);
      const I shifted = V::template shift_left_by<12>(V::madd16(x, high));
      acc[q] = V::add32(V::add32(V::madd16(x, low), shifted), bias);
    }
    requantizer.round_shared(acc);
    const size_t left = args.elements - i;
    V::store(args.out + i, requantizer.narrow(acc), left < V::kBytes ? static_cast<uint32_t>(left) : V::kBytes);
  }
}

struct TapRange {
  uint32_t begin, end;
};

// The taps of one output position that lie inside the map.
static inline TapRange taps_inside(uint32_t position, uint32_t stride, uint32_t pad, uint32_t kernel, uint32_t size) {
  const int64_t start = static_cast<int64_t>(position) * stride - pad;
  const int64_t end = start + kernel < size ? start + kernel : size;
  return {static_cast<uint32_t>(start > 0 ? start : 0), static_cast<uint32_t>(end > 0 ? end : 0)};
}

// Calls `block(first tap, row stride, rows, columns, channel, count, out)` for every output position and block of channels.
template <class V, class Block>
void for_each_window(const PoolArgs& args, Block block) {
  const Window& w = args.window;
  const size_t row_bytes = static_cast<size_t>(args.width) * args.channels;
  for (uint32_t y = 0; y < args.out_height; ++y) {
    const TapRange rows = taps_inside(y, w.stride_h, w.top, w.kernel_h, args.height);
    for (uint32_t x = 0; x < args.out_width; ++x) {
      const TapRange columns = taps_inside(x, w.stride_w, w.left, w.kernel_w, args.width);
      const uint8_t* first = args.a + rows.begin * row_bytes + static_cast<size_t>(columns.begin) * args.channels;
      uint8_t* out = args.out + (static_cast<size_t>(y) * args.out_width + x) * args.channels;
      for (uint32_t c = 0; c < args.channels; c += V::kBytes) {
        const uint32_t count = args.channels - c < V::kBytes ? args.channels - c : V::kBytes;
        block(first + c, row_bytes, rows.end - rows.begin, columns.end - columns.begin, count, out + c);
      }
    }
  }
}

template <class V>
void vector_max_pool(const PoolArgs& args) {
  const uint32_t channels = args.channels;
  for_each_window<V>(args, [channels](const uint8_t* first, size_t row_bytes, uint32_t rows, uint32_t columns, uint32_t count, uint8_t* out) {
    typename V::I largest = V::zero();  // the stored byte of -128, the padding
    for (uint32_t i = 0; i < rows; ++i) {
      for (uint32_t j = 0; j < columns; ++j) {
        largest = V::max8u(largest, V::load(first + i * row_bytes + static_cast<size_t>(j) * channels));
      }
    }
    V::store(out, largest, count);
  });
}

template <class V>
void vector_average_pool(const PoolArgs& args) {
  using I = typename V::I;
  const Requantizer<V> requantizer(*args.requantize);
  const I reciprocal = V::set1_32(args.reciprocal);
  for_each_window<V>(args, [&](const uint8_t* first, size_t row_bytes, uint32_t rows, uint32_t columns, uint32_t count, uint8_t* out) {
    I acc[4];
    ESPALIER_UNROLL for (int q = 0; q < 4; ++q) acc[q] = V::set1_32(-static_cast<int32_t>(rows * columns) * args.input_zero);
    for (uint32_t i = 0; i < rows; ++i) {
      for (uint32_t j = 0; j < columns; ++j) {
        I x[4];
        widen<V>(V::load(first + i * row_bytes + static_cast<size_t>(j) * args.channels), x);
        ESPALIER_UNROLL for (int q = 0; q < 4; ++q) acc[q] = V::add32(acc[q], x[q]);
      }
    }
    ESPALIER_UNROLL for (int q = 0; q < 4; ++q) acc[q] = V::mul32(acc[q], reciprocal);
    requantizer.round_shared(acc);
    V::store(out, requantizer.narrow(acc), count);
  });
}

template <class V>
void vector_quantize_float(const float* x, float multiplier, int32_t zero_point, size_t elements, uint8_t* out) {
  const typename V::F m = V::set1_float(multiplier), high = V::set1_float(static_cast<float>(127 - zero_point));
  const typename V::I zero = V::set1_16(zero_point + kByteOffset);
  size_t i = 0;
  for (; i + 4 * V::kLanes <= elements; i += 4 * V::kLanes) {
    typename V::I v[4];
    ESPALIER_UNROLL for (int q = 0; q < 4; ++q) v[q] = V::to_int(V::min(V::mul(V::load_float(x + i + q * V::kLanes), m), high));
    const typename V::I low = V::adds16(V::packs32(v[0], v[1]), zero), rest = V::adds16(V::packs32(v[2], v[3]), zero);
    V::store(out + i, V::in_order(V::packus16(low, rest)), V::kBytes);
  }
  kPortable.quantize_float(x + i, multiplier, zero_point, elements - i, out + i);
}

}  // namespace
}  // namespace espalier
