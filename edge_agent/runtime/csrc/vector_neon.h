// What the two NEON paths share; each adds its dot product.
//
// NEON multiplies signed by signed bytes or unsigned by unsigned ones, not one by the other. So stored bytes become q again on their way
// into a product (`signed_products` in kernels.h), by flipping their highest bit.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels.h"

namespace espalier {
namespace {

struct VectorNeon {
  using I = int32x4_t;  // whatever the lanes are: kernels name the width with each operation
  using F = float32x4_t;
  using Weights = int8x16_t;
  using Quads = int8x16_t;
  static constexpr uint32_t kLanes = 4, kBytes = 16;

  static I load(const void* p) { return from8u(vld1q_u8(static_cast<const uint8_t*>(p))); }
  static void store(uint8_t* out, I bytes, uint32_t count) {
    if (count >= kBytes) {
      vst1q_u8(out, as8u(bytes));
      return;
    }
    uint8_t all[kBytes];
    vst1q_u8(all, as8u(bytes));
    __builtin_memcpy(out, all, count);
  }
  static I zero() { return vdupq_n_s32(0); }
  static I set1_32(int32_t v) { return vdupq_n_s32(v); }
  static I set1_16(int32_t v) { return from16(vdupq_n_s16(static_cast<int16_t>(v))); }
  static I set1_8(int32_t v) { return from8u(vdupq_n_u8(static_cast<uint8_t>(v))); }

  static Weights weights(const int8_t* p) { return vld1q_s8(p); }
  static Quads quads(I interleaved) { return vreinterpretq_s8_u8(veorq_u8(as8u(interleaved), vdupq_n_u8(0x80))); }
  static Quads broadcast_quad(const uint8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return quads(vdupq_n_s32(quad));
  }

  static I add32(I a, I b) { return vaddq_s32(a, b); }
  static I sub32(I a, I b) { return vsubq_s32(a, b); }
  static I mul32(I a, I b) { return vmulq_s32(a, b); }
  static I min32(I a, I b) { return vminq_s32(a, b); }
  static I max32(I a, I b) { return vmaxq_s32(a, b); }
  static I shift_right(I a, I count) { return vshlq_s32(a, vnegq_s32(count)); }
  static I shift_left(I a, I count) { return vshlq_s32(a, count); }
  template <int N>
  static I shift_left_by(I a) {
    return vshlq_n_s32(a, N);
  }
  static I madd16(I a, I b) {
    const int16x8_t x = as16(a), y = as16(b);
    return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
  }
  static I packs32(I a, I b) { return from16(vqmovn_high_s32(vqmovn_s32(a), b)); }
  static I adds16(I a, I b) { return from16(vqaddq_s16(as16(a), as16(b))); }
  static I packus16(I a, I b) { return from8u(vqmovun_high_s16(vqmovun_s16(as16(a)), as16(b))); }
  static I min8u(I a, I b) { return from8u(vminq_u8(as8u(a), as8u(b))); }
  static I max8u(I a, I b) { return from8u(vmaxq_u8(as8u(a), as8u(b))); }
  static I unpacklo8(I a, I b) { return from8u(vzip1q_u8(as8u(a), as8u(b))); }
  static I unpackhi8(I a, I b) { return from8u(vzip2q_u8(as8u(a), as8u(b))); }
  static I unpacklo16(I a, I b) { return from16(vzip1q_s16(as16(a), as16(b))); }
  static I unpackhi16(I a, I b) { return from16(vzip2q_s16(as16(a), as16(b))); }
  static I in_order(I bytes) { return bytes; }

  static F set1_float(float v) { return vdupq_n_f32(v); }
  static F load_float(const float* p) { return vld1q_f32(p); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F min(F a, F b) { return vminq_f32(a, b); }
  static F to_float(I a) { return vcvtq_f32_s32(a); }
  static I to_int(F a) { return vcvtnq_s32_f32(a); }

 private:
  static uint8x16_t as8u(I a) { return vreinterpretq_u8_s32(a); }
  static int16x8_t as16(I a) { return vreinterpretq_s16_s32(a); }
  static I from8u(uint8x16_t a) { return vreinterpretq_s32_u8(a); }
  static I from16(int16x8_t a) { return vreinterpretq_s32_s16(a); }
};

// A table of 256 bytes in sixteen registers. An index beyond a quarter leaves what another quarter gave.
inline uint8x16_t look_up(const uint8x16x4_t (&quarters)[4], uint8x16_t x) {
  uint8x16_t found = vqtbl4q_u8(quarters[0], x);
  for (int i = 1; i < 4; ++i) found = vqtbx4q_u8(found, quarters[i], vsubq_u8(x, vdupq_n_u8(static_cast<uint8_t>(64 * i))));
  return found;
}

void neon_lookup(const uint8_t* x, const uint8_t* table, size_t elements, uint8_t* out) {
  if (elements < VectorNeon::kBytes) return kPortable.lookup(x, table, elements, out);
  const uint8x16x4_t quarters[4] = {vld1q_u8_x4(table), vld1q_u8_x4(table + 64), vld1q_u8_x4(table + 128), vld1q_u8_x4(table + 192)};
  size_t i = 0;
  for (; i + VectorNeon::kBytes <= elements; i += VectorNeon::kBytes) vst1q_u8(out + i, look_up(quarters, vld1q_u8(x + i)));
  kPortable.lookup(x + i, table, elements - i, out + i);
}

void neon_lookup_channels(const uint8_t* x, const uint8_t* tables, uint32_t channels, size_t elements, uint8_t* out) {
  kPortable.lookup_channels(x, tables, channels, elements, out);
}

}  // namespace
}  // namespace espalier
