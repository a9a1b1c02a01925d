// What vector_sparse.h needs beyond the other vector kernels, with 256-bit vectors.
#pragma once

#include "vector256.h"

namespace espalier {
namespace {

template <class V>
struct Sparse256 : V {
  using I = __m256i;
  static constexpr uint32_t kSparseVectors = 2;  // by 4 channels: 8 sums of 16 registers

  static I unpacklo32(I a, I b) { return _mm256_unpacklo_epi32(a, b); }
  static I unpackhi32(I a, I b) { return _mm256_unpackhi_epi32(a, b); }
  static I unpacklo64(I a, I b) { return _mm256_unpacklo_epi64(a, b); }
  static I unpackhi64(I a, I b) { return _mm256_unpackhi_epi64(a, b); }

  static void store_all(uint8_t* out, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), x); }
  static typename V::Weights broadcast_weights(const int8_t* p) {
    return V::weights_of(V::broadcast_4_bytes(reinterpret_cast<const uint8_t*>(p)));
  }
  static void repeat_quad(const uint8_t* p, uint8_t* out) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_set1_epi32(quad));
  }

  // Group i from `at[i]`.
  static I load_each(const uint8_t* const (&at)[2]) {
    const auto part = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(part(at[0])), part(at[1]), 1);
  }
  // Group i from the pixel 4i.
  static I load_groups(const uint8_t* const* pixels, size_t offset) { return load_each({pixels[0] + offset, pixels[4] + offset}); }
  // Group i to the pixel 4i, where `first + 4i` is less than `pixels_left`.
  static void store_groups(uint8_t* const* pixels, size_t offset, I x, uint32_t bytes, uint32_t first, uint32_t pixels_left) {
    const auto store = [&](uint32_t i, __m128i part) {
      if (first + 4 * i >= pixels_left) return;
      if (bytes == 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels[4 * i] + offset), part);
        return;
      }
      alignas(16) uint8_t all[16];
      _mm_store_si128(reinterpret_cast<__m128i*>(all), part);
      __builtin_memcpy(pixels[4 * i] + offset, all, bytes);
    };
    store(0, _mm256_castsi256_si128(x));
    store(1, _mm256_extracti128_si256(x, 1));
  }
  // In each group: four channels of four pixels to four pixels of four channels.
  static I transpose_bytes(I x) {
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
  }
  static void sum_groups(I x, int32_t* out) {
    const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sum);
  }
};

}  // namespace
}  // namespace espalier
