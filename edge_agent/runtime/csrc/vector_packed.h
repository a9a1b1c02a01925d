// The linear operator of packed.h with vectors.
#pragma once

#include "packed.h"
#include "vector_requantize.h"

namespace espalier {
namespace {

template <class V, int Bits>
class PackedLinear {
 public:
  using I = typename V::I;

  explicit PackedLinear(const PackedArgs& args)
      : g_(args), requantizer_(*args.requantize), units_((args.k + kUnitK - 1) / kUnitK), excess_(V::set1_32(excess(args))) {}

  void run() const {
    const uint8_t* w = g_.w;
    for (uint32_t n = 0; n < g_.n; n += V::kLanes, w += units_ * kUnitBytes) {
      I acc[4] = {V::sub32(V::load(g_.requantize->bias.data() + n), excess_), V::zero(), V::zero(), V::zero()};
      for (uint32_t unit = 0; unit < units_; ++unit) {
        I steps[kPackedSteps];
        unpack(w + unit * kUnitBytes, steps);
        const uint8_t* x = g_.a + size_t{unit} * kUnitK;
        ESPALIER_UNROLL for (uint32_t s = 0; s < kPackedSteps; ++s) {
          acc[s % 4] = V::dot_small(acc[s % 4], V::repeat_4_bytes(x + 4 * s), steps[s]);
        }
      }
      I sum[1] = {V::add32(V::add32(acc[0], acc[1]), V::add32(acc[2], acc[3]))};
      requantizer_.round(sum, n);
      V::store(g_.out + n, V::in_order(requantizer_.narrow(sum)), g_.n - n < V::kLanes ? g_.n - n : V::kLanes);
    }
  }

 private:
  static constexpr uint32_t kUnitK = kPackedSteps * 4, kVectorBytes = V::kLanes * 4, kUnitBytes = kVectorBytes * Bits;

  static int32_t excess(const PackedArgs& args) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < args.k; ++i) sum += args.a[i];
    return static_cast<int32_t>(sum << (Bits - 1));
  }

  // One plane's part of the weights, its lowest bit at bit `At`.
  template <int Width, int At, bool IsFirst>
  static void unpack_plane(const uint8_t* plane, I (&steps)[kPackedSteps]) {
    const I mask = V::set1_8(((1 << Width) - 1) << At);
    ESPALIER_UNROLL for (int j = 0; j < Width; ++j) {
      const I vector = V::load(plane + j * kVectorBytes);
      ESPALIER_UNROLL for (int i = 0; i < 8 / Width; ++i) {
        const I part = V::and_bits(V::move_bits(vector, At - i * Width), mask);
        I& step = steps[j + i * Width];
        step = IsFirst ? part : V::or_bits(step, part);
      }
    }
  }

  static void unpack(const uint8_t* unit, I (&steps)[kPackedSteps]) {
    if constexpr (Bits == 2 || Bits == 4) {
      unpack_plane<Bits, 0, true>(unit, steps);
    } else if constexpr (Bits == 3) {
      unpack_plane<2, 0, true>(unit, steps);
      unpack_plane<1, 2, false>(unit + 2 * kVectorBytes, steps);
    } else {
      unpack_plane<4, 0, true>(unit, steps);
      unpack_plane<2, 4, false>(unit + 4 * kVectorBytes, steps);
    }
  }

  const PackedArgs& g_;
  const Requantizer<V> requantizer_;
  const uint32_t units_;
  const I excess_;
};

template <class V, int Bits>
void vector_packed_linear(const PackedArgs& args) {
  PackedLinear<V, Bits>(args).run();
}

template <class V>
constexpr PackedKernels vector_packed_kernels() {
  return {V::kLanes, vector_packed_linear<V, 2>, vector_packed_linear<V, 3>, vector_packed_linear<V, 4>, vector_packed_linear<V, 6>};
}

}  // namespace
}  // namespace espalier
