// What follows from shapes: elements, bytes, the matrices of heads.
#include <algorithm>

#include "format.h"
#include "format_limits.h"

namespace espalier {
namespace {

uint64_t product(const std::vector<uint32_t>& shape, size_t from, uint64_t most) {
  uint64_t elements = 1;
  for (size_t i = from; i < shape.size(); ++i) {
    require(shape[i] != 0 && elements <= most / shape[i], "a shape is empty or too large");
    elements *= shape[i];
  }
  return elements;
}

}  // namespace

uint64_t Activation::elements() const { return product(shape, 0, limits::kActivationElements); }
int32_t Activation::max_magnitude() const { return std::max(127 - zero_point, zero_point + 128); }

uint64_t Tensor::elements() const { return product(shape, 0, limits::kTensorElements); }
uint64_t Tensor::row_elements() const { return product(shape, 1, limits::kTensorElements); }
uint64_t Tensor::row_bytes() const { return (row_elements() * bits + 7) / 8; }
uint64_t Tensor::rows_of_blocks() const { return (uint64_t{shape[0]} + block_rows - 1) / block_rows; }
uint64_t Tensor::blocks_per_row() const {
  const uint64_t last = shape.back();
  return row_elements() / last * ((last + kBlockColumns - 1) / kBlockColumns);
}
uint64_t Tensor::index_bytes() const { return rows_of_blocks() * ((blocks_per_row() + 7) / 8); }
uint64_t Tensor::block_bytes() const { return uint64_t{block_rows} * kBlockColumns * (bits == 0 ? 8 : bits) / 8; }
uint64_t Tensor::counted_bytes() const {
  if (!is_block_sparse()) return payload_bytes();
  return index_bytes() + rows_of_blocks() * blocks_per_row() * block_rows * kBlockColumns;
}
uint64_t Tensor::payload_bytes() const {
  if (is_block_sparse()) return index_bytes() + blocks * block_bytes();
  if (bits != 0) return shape[0] * row_bytes();
  return elements() * (dtype == DType::kInt8 ? 1 : 4);
}

HeadMatrix MatMul::matrix(const Activation& activation, bool is_stacked) const {
  const uint32_t height = activation.shape[0], width = activation.shape[1], channels = activation.shape[2];
  if (is_stacked) return {width, channels, uint64_t{width} * channels, channels};
  return {height * width, channels / heads, channels / heads, channels};
}

}  // namespace espalier
