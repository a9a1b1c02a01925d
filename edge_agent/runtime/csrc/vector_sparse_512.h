// What vector_sparse.h needs beyond the other vector kernels, with 512-bit vectors.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace espalier {
namespace {

template <class V>
struct Sparse512 : V {
  using I = __m512i;
  static constexpr uint32_t kSparseVectors = 6;  // by 4 channels: 24 sums of 32 registers

  static I unpacklo32(I a, I b) { return _mm512_unpacklo_epi32(a, b); }
  static I unpackhi32(I a, I b) { return _mm512_unpackhi_epi32(a, b); }
  static I unpacklo64(I a, I b) { return _mm512_unpacklo_epi64(a, b); }
  static I unpackhi64(I a, I b) { return _mm512_unpackhi_epi64(a, b); }

  static void store_all(uint8_t* out, I x) { _mm512_storeu_si512(out, x); }  // unlike a masked store, later loads need not wait for it
  static typename V::Weights broadcast_weights(const int8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return V::weights_of(_mm512_set1_epi32(quad));
  }
  static void repeat_quad(const uint8_t* p, uint8_t* out) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_set1_epi32(quad));
  }

  // Group i from `at[i]`.
  static I load_each(const uint8_t* const (&at)[4]) {
    const auto part = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
    I x = _mm512_castsi128_si512(part(at[0]));
    x = _mm512_inserti32x4(x, part(at[1]), 1);
    x = _mm512_inserti32x4(x, part(at[2]), 2);
    return _mm512_inserti32x4(x, part(at[3]), 3);
  }
  // Group i from the pixel 4i.
  static I load_groups(const uint8_t* const* pixels, size_t offset) {
    return load_each({pixels[0] + offset, pixels[4] + offset, pixels[8] + offset, pixels[12] + offset});
  }
  // Group i to the pixel 4i, where `first + 4i` is less than `pixels_left`.
  static void store_groups(uint8_t* const* pixels, size_t offset, I x, uint32_t bytes, uint32_t first, uint32_t pixels_left) {
    const auto mask = static_cast<__mmask16>((1u << bytes) - 1);
    const auto store = [&](uint32_t i, __m128i part) {
      if (first + 4 * i >= pixels_left) return;
      if (bytes == 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels[4 * i] + offset), part);
      } else {
        _mm_mask_storeu_epi8(pixels[4 * i] + offset, mask, part);
      }
    };
    store(0, _mm512_castsi512_si128(x));
    store(1, _mm512_extracti32x4_epi32(x, 1));
    store(2, _mm512_extracti32x4_epi32(x, 2));
    store(3, _mm512_extracti32x4_epi32(x, 3));
  }
  // In each group: four channels of four pixels to four pixels of four channels.
  static I transpose_bytes(I x) {
    return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
  }
  static void sum_groups(I x, int32_t* out) {
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sum);
  }
};

}  // namespace
}  // namespace espalier
