#include "requantize.h"

#include <algorithm>
#include <climits>

namespace espalier {
namespace {

// Value of a per-channel or per-tensor list.
template <class T>
T value_of(const std::vector<T>& list, uint32_t channel) {
  return list.size() == 1 ? list[0] : list[channel];
}

}  // namespace

RequantizeParams prepare_requantize(const Requantize& q, const Tensors& tensors, int32_t zero_point, uint32_t channels,
                                    const std::vector<int32_t>& bias) {
  RequantizeParams p;
  p.is_shift = q.is_shift;
  p.low = q.qmin - zero_point;
  p.high = q.qmax - zero_point;
  p.zero = zero_point + kByteOffset;
  const size_t padded = channels + kChannelPadding;
  p.bias.assign(bias.begin(), bias.end());
  p.bias.resize(padded, 0);
  if (!q.is_shift) {
    p.multiplier.assign(padded, 0.0f);
    for (uint32_t c = 0; c < channels; ++c) p.multiplier[c] = value_of(tensors.float32(q.tensor), c);
    p.fits_int32 = std::all_of(p.multiplier.begin(), p.multiplier.end(), [](float m) { return m < 2.0f; });
    return p;
  }
  p.right.assign(padded, 0);
  p.half.assign(padded, 0);
  p.left.assign(padded, 0);
  p.bound.assign(padded, INT_MAX);
  for (uint32_t c = 0; c < channels; ++c) {
    const int32_t s = value_of(tensors.int8(q.tensor), c);
    if (s > 0) {
      p.right[c] = s;
      p.half[c] = int32_t{1} << (s - 1);
    } else if (s < 0) {
      p.left[c] = -s;
      p.bound[c] = limits::kShiftLeftClamp;
      p.has_left_shift = true;
    }
  }
  return p;
}

}  // namespace espalier
