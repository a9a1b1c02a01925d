#include "blocks.h"

#include "error.h"

namespace espalier {
namespace {

bool bit(const uint8_t* bytes, uint64_t at) { return (bytes[at / 8] >> (at % 8) & 1) != 0; }

// Two's complement integers of `bits` bits, least significant bit first; blocks fill whole bytes at every width.
void read_block(const uint8_t* block, uint64_t elements, uint32_t bits, int8_t* out) {
  uint32_t window = 0, available = 0;
  const uint32_t sign = 1u << (bits - 1), mask = (1u << bits) - 1;
  for (uint64_t i = 0; i < elements; ++i) {
    if (available < bits) {
      window |= static_cast<uint32_t>(*block++) << available;
      available += 8;
    }
    out[i] = static_cast<int8_t>(static_cast<int32_t>((window & mask) ^ sign) - static_cast<int32_t>(sign));
    window >>= bits;
    available -= bits;
  }
}

}  // namespace

void decode_blocks(const Tensor& t, Bytes payload, int8_t* out) {
  constexpr uint32_t kLargestRows = 16;
  const uint64_t row = t.row_elements(), last = t.shape.back(), across = (last + kBlockColumns - 1) / kBlockColumns;
  const uint64_t per_row = t.blocks_per_row(), row_bytes = (per_row + 7) / 8;
  const uint8_t* index = payload.data;
  const uint8_t* next = payload.data + t.index_bytes();
  uint64_t left = t.blocks;
  int8_t block[kLargestRows * kBlockColumns];
  for (uint64_t block_row = 0; block_row < t.rows_of_blocks(); ++block_row, index += row_bytes) {
    for (uint64_t at = 0; at < per_row; ++at) {
      if (!bit(index, at)) continue;
      require(left-- != 0, "a block index names more blocks than there are");
      read_block(next, t.block_rows * kBlockColumns, t.bits == 0 ? 8 : t.bits, block);
      next += t.block_bytes();
      const uint64_t tap = at / across, first = at % across * kBlockColumns;
      for (uint64_t i = 0; i < t.block_rows * kBlockColumns; ++i) {
        const uint64_t channel = block_row * t.block_rows + i / kBlockColumns, column = first + i % kBlockColumns;
        if (channel < t.shape[0] && column < last) {
          out[channel * row + tap * last + column] = block[i];
        } else {
          require(block[i] == 0, "a block is not zero beyond the edge");
        }
      }
    }
    for (uint64_t at = per_row; at < row_bytes * 8; ++at) require(!bit(index, at), "a bit between two rows of blocks is set");
  }
  require(left == 0, "a block index names fewer blocks than there are");
}

}  // namespace espalier
