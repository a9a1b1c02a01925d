#include "tensors.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "blocks.h"
#include "format_limits.h"

namespace espalier {
namespace {

uint32_t little_endian(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

template <class T>
std::vector<T> decode_words(Bytes payload) {
  static_assert(sizeof(T) == 4);
  std::vector<T> values(payload.size / 4);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t word = little_endian(payload.data + 4 * i);
    std::memcpy(&values[i], &word, 4);
  }
  return values;
}

// One outermost row of two's complement integers of `bits` bits, least significant bit first; the bits left over must be 0.
void unpack_row(const uint8_t* row, uint64_t row_bytes, uint64_t elements, uint32_t bits, int8_t* out) {
  uint32_t window = 0, available = 0;
  uint64_t at = 0;
  for (uint64_t i = 0; i < elements; ++i) {
    if (available < bits) {
      window |= static_cast<uint32_t>(row[at++]) << available;
      available += 8;
    }
    const uint32_t field = window & ((1u << bits) - 1);
    const uint32_t sign = 1u << (bits - 1);
    out[i] = static_cast<int8_t>(static_cast<int32_t>(field ^ sign) - static_cast<int32_t>(sign));
    window >>= bits;
    available -= bits;
  }
  require(window == 0 && at == row_bytes, "a bit between two packed rows is set");
}

// In pieces whose sums fit 16 bits, which compilers turn into vectors.
int64_t sum_of_magnitudes(const int8_t* values, uint64_t count) {
  constexpr uint64_t kPiece = 256;
  int64_t sum = 0;
  for (uint64_t begin = 0; begin < count; begin += kPiece) {
    const uint64_t end = std::min(begin + kPiece, count);
    uint16_t piece = 0;
    for (uint64_t i = begin; i < end; ++i) piece = static_cast<uint16_t>(piece + std::abs(static_cast<int>(values[i])));
    sum += piece;
  }
  return sum;
}

}  // namespace

Tensors::Tensors(const Model& model, const std::function<Bytes(uint32_t)>& payload) {
  const size_t count = model.tensors.size();
  int8_.resize(count);
  int32_.resize(count);
  uint32_.resize(count);
  float32_.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    const Tensor& t = model.tensors[i];
    decode(model, i, t.sha256.data == nullptr ? t.inline_data : payload(i));
  }
  if (model.channel_affine) check_channel_affine(*model.channel_affine);
  for (const Operator& op : model.operators) check_operator(model, op);
}

void Tensors::decode(const Model& model, uint32_t index, Bytes payload) {
  const Tensor& t = model.tensors[index];
  require(payload.size == t.payload_bytes(), "a payload does not have the size of its tensor");
  switch (t.dtype) {
    case DType::kInt8: {
      std::vector<int8_t>& values = int8_[index];
      if (t.bits == 0 && !t.is_block_sparse()) {
        const auto* dense = reinterpret_cast<const int8_t*>(payload.data);
        values.assign(dense, dense + payload.size);
        break;
      }
      values.resize(t.elements());
      if (t.is_block_sparse()) {
        decode_blocks(t, payload, values.data());
        break;
      }
      const uint64_t row_bytes = t.row_bytes(), row_elements = t.row_elements();
      for (uint64_t row = 0; row < t.shape[0]; ++row) {
        unpack_row(payload.data + row * row_bytes, row_bytes, row_elements, t.bits, values.data() + row * row_elements);
      }
      break;
    }
    case DType::kInt32: int32_[index] = decode_words<int32_t>(payload); break;
    case DType::kUint32: uint32_[index] = decode_words<uint32_t>(payload); break;
    case DType::kFloat32: float32_[index] = decode_words<float>(payload); break;
  }
}

void Tensors::check_operator(const Model& model, const Operator& op) const {
  if (const auto* conv = std::get_if<Conv2D>(&op.kind)) {
    check_requantize(conv->requantize);
    check_weight(model, conv->weight, conv->bias, model.activations[op.inputs[0]]);
  } else if (const auto* linear = std::get_if<Linear>(&op.kind)) {
    check_requantize(linear->requantize);
    check_weight(model, linear->weight, linear->bias, model.activations[op.inputs[0]]);
  } else if (const auto* add = std::get_if<Add>(&op.kind)) {
    check_requantize(add->requantize);
  } else if (const auto* pool = std::get_if<AveragePool>(&op.kind)) {
    check_requantize(pool->requantize);
  } else if (const auto* concat = std::get_if<Concat>(&op.kind)) {
    for (const Requantize& requantize : concat->requantize) check_requantize(requantize);
  } else if (const auto* product = std::get_if<MatMul>(&op.kind)) {
    check_requantize(product->requantize);
  } else if (const auto* multiply = std::get_if<Multiply>(&op.kind)) {
    check_requantize(multiply->requantize);
  } else if (const auto* norm = std::get_if<LayerNorm>(&op.kind)) {
    check_requantize(norm->requantize);
    check_norm(norm->gain, norm->bias);
  } else if (const auto* softmax = std::get_if<Softmax>(&op.kind)) {
    require(uint32_[softmax->table][0] != 0, "a softmax table's entry 0 is 0");
  } else if (const auto* rules = std::get_if<RuleTable>(&op.kind)) {
    check_requantize(rules->requantize);
    check_rule_nodes(uint32_[rules->nodes], rules->trees, model.activations[op.inputs[0]].elements());
  }
}

void Tensors::check_weight(const Model& model, uint32_t weight, const std::optional<uint32_t>& bias, const Activation& x) const {
  const Tensor& t = model.tensors[weight];
  const uint64_t row_elements = t.row_elements();
  const std::vector<int8_t>& values = int8_[weight];
  const bool has_lowest = t.bits == 0 && std::memchr(values.data(), 0x80, values.size()) != nullptr;
  require(!has_lowest, "a dense weight is -128");
  for (uint64_t row = 0; row < t.shape[0]; ++row) {
    const int64_t sum = sum_of_magnitudes(values.data() + row * row_elements, row_elements);
    const int64_t magnitude = bias ? std::abs(static_cast<int64_t>(int32_[*bias][row])) : 0;
    require(sum * x.max_magnitude() + magnitude < limits::kAccumulator, "an accumulator can overflow");
  }
}

void Tensors::check_norm(uint32_t gain, const std::optional<uint32_t>& bias) const {
  for (size_t channel = 0; channel < int8_[gain].size(); ++channel) {
    const int64_t magnitude = bias ? std::abs(static_cast<int64_t>(int32_[*bias][channel])) : 0;
    require(std::abs(static_cast<int64_t>(int8_[gain][channel])) * limits::kNormLargest + magnitude < limits::kAccumulator,
            "an accumulator can overflow");
  }
}

void Tensors::check_requantize(const Requantize& requantize) const {
  if (requantize.is_shift) {
    for (const int8_t s : int8_[requantize.tensor]) {
      require(s >= limits::kShiftMin && s <= limits::kShiftMax, "a shift is out of range");
    }
  } else {
    for (const float m : float32_[requantize.tensor]) {  // NaN fails both comparisons
      require(m >= limits::kMultiplierMin && m <= limits::kMultiplierMax, "a multiplier is out of range");
    }
  }
}

void Tensors::check_channel_affine(uint32_t affine) const {
  const std::vector<float>& values = float32_[affine];
  const size_t channels = values.size() / 2;
  for (size_t c = 0; c < channels; ++c) {
    const float multiplier = values[channels + c];
    const bool in_range = multiplier >= limits::kInputMultiplierMin && multiplier <= limits::kInputMultiplierMax;
    require(std::isfinite(values[c]) && in_range, "an input offset or multiplier is out of range");
  }
}

// Each level has two nodes for every condition of the level before, the first one the roots; nothing is left over.
void Tensors::check_rule_nodes(const std::vector<uint32_t>& nodes, uint32_t trees, uint64_t features) const {
  for (const uint32_t node : nodes) {
    require(node == 0 || node >> 24 == 1, "a node is neither a condition nor a leaf");
    require(node == 0 || (node & 0xFFFF) < features, "a condition reads a feature that is not there");
  }
  uint64_t begin = 0, end = trees, depth = 0;
  for (;;) {
    uint64_t conditions = 0;
    for (uint64_t i = begin; i < end; ++i) conditions += nodes[i] != 0;
    if (conditions == 0) break;
    begin = end;
    end += 2 * conditions;
    require(end <= nodes.size(), "a condition's nodes are not there");
    require(++depth <= limits::kRuleDepth, "a rule has too many conditions");
  }
  require(end == nodes.size(), "no condition leads to a node");
}

}  // namespace espalier
