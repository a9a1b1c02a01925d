// What the two instruction sets with 256-bit vectors share; each adds its dot product.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace espalier {
namespace {

struct Vector256 {
  using I = __m256i;
  using F = __m256;
  static constexpr uint32_t kLanes = 8, kBytes = 32;

  static I load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void store(uint8_t* out, I bytes, uint32_t count) {
    if (count >= kBytes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
      return;
    }
    alignas(32) uint8_t all[kBytes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(all), bytes);
    __builtin_memcpy(out, all, count);
  }
  static I zero() { return _mm256_setzero_si256(); }
  static I set1_32(int32_t v) { return _mm256_set1_epi32(v); }
  static I set1_16(int32_t v) { return _mm256_set1_epi16(static_cast<int16_t>(v)); }
  static I set1_8(int32_t v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  static I broadcast_4_bytes(const uint8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return _mm256_set1_epi32(quad);
  }

  static I repeat_4_bytes(const uint8_t* p) { return broadcast_4_bytes(p); }
  static I and_bits(I a, I b) { return _mm256_and_si256(a, b); }
  static I or_bits(I a, I b) { return _mm256_or_si256(a, b); }
  // Every 16 bits up by `by` bits, or down where it is negative.
  static I move_bits(I a, int by) { return by >= 0 ? _mm256_slli_epi16(a, by) : _mm256_srli_epi16(a, -by); }

  static I add32(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub32(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I mul32(I a, I b) { return _mm256_mullo_epi32(a, b); }
  static I min32(I a, I b) { return _mm256_min_epi32(a, b); }
  static I max32(I a, I b) { return _mm256_max_epi32(a, b); }
  static I shift_right(I a, I count) { return _mm256_srav_epi32(a, count); }
  static I shift_left(I a, I count) { return _mm256_sllv_epi32(a, count); }
  template <int N>
  static I shift_left_by(I a) {
    return _mm256_slli_epi32(a, N);
  }
  static I madd16(I a, I b) { return _mm256_madd_epi16(a, b); }
  static I packs32(I a, I b) { return _mm256_packs_epi32(a, b); }
  static I adds16(I a, I b) { return _mm256_adds_epi16(a, b); }
  static I packus16(I a, I b) { return _mm256_packus_epi16(a, b); }
  static I min8u(I a, I b) { return _mm256_min_epu8(a, b); }
  static I max8u(I a, I b) { return _mm256_max_epu8(a, b); }
  static I unpacklo8(I a, I b) { return _mm256_unpacklo_epi8(a, b); }
  static I unpackhi8(I a, I b) { return _mm256_unpackhi_epi8(a, b); }
  static I unpacklo16(I a, I b) { return _mm256_unpacklo_epi16(a, b); }
  static I unpackhi16(I a, I b) { return _mm256_unpackhi_epi16(a, b); }
  static I in_order(I bytes) { return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)); }

  static I load_bytes(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
  static I gather(const uint32_t* table, I index) { return _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), index, 4); }
  template <int N>
  static I shift_right_by(I a) {  // zeros come in
    return _mm256_srli_epi32(a, N);
  }

  static F set1_float(float v) { return _mm256_set1_ps(v); }
  static F load_float(const float* p) { return _mm256_loadu_ps(p); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm256_cvtps_epi32(a); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static I truncate(F a) { return _mm256_cvttps_epi32(a); }
  // Whether one of the first `valid` values is closer to an integer than `close`.
  static bool any_near_integer(F a, F close, uint32_t valid) {
    const F distance = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(a, _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
    const auto near = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(distance, close, _CMP_LT_OQ)));
    return (near & (valid >= kLanes ? 0xFFu : (1u << valid) - 1)) != 0;
  }
};

}  // namespace
}  // namespace espalier
