// The vectors of AVX-512 with VNNI, which the tile path shares.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace espalier {
namespace {

struct V {
  using I = __m512i;
  using F = __m512;
  using Weights = I;
  using Quads = I;
  static constexpr uint32_t kLanes = 16, kBytes = 64;
  static constexpr int kMaxBlocks = 4;
  static constexpr int kChains = 16, kDepthwiseTile = 4;
  // 32 registers: sums, a block's weights, one broadcast.
  static constexpr int tile_m(int blocks) { return blocks == 4 ? 6 : blocks == 3 ? 8 : 12; }

  static I load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(uint8_t* out, I bytes, uint32_t count) {
    _mm512_mask_storeu_epi8(out, count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1, bytes);
  }
  static I zero() { return _mm512_setzero_si512(); }
  static I set1_32(int32_t v) { return _mm512_set1_epi32(v); }
  static I set1_16(int32_t v) { return _mm512_set1_epi16(static_cast<int16_t>(v)); }
  static I set1_8(int32_t v) { return _mm512_set1_epi8(static_cast<char>(v)); }

  static Weights weights(const int8_t* p) { return load(p); }
  static Weights weights_of(I w) { return w; }
  static Quads quads(I interleaved) { return interleaved; }
  static Quads broadcast_quad(const uint8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return _mm512_set1_epi32(quad);
  }
  static I dot(I acc, Quads x, Weights w) { return _mm512_dpbusd_epi32(acc, x, w); }
  // GCC 12 copies every sum to another register and back around the intrinsic where there are many of them.
  static void add_dot(I& acc, Quads x, Weights w) { __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w)); }

  static I dot_small(I acc, I x, I w) { return _mm512_dpbusd_epi32(acc, x, w); }

  static I repeat_4_bytes(const uint8_t* p) { return broadcast_quad(p); }
  static I and_bits(I a, I b) { return _mm512_and_si512(a, b); }
  static I or_bits(I a, I b) { return _mm512_or_si512(a, b); }
  // Every 16 bits up by `by` bits, or down where it is negative.
  static I move_bits(I a, int by) {
    return by >= 0 ? _mm512_slli_epi16(a, static_cast<unsigned>(by)) : _mm512_srli_epi16(a, static_cast<unsigned>(-by));
  }

  static I add32(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub32(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I mul32(I a, I b) { return _mm512_mullo_epi32(a, b); }
  static I min32(I a, I b) { return _mm512_min_epi32(a, b); }
  static I max32(I a, I b) { return _mm512_max_epi32(a, b); }
  static I shift_right(I a, I count) { return _mm512_srav_epi32(a, count); }
  static I shift_left(I a, I count) { return _mm512_sllv_epi32(a, count); }
  template <int N>
  static I shift_left_by(I a) {
    return _mm512_slli_epi32(a, N);
  }
  static I madd16(I a, I b) { return _mm512_madd_epi16(a, b); }
  static I packs32(I a, I b) { return _mm512_packs_epi32(a, b); }
  static I adds16(I a, I b) { return _mm512_adds_epi16(a, b); }
  static I packus16(I a, I b) { return _mm512_packus_epi16(a, b); }
  static I min8u(I a, I b) { return _mm512_min_epu8(a, b); }
  static I max8u(I a, I b) { return _mm512_max_epu8(a, b); }
  static I unpacklo8(I a, I b) { return _mm512_unpacklo_epi8(a, b); }
  static I unpackhi8(I a, I b) { return _mm512_unpackhi_epi8(a, b); }
  static I unpacklo16(I a, I b) { return _mm512_unpacklo_epi16(a, b); }
  static I unpackhi16(I a, I b) { return _mm512_unpackhi_epi16(a, b); }
  static I in_order(I bytes) {
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
  }

  static I load_bytes(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static I gather(const uint32_t* table, I index) { return _mm512_i32gather_epi32(index, table, 4); }
  template <int N>
  static I shift_right_by(I a) {  // zeros come in
    return _mm512_srli_epi32(a, N);
  }

  static F set1_float(float v) { return _mm512_set1_ps(v); }
  static F load_float(const float* p) { return _mm512_loadu_ps(p); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm512_cvtps_epi32(a); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static I truncate(F a) { return _mm512_cvttps_epi32(a); }
  // Whether one of the first `valid` values is closer to an integer than `close`.
  static bool any_near_integer(F a, F close, uint32_t valid) {
    const F distance = _mm512_abs_ps(_mm512_sub_ps(a, _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
    const auto near = static_cast<uint32_t>(_mm512_cmp_ps_mask(distance, close, _CMP_LT_OQ));
    return (near & (valid >= kLanes ? 0xFFFFu : (1u << valid) - 1)) != 0;
  }
};

}  // namespace
}  // namespace espalier
