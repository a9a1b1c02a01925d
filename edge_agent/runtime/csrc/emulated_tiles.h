// The tile instructions of AMX in plain C++, in place of the intrinsics: sanitizers see what tiles read and write, and CPUs without tiles can
// run the path's tests.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace espalier {
namespace {

class EmulatedTiles {
 public:
  void configure(const void* shapes) {  // layout: palette 1 of LDTILECFG
    const auto* bytes = static_cast<const uint8_t*>(shapes);
    for (int tile = 0; tile < kTiles; ++tile) {
      std::memcpy(&row_bytes_[tile], bytes + 16 + 2 * tile, sizeof row_bytes_[tile]);
      rows_[tile] = bytes[48 + tile];
      require(bytes[0] == 1 && rows_[tile] >= 1 && rows_[tile] <= kRows && row_bytes_[tile] >= 4 && row_bytes_[tile] <= kRowBytes);
    }
    std::memset(data_, 0, sizeof data_);
    is_configured_ = true;
  }

  void release() { is_configured_ = false; }

  void load(int tile, const void* base, size_t stride) {
    require(is_configured_);
    std::memset(data_[tile], 0, sizeof data_[tile]);
    for (int row = 0; row < rows_[tile]; ++row) {
      std::memcpy(data_[tile][row], static_cast<const uint8_t*>(base) + row * stride, row_bytes_[tile]);
    }
  }

  void store(int tile, void* base, size_t stride) const {
    require(is_configured_);
    for (int row = 0; row < rows_[tile]; ++row) {
      std::memcpy(static_cast<uint8_t*>(base) + row * stride, data_[tile][row], row_bytes_[tile]);
    }
  }

  // sums[m][n] += a[m][4 k + i] * b[k][4 n + i], modulo 2^32; a unsigned, b signed.
  void dot(int sums, int a, int b) {
    require(is_configured_ && rows_[sums] == rows_[a] && row_bytes_[sums] == row_bytes_[b] && row_bytes_[a] == 4 * rows_[b]);
    for (int m = 0; m < rows_[sums]; ++m) {
      for (int n = 0; n < row_bytes_[sums] / 4; ++n) {
        uint32_t sum;
        std::memcpy(&sum, data_[sums][m] + 4 * n, sizeof sum);
        for (int k = 0; k < rows_[b]; ++k) {
          for (int i = 0; i < 4; ++i) sum += static_cast<uint32_t>(data_[a][m][4 * k + i] * static_cast<int8_t>(data_[b][k][4 * n + i]));
        }
        std::memcpy(data_[sums][m] + 4 * n, &sum, sizeof sum);
      }
    }
  }

 private:
  static constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

  static void require(bool holds) {  // where the CPU would raise a fault
    if (!holds) std::abort();
  }

  bool is_configured_ = false;
  uint8_t rows_[kTiles] = {};
  uint16_t row_bytes_[kTiles] = {};
  uint8_t data_[kTiles][kRows][kRowBytes] = {};
};

thread_local EmulatedTiles emulated_tiles;

}  // namespace
}  // namespace espalier

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#define _tile_loadconfig emulated_tiles.configure
#define _tile_release emulated_tiles.release
#define _tile_loadd emulated_tiles.load
#define _tile_stored emulated_tiles.store
#define _tile_dpbusd emulated_tiles.dot
