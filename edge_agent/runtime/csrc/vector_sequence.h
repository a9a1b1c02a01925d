// Layer norm, softmax and elementwise products with vectors.
#pragma once

#include "sequence_kernels.h"
#include "vector_requantize.h"

namespace espalier {
namespace {

// Four vectors of neighbours at a time: `make` gives the sums from channel c on, `round` brings them to int32 without the zero point.
template <class V, class Make, class Round>
void for_channels(const Requantizer<V>& requantizer, uint8_t* out, uint32_t channels, Make make, Round round) {
  for (uint32_t c = 0; c < channels; c += V::kBytes) {
    typename V::I acc[4];
    ESPALIER_UNROLL for (uint32_t q = 0; q < 4; ++q) acc[q] = make(c + q * V::kLanes);
    round(acc, c);
    const uint32_t left = channels - c;
    V::store(out + c, V::in_order(requantizer.narrow(acc)), left < V::kBytes ? left : V::kBytes);
  }
}

template <class V>
void vector_layer_norm(const LayerNormArgs& args) {
  using I = typename V::I;
  const Requantizer<V> requantizer(*args.requantize);
  const auto channels = static_cast<int32_t>(args.channels);
  for (size_t pixel = 0; pixel < args.pixels; ++pixel) {
    const uint8_t* x = args.x + pixel * args.channels;
    int32_t sum = 0, sum_of_squares = 0;
    for (int32_t c = 0; c < channels; ++c) {
      const int32_t centred = x[c] - args.input_zero;
      sum += centred;
      sum_of_squares += centred * centred;
    }
    const typename V::F inverse = V::set1_float(inverse_deviation(args, sum, sum_of_squares));
    const I scale = V::set1_32(channels), mean = V::set1_32(channels * args.input_zero + sum);
    const auto make = [&](uint32_t c) {
      const I deviation = V::sub32(V::mul32(V::load_bytes(x + c), scale), mean);
      const I normalised = V::to_int(V::mul(V::to_float(deviation), inverse));
      return V::add32(V::mul32(normalised, V::load(args.gain + c)), V::load(args.requantize->bias.data() + c));
    };
    for_channels<V>(requantizer, args.out + pixel * args.channels, args.channels, make,
                    [&](I(&acc)[4], uint32_t c) { requantizer.round(acc, c); });
  }
}

template <class V>
void vector_multiply(const MultiplyArgs& args) {
  using I = typename V::I;
  const Requantizer<V> requantizer(*args.requantize);
  const I a_zero = V::set1_32(args.a_zero), b_zero = V::set1_32(args.b_zero);
  for (size_t i = 0; i < args.runs; ++i) {
    const uint8_t* a = args.a + i * args.run;
    const auto make = [&](uint32_t c) {
      return V::mul32(V::sub32(V::load_bytes(a + c), a_zero), V::sub32(V::load_bytes(args.b + c), b_zero));
    };
    for_channels<V>(requantizer, args.out + i * args.run, static_cast<uint32_t>(args.run), make,
                    [&](I(&acc)[4], uint32_t) { requantizer.round_shared(acc); });
  }
}

// The quotient 255 e / S + 1/2 in float32, its floor taken. That is off by less than 2^-13 where S is at least 2^24: conversions, quotient and
// product err by five halves of 2^-24 of at most 256, halving e by 2^-16, the sum by 2^-16. So where no quotient of a pixel is within 2^-12 of an
// integer, every floor is the right one; the rare pixel where one is takes the exact way.
template <class V>
void vector_softmax(const SoftmaxArgs& args, uint8_t* scratch) {
  using I = typename V::I;
  if (args.table[0] < 1u << 24) return kPortableSequence.softmax(args, scratch);
  auto* exponentials = reinterpret_cast<uint32_t*>(scratch);  // of one pixel
  const typename V::F half = V::set1_float(0.5f), close = V::set1_float(0x1p-12f);
  const I zero = V::zero();
  for (size_t pixel = 0; pixel < args.pixels; ++pixel) {
    const uint8_t* x = args.x + pixel * args.channels;
    uint8_t* out = args.out + pixel * args.channels;
    uint8_t largest = 0;
    for (uint32_t c = 0; c < args.channels; ++c) largest = x[c] > largest ? x[c] : largest;
    const I top = V::set1_32(largest);
    for (uint32_t c = 0; c < args.channels; c += V::kLanes) {  // bytes of the next pixel may be larger: their index is clamped
      const I index = V::max32(V::sub32(top, V::load_bytes(x + c)), zero);
      const I e = V::gather(args.table, index);
      __builtin_memcpy(exponentials + c, &e, sizeof e);
    }
    uint64_t sum = 0;
    for (uint32_t c = 0; c < args.channels; ++c) sum += exponentials[c];
    const typename V::F scale = V::set1_float(static_cast<float>(510.0 / static_cast<double>(sum)));
    bool is_close = false;
    for (uint32_t c = 0; c < args.channels; c += V::kBytes) {
      I quotient[4];
      ESPALIER_UNROLL for (uint32_t q = 0; q < 4; ++q) {
        const I e = V::load(exponentials + c + q * V::kLanes);
        const typename V::F value = V::add(V::mul(V::to_float(V::template shift_right_by<1>(e)), scale), half);
        const uint32_t at = c + q * V::kLanes;
        is_close |= V::any_near_integer(value, close, at < args.channels ? args.channels - at : 0);
        quotient[q] = V::truncate(value);
      }
      const uint32_t left = args.channels - c;
      const I bytes = V::packus16(V::packs32(quotient[0], quotient[1]), V::packs32(quotient[2], quotient[3]));
      V::store(out + c, V::in_order(bytes), left < V::kBytes ? left : V::kBytes);
    }
    if (is_close) {
      SoftmaxArgs one = args;
      one.x = x, one.out = out, one.pixels = 1;
      kPortableSequence.softmax(one, scratch);
    }
  }
}

}  // namespace
}  // namespace espalier
