// Where an activation lies in its buffer.
//
// A feature map that padded convolutions read lies inside a border of its zero point, where all who write and read it work with row strides:
// then padding costs a few bytes around each row instead of a copy of the map.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "arena.h"
#include "format.h"

namespace espalier {

// A buffer by its index, so that a step can be made before the arena is laid out.
class Place {
 public:
  Place() = default;
  Place(const std::vector<Buffer>& buffers, size_t index) : buffers_(&buffers), index_(index) {}
  uint8_t* in(uint8_t* arena) const { return arena + (*buffers_)[index_].offset; }

 private:
  const std::vector<Buffer>* buffers_ = nullptr;
  size_t index_ = 0;
};

// Pixels of padding on each side.
struct Border {
  uint32_t top = 0, bottom = 0, left = 0, right = 0;

  bool any() const { return (top | bottom | left | right) != 0; }
  void cover(const Window& w) {
    top = std::max(top, w.top);
    bottom = std::max(bottom, w.bottom);
    left = std::max(left, w.left);
    right = std::max(right, w.right);
  }
};

class Map {
 public:
  Map() = default;

  // `zero` is the stored byte that fills the border. Vectors are maps of one row.
  Map(const Activation& x, const Border& border, uint8_t zero)
      : border_(border), zero_(zero), channels_(x.channels()), rows_(x.shape.size() == 3 ? x.shape[0] : 1), inner_(x.elements() / rows_),
        row_(inner_ + (size_t{border.left} + border.right) * channels_) {}

  void put(Place place) { place_ = place; }

  size_t bytes() const { return (size_t{border_.top} + rows_ + border_.bottom) * row_; }
  uint32_t rows() const { return rows_; }
  size_t row_bytes() const { return row_; }      // from one row to the next
  size_t inner_bytes() const { return inner_; }  // of a row without its border
  bool has_border() const { return border_.any(); }

  // The first pixel of the map itself.
  uint8_t* pixels(uint8_t* arena) const { return place_.in(arena) + border_.top * row_ + size_t{border_.left} * channels_; }

  // The pixel `top` rows above and `left` columns before the first; they must lie within the border.
  const uint8_t* corner(uint8_t* arena, uint32_t top, uint32_t left) const { return pixels(arena) - (top * row_ + size_t{left} * channels_); }

  void fill_border(uint8_t* arena) const {
    uint8_t* start = place_.in(arena);
    uint8_t* row = pixels(arena);
    std::memset(start, zero_, static_cast<size_t>(row - start));
    for (uint32_t y = 0; y + 1 < rows_; ++y, row += row_) std::memset(row + inner_, zero_, row_ - inner_);
    std::memset(row + inner_, zero_, bytes() - static_cast<size_t>(row + inner_ - start));
  }

 private:
  Place place_;
  Border border_;
  uint8_t zero_ = 0;
  uint32_t channels_ = 0, rows_ = 0;
  size_t inner_ = 0, row_ = 0;
};

// By activation: what the padded convolutions that read it need, or none where its writer or a reader takes dense maps only.
std::vector<Border> plan_borders(const Model& model);

}  // namespace espalier
