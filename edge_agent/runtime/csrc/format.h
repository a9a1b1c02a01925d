// A parsed model: model.proto as plain structs. Field meanings are those of docs/format.md.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "wire.h"

namespace espalier {

enum class DType : uint32_t { kInt8 = 1, kInt32 = 4, kUint32 = 5, kFloat32 = 6 };

constexpr uint32_t kBlockColumns = 4;  // elements of one row of a block: input channels of one tap

struct Activation {
  std::vector<uint32_t> shape;  // [height, width, channels] or [features]
  float scale = 0;
  int32_t zero_point = 0;

  uint64_t elements() const;
  uint32_t channels() const { return shape.back(); }
  int32_t max_magnitude() const;  // the largest |q - zero_point| over all of int8
};

struct Tensor {
  DType dtype = DType::kInt8;
  std::vector<uint32_t> shape;
  uint32_t bits = 0;        // 0 where elements are whole
  uint32_t block_rows = 0;  // 0 where not block-sparse
  uint32_t blocks = 0;      // stored
  Bytes inline_data;  // points into the bytes that were parsed; null where the payload is a blob
  Bytes sha256;       // of the blob, likewise
  uint64_t size_bytes = 0;

  uint64_t elements() const;
  uint64_t row_elements() const;  // of one outermost row
  uint64_t row_bytes() const;     // of one outermost row where packed
  uint64_t payload_bytes() const;
  uint64_t counted_bytes() const;  // towards the limit of all payloads: block-sparse as if every block were stored in int8

  bool is_block_sparse() const { return block_rows != 0; }
  uint64_t rows_of_blocks() const;
  uint64_t blocks_per_row() const;  // the runs of the last axis one after the other, each in whole blocks
  uint64_t index_bytes() const;     // a bit for each block, each row of blocks from a byte on
  uint64_t block_bytes() const;
};

struct Requantize {
  bool is_shift = false;
  uint32_t tensor = 0;
  int32_t qmin = 0;
  int32_t qmax = 0;
};

struct Window {
  uint32_t kernel_h = 0, kernel_w = 0, stride_h = 0, stride_w = 0;
  uint32_t top = 0, bottom = 0, left = 0, right = 0;

  bool has_padding() const { return (top | bottom | left | right) != 0; }
};

struct Conv2D {
  uint32_t weight = 0;
  std::optional<uint32_t> bias;
  Window window;  // kernel sizes come from the weight
  uint32_t groups = 0;
  Requantize requantize;
};
struct Linear {
  uint32_t weight = 0;
  std::optional<uint32_t> bias;
  Requantize requantize;
};
struct Add {
  int32_t multiplier_a = 0;
  int32_t multiplier_b = 0;
  Requantize requantize;
};
struct Concat {
  std::vector<Requantize> requantize;
};
struct MaxPool {
  Window window;
};
struct AveragePool {
  Window window;
  uint32_t reciprocal = 0;
  Requantize requantize;
};
struct Flatten {};
struct Clamp {
  int32_t qmin = 0;
  int32_t qmax = 0;
};
struct Table {
  uint32_t table = 0;
};
struct Softmax {
  uint32_t table = 0;
};

struct RuleTable {
  uint32_t nodes = 0;
  uint32_t scores = 0;
  uint32_t trees = 0;
  Requantize requantize;
};
struct Select {
  int32_t threshold = 0;
};

struct Reshape {};
struct Permute {
  std::array<uint32_t, 3> axes{};
};

// Rows and columns of each head's matrix, and where it is: `head` n starts n * head_stride bytes in, its rows are row_stride apart.
struct HeadMatrix {
  uint32_t rows = 0, columns = 0;
  uint64_t head_stride = 0, row_stride = 0;
};
struct MatMul {
  uint32_t heads = 0;
  bool a_stacked = false, b_stacked = false, b_transposed = false, output_stacked = false;
  Requantize requantize;

  // For an activation of rank 3 that the heads divide.
  HeadMatrix matrix(const Activation& activation, bool is_stacked) const;
};
struct LayerNorm {
  uint32_t gain = 0;
  std::optional<uint32_t> bias;
  uint64_t epsilon = 0;
  Requantize requantize;
};
struct Multiply {
  Requantize requantize;
};
struct Constant {
  uint32_t value = 0;
};

using Kind = std::variant<std::monostate, Conv2D, Linear, Add, Concat, MaxPool, AveragePool, Flatten, Clamp, Table, Softmax, Reshape, Permute,
                          MatMul, LayerNorm, Multiply, Constant, RuleTable, Select>;

struct Operator {
  std::string name;
  std::vector<uint32_t> inputs;
  uint32_t output = 0;
  Kind kind;
};

struct Model {
  uint32_t input = 0;  // activation
  std::optional<uint32_t> raw_table;
  float input_multiplier = 0;
  std::optional<uint32_t> channel_affine;
  uint32_t output = 0;  // activation
  uint64_t labels = 0;
  std::vector<Activation> activations;
  std::vector<Tensor> tensors;
  std::vector<Operator> operators;
};

// Reads and validates everything that does not need tensor payloads; throws FormatError.
Model parse_model(Bytes bytes);

// The structure of docs/format.md, section 3: indices, order, shapes, sizes, work.
void check_structure(const Model& model);

// Rows and columns of a window's output, or 0 where it does not fit.
uint64_t window_output(uint64_t size, uint64_t pads, uint64_t kernel, uint64_t stride);

}  // namespace espalier
