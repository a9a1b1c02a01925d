// Lays buffers with known lifetimes into one block, so that running allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned.h"

namespace espalier {

struct Buffer {
  size_t bytes = 0;
  uint32_t first = 0;  // steps between which it is alive, both included
  uint32_t last = 0;
  size_t offset = 0;   // set by `plan_arena`
};

// Gives every buffer an offset such that buffers alive at the same step do not overlap; returns the block's size.
// Largest first, each at the lowest offset that is free for its whole life: near the optimum for networks.
size_t plan_arena(std::vector<Buffer>& buffers);

}  // namespace espalier
