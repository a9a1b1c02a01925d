#include "kernels.h"

namespace espalier {

std::vector<int8_t> pack_blocked(const int8_t* w, uint32_t n, uint32_t taps, uint32_t k, uint32_t nr, uint32_t kr) {
  const size_t blocks = (n + nr - 1) / nr, steps = (k + kr - 1) / kr;
  std::vector<int8_t> packed(blocks * taps * steps * nr * kr + kOverread, 0);
  for (size_t channel = 0; channel < n; ++channel) {
    for (size_t tap = 0; tap < taps; ++tap) {
      const int8_t* run = w + (channel * taps + tap) * k;
      for (size_t i = 0; i < k; ++i) {
        const size_t step = ((channel / nr) * taps + tap) * steps + i / kr;
        packed[(step * nr + channel % nr) * kr + i % kr] = run[i];
      }
    }
  }
  return packed;
}

}  // namespace espalier
