#include "sparse.h"

#include <cstring>

namespace espalier {
namespace {

constexpr uint32_t kSide = 4;
constexpr double kClearlyFaster = 0.95;

uint32_t patch_of(const GemmArgs& product) { return product.taps_h * product.taps_w * product.k; }

// Whether a block of `w`, int8 [n, patch], holds anything; its channels may end before the block does.
bool is_zero(const int8_t* w, uint32_t n, uint32_t patch, uint32_t channel, uint32_t slot) {
  uint32_t any = 0;
  for (uint32_t i = channel; i < std::min(channel + kSide, n); ++i) {
    uint32_t quad;
    std::memcpy(&quad, w + size_t{i} * patch + slot * kSide, sizeof quad);
    any |= quad;
  }
  return any == 0;
}

double density(const int8_t* w, uint32_t n, uint32_t patch) {
  uint64_t stored = 0, all = 0;
  for (uint32_t channel = 0; channel < n; channel += kSide) {
    for (uint32_t slot = 0; slot < patch / kSide; ++slot, ++all) stored += !is_zero(w, n, patch, channel, slot);
  }
  return static_cast<double>(stored) / static_cast<double>(all);
}

}  // namespace

BlockList list_blocks(const int8_t* w, uint32_t n, uint32_t patch, uint32_t together) {
  BlockList list;
  list.starts.push_back(0);
  for (uint32_t channel = 0; channel < n; channel += kSide) {
    for (uint32_t slot = 0; slot < patch / kSide; ++slot) {
      if (is_zero(w, n, patch, channel, slot)) continue;
      list.slots.push_back(static_cast<uint16_t>(slot));
      int8_t block[kSide][kSide] = {};
      for (uint32_t i = 0; i < std::min(kSide, n - channel); ++i) {
        std::memcpy(block[i], w + size_t{channel + i} * patch + slot * kSide, kSide);
      }
      list.weights.insert(list.weights.end(), &block[0][0], &block[0][0] + sizeof block);
    }
    while (list.slots.size() % together != 0) {  // blocks of zeros fill up, so that every row has whole vectors
      list.slots.push_back(0);
      list.weights.resize(list.weights.size() + kSide * kSide);
    }
    list.starts.push_back(static_cast<uint32_t>(list.slots.size()));
  }
  list.weights.resize(list.weights.size() + kOverread);
  list.slots.resize(list.slots.size() + kOverread);
  return list;
}

bool skips_blocks(const Kernels& kernels, const GemmArgs& product, const int8_t* w) {
  const SparseKernels* sparse = kernels.sparse;
  const uint32_t patch = patch_of(product);
  if (sparse == nullptr || product.k % kSide != 0 || patch / kSide > UINT16_MAX) return false;
  const uint64_t pixels = uint64_t{product.rows} * product.m;
  const double stored = density(w, product.n, patch);
  if (pixels == 1) {
    const SparseCost& cost = uint64_t{product.n} * patch > kStreamedBytes ? sparse->one_streamed : sparse->one_cached;
    return cost.share(stored, product.n, patch) <= kClearlyFaster;
  }
  const uint64_t computed = (pixels + sparse->lanes - 1) / sparse->lanes * sparse->lanes;
  const double waste = static_cast<double>(computed) / static_cast<double>(pixels);
  return waste * sparse->pixels.share(stored, product.n, patch) <= kClearlyFaster;
}

}  // namespace espalier
