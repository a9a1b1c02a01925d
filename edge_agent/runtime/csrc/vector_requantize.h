// Accumulators to stored bytes with vectors of any width: the tail that all vector kernels share.
//
// Rounding first and clamping afterwards gives the same as the order in docs/format.md, because the bounds are integers and rounding is
// monotone. So the clamp can happen while the values are narrowed: int32 to int16 and int16 to bytes saturate, and where the bounds are those
// of a byte nothing is left to clamp. Only a product too large for int32 must be caught before its conversion, and only on the
// positive side: x86 gives INT32_MIN for either, which saturates to the lower bound. Multipliers below 2 give no such product.
//
// Everything in the vector_*.h headers has internal linkage: each instruction set compiles its own copy with its own flags, and the linker
// must never take one for another.
#pragma once

#include "kernels.h"

// For loops over the registers of a tile. GCC keeps an array of vectors in memory unless all its indices are constants early.
#define ESPALIER_UNROLL _Pragma("GCC unroll 16")

namespace espalier {
namespace {

template <class V>
class Requantizer {
 public:
  using I = typename V::I;

  explicit Requantizer(const RequantizeParams& p)
      : multiplier_(p.multiplier.data()), right_(p.right.data()), half_(p.half.data()), left_(p.left.data()), bound_(p.bound.data()),
        is_shift_(p.is_shift), has_left_shift_(p.has_left_shift), fits_int32_(p.fits_int32), is_full_range_(p.is_full_range()), high_(V::set1_float(static_cast<float>(p.high))),
        zero_(V::set1_16(p.zero)), byte_min_(V::set1_8(p.low + p.zero)), byte_max_(V::set1_8(p.high + p.zero)) {}

  // Replaces sums, biases included, of the channels from `channel` on by what they are rounded to, without the zero point.
  template <int N>
  void round(I (&acc)[N], size_t channel) const {
    round_pixels<1>(&acc, channel);
  }

  // The same for M pixels.
  template <int M, int N>
  void round_pixels(I (*acc)[N], size_t channel) const {
    if (fits_int32_) {
      ESPALIER_UNROLL for (int n = 0; n < N; ++n) {
        const typename V::F multiplier = V::load_float(multiplier_ + channel + n * V::kLanes);
        ESPALIER_UNROLL for (int m = 0; m < M; ++m) acc[m][n] = V::to_int(V::mul(V::to_float(acc[m][n]), multiplier));
      }
      return;
    }
    ESPALIER_UNROLL for (int n = 0; n < N; ++n) {
      ESPALIER_UNROLL for (int m = 0; m < M; ++m) acc[m][n] = round_one(acc[m][n], channel + n * V::kLanes);
    }
  }

  // The same where all elements share the first channel's parameters.
  template <int N>
  void round_shared(I (&acc)[N]) const {
    if (fits_int32_) {
      const typename V::F multiplier = V::load_float(multiplier_);
      ESPALIER_UNROLL for (int i = 0; i < N; ++i) acc[i] = V::to_int(V::mul(V::to_float(acc[i]), multiplier));
      return;
    }
    ESPALIER_UNROLL for (int i = 0; i < N; ++i) acc[i] = round_one(acc[i], 0);
  }

  // The same where all elements are of one channel.
  template <int N>
  void round_channel(I (&acc)[N], size_t channel) const {
    if (!is_shift_) {
      const typename V::F multiplier = V::set1_float(multiplier_[channel]);
      if (fits_int32_) {
        ESPALIER_UNROLL for (int i = 0; i < N; ++i) acc[i] = V::to_int(V::mul(V::to_float(acc[i]), multiplier));
        return;
      }
      ESPALIER_UNROLL for (int i = 0; i < N; ++i) acc[i] = V::to_int(V::min(V::mul(V::to_float(acc[i]), multiplier), high_));
      return;
    }
    const I bound = V::set1_32(bound_[channel]), half = V::set1_32(half_[channel]);
    const I right = V::set1_32(right_[channel]), left = V::set1_32(left_[channel]);
    ESPALIER_UNROLL for (int i = 0; i < N; ++i) {
      const I bounded = V::max32(V::min32(acc[i], bound), V::sub32(V::zero(), bound));
      acc[i] = V::shift_left(V::shift_right(V::add32(bounded, half), right), left);
    }
  }

  // Up to four vectors to bytes. 128-bit lane L of the result holds lane L of each vector in turn: V::in_order undoes that for vectors of
  // neighbours, and vectors that were made by unpacking bytes come out in order by themselves.
  I narrow(I a, I b, I c, I d) const {
    const I low = V::adds16(V::packs32(a, b), zero_), high = V::adds16(V::packs32(c, d), zero_);
    const I bytes = V::packus16(low, high);
    return is_full_range_ ? bytes : V::min8u(V::max8u(bytes, byte_min_), byte_max_);
  }

  template <int N>
  I narrow(const I (&v)[N]) const {
    return narrow(v[0], v[N > 1 ? 1 : 0], v[N > 2 ? 2 : 0], v[N > 3 ? 3 : N > 2 ? 2 : N - 1]);
  }

 private:
  I round_one(I acc, size_t channel) const {
    if (!is_shift_) return V::to_int(V::min(V::mul(V::to_float(acc), V::load_float(multiplier_ + channel)), high_));
    if (has_left_shift_) {
      const I bound = V::load(bound_ + channel);
      acc = V::max32(V::min32(acc, bound), V::sub32(V::zero(), bound));
    }
    acc = V::shift_right(V::add32(acc, V::load(half_ + channel)), V::load(right_ + channel));
    return has_left_shift_ ? V::shift_left(acc, V::load(left_ + channel)) : acc;
  }

  const float* multiplier_;
  const int32_t *right_, *half_, *left_, *bound_;
  bool is_shift_, has_left_shift_, fits_int32_, is_full_range_;
  typename V::F high_;
  I zero_, byte_min_, byte_max_;
};

}  // namespace
}  // namespace espalier
