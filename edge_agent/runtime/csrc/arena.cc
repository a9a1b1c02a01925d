#include "arena.h"

#include <algorithm>
#include <numeric>

namespace espalier {
namespace {

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The lowest offset at which `bytes` fit between the buffers of `others`, which are sorted by offset.
size_t lowest_gap(const std::vector<const Buffer*>& others, size_t bytes) {
  size_t offset = 0;
  for (const Buffer* other : others) {
    if (offset + bytes <= other->offset) break;
    offset = std::max(offset, other->offset + aligned(other->bytes));
  }
  return offset;
}

}  // namespace

size_t plan_arena(std::vector<Buffer>& buffers) {
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  std::vector<const Buffer*> placed;  // sorted by offset
  size_t total = 0;
  for (const size_t index : order) {
    Buffer& buffer = buffers[index];
    std::vector<const Buffer*> alive;
    std::copy_if(placed.begin(), placed.end(), std::back_inserter(alive),
                 [&](const Buffer* other) { return other->first <= buffer.last && buffer.first <= other->last; });
    buffer.offset = lowest_gap(alive, aligned(buffer.bytes));
    total = std::max(total, buffer.offset + aligned(buffer.bytes));
    const auto after = std::upper_bound(placed.begin(), placed.end(), buffer.offset,
                                        [](size_t offset, const Buffer* other) { return offset < other->offset; });
    placed.insert(after, &buffer);
  }
  return total;
}

}  // namespace espalier
