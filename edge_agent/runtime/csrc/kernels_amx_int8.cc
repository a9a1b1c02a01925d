// AMX: matrix products of 16 pixels by 16 channels by 64 bytes of K in one instruction. All else is AVX-512's.
//
// The weights are packed as for AVX-512: 16 steps of a block of channels are a tile. The rows of a tile of pixels are as far apart as pixels
// are, so a convolution needs no copy of its windows. Sums start as biases and go through memory to the vectors that requantize them.
#include "cpu.h"
#include "sparse.h"
#include "vector512.h"
#include "vector_gemm.h"
#if defined(ESPALIER_EMULATED_TILES)
#include "emulated_tiles.h"
#endif

namespace espalier {
namespace {

constexpr uint32_t kTileRows = 16, kTileBytes = 64;  // of a row
constexpr uint32_t kTileLanes = kTileBytes / 4;

uint32_t tiles_for(uint32_t rows) { return (rows + kTileRows - 1) / kTileRows; }

// Steps of K in one tile: all tiles of a run must have the same. 0 where that would leave them nearly empty.
uint32_t steps_of_tile(uint32_t steps) {
  constexpr uint32_t kFewest = 3;
  for (uint32_t tiles = tiles_for(steps); steps / tiles >= kFewest; ++tiles) {
    if (steps % tiles == 0) return steps / tiles;
  }
  return 0;
}

// What LDTILECFG reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

class TileGemm {
 public:
  TileGemm(const GemmArgs& args, uint32_t steps, uint32_t tile_steps)
      : g_(args), tail_(args), tile_steps_(tile_steps), tiles_of_run_(steps / tile_steps),
        joins_rows_(args.row_stride == args.m * args.m_stride),
        rows_(joins_rows_ ? 1 : args.rows), row_pixels_(joins_rows_ ? args.rows * args.m : args.m),
        tiles_of_row_(tiles_for(row_pixels_)), tile_pixels_((row_pixels_ + tiles_of_row_ - 1) / tiles_of_row_) {}

  void run() const {
    configure();
    const uint32_t blocks = (g_.n + V::kLanes - 1) / V::kLanes;
    for (uint32_t block = 0; block < blocks;) {
      const uint32_t group = group_of_blocks(block, blocks, V::kMaxBlocks);
      switch (group) {
        case 1: run_blocks<1>(block); break;
        case 2: run_blocks<2>(block); break;
        case 3: run_blocks<3>(block); break;
        default: run_blocks<4>(block);
      }
      block += group;
    }
    _tile_release();
  }

 private:
  // Tiles 0 to 3 are sums, [pixels][channels]; 4 and 5 pixels, 6 and 7 weights.
  void configure() const {
    TileShapes shapes;
    for (int tile = 0; tile < 8; ++tile) {
      shapes.rows[tile] = static_cast<uint8_t>(tile < 6 ? tile_pixels_ : tile_steps_);
      shapes.row_bytes[tile] = static_cast<uint16_t>(tile == 4 || tile == 5 ? 4 * tile_steps_ : kTileBytes);
    }
    asm volatile("" : : "r"(&shapes) : "memory");  // GCC 12 believes that the intrinsic reads 8 bytes only
    _tile_loadconfig(&shapes);
  }

  // The first pixel of a tile. All tiles have the same pixels, so the last one of a row overlaps the one before.
  struct Tile {
    uint32_t row, pixel;
  };

  Tile tile_at(uint32_t index) const {
    const uint32_t pixel = index % tiles_of_row_ * tile_pixels_, last = row_pixels_ - tile_pixels_;
    return {index / tiles_of_row_, pixel < last ? pixel : last};
  }

  const uint8_t* input_of(Tile tile) const { return g_.a + tile.row * g_.row_stride + tile.pixel * g_.m_stride; }

  // A group of blocks over all pixels, two tiles of them at a time.
  template <int NB>
  void run_blocks(uint32_t block) const {
    alignas(64) int32_t sums[2][kTileRows * NB * kTileLanes];
    const uint32_t tiles = rows_ * tiles_of_row_;
    for (uint32_t index = 0; index < tiles; index += 2) {
      const Tile first = tile_at(index);
      if (index + 1 == tiles) {
        multiply_blocks<1, NB>(input_of(first), nullptr, block, sums);
        finish<NB>(sums[0], first, block);
        return;
      }
      const Tile second = tile_at(index + 1);
      multiply_blocks<2, NB>(input_of(first), input_of(second), block, sums);
      finish<NB>(sums[0], first, block);
      finish<NB>(sums[1], second, block);
    }
  }

  template <int MT, int NB>
  void multiply_blocks(const uint8_t* a, const uint8_t* b, uint32_t block, int32_t (&sums)[2][kTileRows * NB * kTileLanes]) const {
    const int8_t* w = g_.w + block * tail_.block_bytes();
    const int32_t* bias = g_.requantize->bias.data() + g_.channel + block * V::kLanes;
    for (int i = 0; i + 1 < NB; i += 2) {
      multiply<MT, 2, NB>(a, b, w + i * V::kBytes, bias + i * V::kLanes, sums[0] + i * V::kLanes, sums[1] + i * V::kLanes);
    }
    if constexpr (NB % 2 == 1) {
      constexpr int i = NB - 1;
      multiply<MT, 1, NB>(a, b, w + i * V::kBytes, bias + i * V::kLanes, sums[0] + i * V::kLanes, sums[1] + i * V::kLanes);
    }
  }

  // MT tiles of pixels, at a and b, times NT blocks of a group of NB. The instructions name their tiles.
  template <int MT, int NT, int NB>
  void multiply(const uint8_t* a, const uint8_t* b, const int8_t* w, const int32_t* bias, int32_t* a_sums, int32_t* b_sums) const {
    constexpr size_t kWeightsStride = size_t{NB} * V::kBytes, kSumsStride = size_t{NB} * kTileBytes;
    const size_t stride = g_.m_stride, tile_bytes = size_t{4} * tile_steps_;
    _tile_loadd(0, bias, 0);  // the same row again and again
    if constexpr (NT > 1) _tile_loadd(1, bias + kTileLanes, 0);
    if constexpr (MT > 1) _tile_loadd(2, bias, 0);
    if constexpr (MT > 1 && NT > 1) _tile_loadd(3, bias + kTileLanes, 0);
    for (uint32_t i = 0; i < g_.taps_h; ++i) {
      for (uint32_t j = 0; j < g_.taps_w; ++j) {
        size_t at = i * g_.tap_h_stride + j * g_.tap_w_stride;
        for (uint32_t t = 0; t < tiles_of_run_; ++t, at += tile_bytes, w += tile_steps_ * kWeightsStride) {
          _tile_loadd(6, w, kWeightsStride);
          _tile_loadd(4, a + at, stride);
          _tile_dpbusd(0, 4, 6);
          if constexpr (NT > 1) {
            _tile_loadd(7, w + V::kBytes, kWeightsStride);
            _tile_dpbusd(1, 4, 7);
          }
          if constexpr (MT > 1) {
            _tile_loadd(5, b + at, stride);
            _tile_dpbusd(2, 5, 6);
            if constexpr (NT > 1) _tile_dpbusd(3, 5, 7);
          }
        }
      }
    }
    _tile_stored(0, a_sums, kSumsStride);
    if constexpr (NT > 1) _tile_stored(1, a_sums + kTileLanes, kSumsStride);
    if constexpr (MT > 1) _tile_stored(2, b_sums, kSumsStride);
    if constexpr (MT > 1 && NT > 1) _tile_stored(3, b_sums + kTileLanes, kSumsStride);
  }

  // Requantizes a tile and stores it, row of the output by row.
  template <int NB>
  void finish(const int32_t* sums, Tile tile, uint32_t block) const {
    const uint32_t end = tile.pixel + tile_pixels_;
    for (uint32_t pixel = tile.pixel; pixel < end;) {
      const uint32_t row = joins_rows_ ? pixel / g_.m : tile.row, column = joins_rows_ ? pixel % g_.m : pixel;
      const uint32_t count = end - pixel < g_.m - column ? end - pixel : g_.m - column;
      finish_run<NB>(sums, count, block, g_.out + row * g_.out_row_stride + column * g_.out_m_stride + block * V::kLanes);
      sums += count * NB * kTileLanes;
      pixel += count;
    }
  }

  template <int NB>
  void finish_run(const int32_t* sums, uint32_t pixels, uint32_t block, uint8_t* out) const {
    constexpr uint32_t kTogether = 4;
    uint32_t m = 0;
    for (; m + kTogether <= pixels; m += kTogether) finish_pixels<kTogether, NB>(sums, m, block, out);
    for (; m < pixels; ++m) finish_pixels<1, NB>(sums, m, block, out);
  }

  template <int MR, int NB>
  void finish_pixels(const int32_t* sums, uint32_t first, uint32_t block, uint8_t* out) const {
    const uint32_t n0 = block * V::kLanes, channels = g_.n - n0 < NB * V::kLanes ? g_.n - n0 : NB * V::kLanes;
    __m512i acc[MR][NB];
    ESPALIER_UNROLL for (int m = 0; m < MR; ++m) {
      ESPALIER_UNROLL for (int n = 0; n < NB; ++n) acc[m][n] = V::load(sums + ((first + m) * NB + n) * kTileLanes);
    }
    tail_.finish_tile<MR, NB>(acc, n0, channels, out + first * g_.out_m_stride);
  }

  const GemmArgs& g_;
  const Gemm<V> tail_;
  const uint32_t tile_steps_, tiles_of_run_;
  const bool joins_rows_;  // the input's pixels all lie one behind the other; the output's need not
  const uint32_t rows_, row_pixels_, tiles_of_row_, tile_pixels_;
};

#if defined(ESPALIER_EMULATED_TILES)
constexpr bool kIsTest = true;  // all that tiles can do is to be seen
#else
constexpr bool kIsTest = false;
#endif

// Waking the tiles costs as much as 150,000 products of theirs gain, and the way of sums through memory, of 16 at a time, as much as 340.
bool is_worth_tiles(const GemmArgs& args, uint32_t steps) {
  const uint64_t vectors = uint64_t{args.rows} * args.m * ((args.n + V::kLanes - 1) / V::kLanes);
  const uint64_t products = vectors * V::kLanes * args.taps_h * args.taps_w * steps * 4;
  return kIsTest || (args.rows * args.m > 1 && products > 150'000 + 340 * vectors);
}

void gemm(const GemmArgs& args, uint8_t* scratch) {
  const uint32_t steps = (args.k + 3) / 4;
  const uint32_t tile_steps = is_worth_tiles(args, steps) ? steps_of_tile(steps) : 0;
  if (tile_steps == 0) return kAvx512Vnni.gemm(args, scratch);
  TileGemm(args, steps, tile_steps).run();
}

}  // namespace

const Kernels& amx_int8() {
  static const SparseKernels sparse = [] {
    SparseKernels k = *kAvx512Vnni.sparse;
    k.pixels = {2.8f, 18, 90};  // the dense product takes less than half of what AVX-512's takes
    return k;
  }();
  static const Kernels kernels = [] {
    Kernels k = kAvx512Vnni;
    k.name = "amx_int8";
    k.is_supported = cpu_has_amx_int8;
    k.worth_helpers = uint64_t{1} << 24;
    k.gemm = gemm;
    k.sparse = &sparse;
    return k;
  }();
  return kernels;
}

}  // namespace espalier
