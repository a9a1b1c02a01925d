#include "pack.h"

#include <cstdlib>
#include <cstring>

namespace espalier {
namespace {

// Channel at each position of a block: position (quarter, lane, i) has channel 16 * lane + 4 * quarter + i of the block. Beyond the channels,
// they start again where they fill the block evenly; else there is none, and the entry is UINT32_MAX.
std::vector<uint32_t> depthwise_order(uint32_t channels, uint32_t block) {
  const bool repeats = channels < block && block % channels == 0;
  std::vector<uint32_t> order;
  for (uint32_t base = 0; base < channels; base += block) {
    for (uint32_t quarter = 0; quarter < 4; ++quarter) {
      for (uint32_t i = 0; i < block / 4; ++i) {
        const uint32_t channel = base + 16 * (i / 4) + 4 * quarter + i % 4;
        order.push_back(channel < channels ? channel : repeats ? channel % channels : UINT32_MAX);
      }
    }
  }
  return order;
}

template <class T>
Aligned<T> reorder(const Aligned<T>& values, const std::vector<uint32_t>& order) {
  Aligned<T> ordered;
  if (values.empty()) return ordered;
  for (const uint32_t channel : order) ordered.push_back(channel == UINT32_MAX ? T{} : values[channel]);
  return ordered;
}

// With KR known, a copy of KR bytes is one instruction.
template <size_t KR>
void pack_runs(const int8_t* w, uint32_t n, uint32_t taps, uint32_t k, GemmLayout layout, int8_t* packed) {
  const uint32_t nr = layout.nr, blocks = (n + nr - 1) / nr;
  const size_t steps = (k + KR - 1) / KR, piece = size_t{nr} * KR;
  for (uint32_t first = 0, group; first < blocks; first += group) {
    group = group_of_blocks(first, blocks, layout.max_blocks);
    const uint32_t end = std::min((first + group) * nr, n);
    for (uint32_t channel = first * nr; channel < end; ++channel) {
      int8_t* base = packed + first * taps * steps * piece + (channel / nr - first) * piece + size_t{channel % nr} * KR;
      const int8_t* run = w + size_t{channel} * taps * k;
      for (size_t tap = 0; tap < taps; ++tap, run += k) {
        int8_t* out = base + tap * steps * group * piece;
        size_t i = 0;
        for (; i + KR <= k; i += KR, out += group * piece) std::memcpy(out, run + i, KR);
        std::memcpy(out, run + i, k - i);
      }
    }
  }
}

}  // namespace

Aligned<int8_t> pack_gemm(const int8_t* w, uint32_t n, uint32_t taps, uint32_t k, GemmLayout layout) {
  if (layout.joins_taps) {
    k *= taps;
    taps = 1;
  }
  const uint32_t nr = layout.nr, kr = layout.kr, blocks = (n + nr - 1) / nr;
  const size_t steps = (k + kr - 1) / kr;
  Aligned<int8_t> packed(blocks * taps * steps * nr * kr + kOverread, 0);
  switch (kr) {
    case 2: pack_runs<2>(w, n, taps, k, layout, packed.data()); break;
    case 4: pack_runs<4>(w, n, taps, k, layout, packed.data()); break;
    case 16: pack_runs<16>(w, n, taps, k, layout, packed.data()); break;
    default: std::abort();  // a path came without its line here
  }
  return packed;
}

Aligned<int8_t> pack_depthwise(const int8_t* w, uint32_t channels, uint32_t taps_h, uint32_t taps_w, uint32_t block) {
  const size_t taps = static_cast<size_t>(taps_h) * taps_w;
  if (block == 0) {
    Aligned<int8_t> packed(channels * taps + kOverread, 0);
    for (size_t c = 0; c < channels; ++c) {
      for (size_t t = 0; t < taps; ++t) packed[t * channels + c] = w[c * taps + t];
    }
    return packed;
  }
  const std::vector<uint32_t> order = depthwise_order(channels, block);
  const size_t groups = (taps_h + 3) / 4;
  Aligned<int8_t> packed(order.size() * 4 * groups * taps_w + kOverread, 0);
  for (size_t at = 0; at < order.size(); ++at) {
    if (order[at] == UINT32_MAX) continue;
    const size_t base = at / block * block * groups * taps_w;
    for (size_t i = 0; i < taps_h; ++i) {
      for (size_t j = 0; j < taps_w; ++j) {
        const size_t group = base + (j * groups + i / 4) * block;
        packed[(group + at % block) * 4 + i % 4] = w[order[at] * taps + i * taps_w + j];
      }
    }
  }
  return packed;
}

RequantizeParams order_for_depthwise(const RequantizeParams& params, uint32_t channels, uint32_t block) {
  if (block == 0) return params;
  const std::vector<uint32_t> order = depthwise_order(channels, block);
  RequantizeParams ordered = params;
  ordered.bias = reorder(params.bias, order);
  ordered.multiplier = reorder(params.multiplier, order);
  ordered.right = reorder(params.right, order);
  ordered.half = reorder(params.half, order);
  ordered.left = reorder(params.left, order);
  ordered.bound = reorder(params.bound, order);
  return ordered;
}

}  // namespace espalier
