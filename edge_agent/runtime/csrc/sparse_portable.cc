// The sparse product of sparse.h without vectors: a patch at a time, widened once.
#include <cstring>

#include "sparse.h"

namespace espalier {
namespace {

size_t scratch_bytes(const GemmArgs& g) { return size_t{g.taps_h} * g.taps_w * g.k * sizeof(int16_t); }

void widen(const GemmArgs& g, const uint8_t* a, int16_t* patch) {
  for (uint32_t i = 0; i < g.taps_h; ++i) {
    for (uint32_t j = 0; j < g.taps_w; ++j, patch += g.k) {
      const uint8_t* run = a + i * g.tap_h_stride + j * g.tap_w_stride;
      for (uint32_t k = 0; k < g.k; ++k) patch[k] = run[k];
    }
  }
}

void run_pixel(const SparseArgs& args, const int16_t* patch, uint8_t* out) {
  const GemmArgs& g = args.product;
  for (uint32_t row = 0; row * 4 < g.n; ++row) {
    int32_t acc[4] = {};
    for (uint32_t block = args.starts[row]; block < args.starts[row + 1]; ++block) {
      const int16_t* x = patch + args.slots[block] * 4;
      const int8_t* w = args.weights + size_t{block} * 16;
      for (int c = 0; c < 4; ++c) {
        for (int i = 0; i < 4; ++i) acc[c] += x[i] * w[4 * c + i];
      }
    }
    for (uint32_t c = 0; c < 4 && row * 4 + c < g.n; ++c) {
      const uint32_t channel = row * 4 + c;
      out[channel] = requantize(acc[c], *g.requantize, g.channel + channel);
    }
  }
}

void gemm(const SparseArgs& args, uint8_t* scratch) {
  const GemmArgs& g = args.product;
  auto* patch = reinterpret_cast<int16_t*>(scratch);
  for (uint32_t row = 0; row < g.rows; ++row) {
    for (uint32_t m = 0; m < g.m; ++m) {
      widen(g, g.a + row * g.row_stride + m * g.m_stride, patch);
      run_pixel(args, patch, g.out + row * g.out_row_stride + m * g.out_m_stride);
    }
  }
}

}  // namespace

const SparseKernels kPortableSparse = {1, 1, {8.5f, 0, 50}, {2.4f, 0, 30}, {1.8f, 0, 30}, scratch_bytes, gemm};

}  // namespace espalier
