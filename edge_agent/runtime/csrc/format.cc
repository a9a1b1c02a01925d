#include "format.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

template <class T>
T& add(std::vector<T>& list, size_t most) {
  require(list.size() < most, "a list is longer than the format allows");
  return list.emplace_back();
}

struct BlobRef {
  Bytes sha256;
  uint64_t size_bytes;
};

BlobRef parse_blob(Reader r, uint64_t most) {
  Bytes sha256;
  uint64_t size_bytes = 0;
  while (r.next()) {
    switch (r.number()) {
      case 1: sha256 = r.bytes(); break;
      case 2: size_bytes = r.uint64(); break;
      default: r.unknown();
    }
  }
  require(sha256.size == 32, "a blob is not named by 32 bytes");
  require(size_bytes >= 1 && size_bytes <= most, "a blob's size is out of range");
  return {sha256, size_bytes};
}

Activation parse_activation(Reader r) {
  Activation a;
  uint32_t dtype = 0;
  while (r.next()) {
    switch (r.number()) {
      case 1: r.string(limits::kNameBytes); break;
      case 2: dtype = r.uint32(); break;
      case 3: a.shape = r.packed_uint32(limits::kRank); break;
      case 4: a.scale = r.float32(); break;
      case 5: a.zero_point = r.sint32(); break;
      default: r.unknown();
    }
  }
  require(dtype == static_cast<uint32_t>(DType::kInt8), "an activation is not INT8");
  require(a.shape.size() == 1 || a.shape.size() == 3, "an activation's rank is not 1 or 3");
  product(a.shape, 0, limits::kActivationElements);
  require(std::isfinite(a.scale) && a.scale >= limits::kScaleMin, "a scale is out of range");
  require(a.zero_point >= -128 && a.zero_point <= 127, "a zero point is out of range");
  return a;
}

bool is_known_encoding(const Tensor& t, uint32_t encoding) {
  const bool packed_bits = t.bits == 2 || t.bits == 3 || t.bits == 4 || t.bits == 6;
  const bool is_int8 = t.dtype == DType::kInt8, has_blocks = t.block_rows != 0 || t.blocks != 0;
  switch (encoding) {
    case 1: return t.bits == 0 && !has_blocks;
    case 2: return is_int8 && packed_bits && !has_blocks;
    case 3: {
      const bool rows_known = t.block_rows == 4 || t.block_rows == 8 || t.block_rows == 16;
      return is_int8 && (t.bits == 0 || packed_bits) && rows_known && t.shape.size() >= 2;
    }
    default: return false;
  }
}

void parse_tensor(Reader r, Tensor& t) {
  uint32_t dtype = 0, encoding = 0;
  bool has_data = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: r.string(limits::kNameBytes); break;
      case 2: dtype = r.uint32(); break;
      case 3: t.shape = r.packed_uint32(limits::kRank); break;
      case 4: encoding = r.uint32(); break;
      case 5: t.bits = r.uint32(); break;
      case 6: {
        const BlobRef blob = parse_blob(r.message(), limits::kAllPayloadBytes);
        t.sha256 = blob.sha256;
        t.size_bytes = blob.size_bytes;
        has_data = true;
        break;
      }
      case 7:
        require(!has_data, "a tensor has data twice");
        t.inline_data = r.bytes(Presence::kExplicit);
        require(t.inline_data.size <= limits::kInlineBytes, "a tensor has too many bytes inline");
        t.size_bytes = t.inline_data.size;
        has_data = true;
        break;
      case 8: t.block_rows = r.uint32(); break;
      case 9: t.blocks = r.uint32(); break;
      default: r.unknown();
    }
  }
  require(dtype == 1 || dtype == 4 || dtype == 5 || dtype == 6, "a tensor's dtype is not in use");
  t.dtype = static_cast<DType>(dtype);
  require(!t.shape.empty(), "a tensor has no shape");
  product(t.shape, 0, limits::kTensorElements);
  require(is_known_encoding(t, encoding), "a tensor is neither dense nor packed nor block-sparse");
  require(has_data && t.size_bytes == t.payload_bytes(), "a tensor's data does not have the size of its shape");
}

Requantize parse_requantize(Reader r) {
  Requantize q;
  int forms = 0;
  while (r.next()) {
    switch (r.number()) {
      case 1:
      case 2:
        q.is_shift = r.number() == 2;
        q.tensor = r.uint32(Presence::kExplicit);
        ++forms;
        break;
      case 3: q.qmin = r.sint32(); break;
      case 4: q.qmax = r.sint32(); break;
      default: r.unknown();
    }
  }
  require(forms == 1, "a requantize has not one form");
  return q;
}

void parse_padding(Reader r, Window& w) {
  while (r.next()) {
    switch (r.number()) {
      case 1: w.top = r.uint32(); break;
      case 2: w.bottom = r.uint32(); break;
      case 3: w.left = r.uint32(); break;
      case 4: w.right = r.uint32(); break;
      default: r.unknown();
    }
  }
}

Conv2D parse_conv2d(Reader r, const std::vector<Tensor>& tensors) {
  Conv2D c;
  bool has_padding = false, has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: c.weight = r.uint32(); break;
      case 2: c.bias = r.uint32(Presence::kExplicit); break;
      case 3: c.window.stride_h = r.uint32(); break;
      case 4: c.window.stride_w = r.uint32(); break;
      case 5: parse_padding(r.message(), c.window), has_padding = true; break;
      case 6: c.groups = r.uint32(); break;
      case 7: c.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_padding && has_requantize, "a convolution has no padding or requantize");
  require(c.weight < tensors.size() && tensors[c.weight].shape.size() == 4, "a convolution's weight is not of rank 4");
  c.window.kernel_h = tensors[c.weight].shape[1];
  c.window.kernel_w = tensors[c.weight].shape[2];
  return c;
}

Linear parse_linear(Reader r) {
  Linear l;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: l.weight = r.uint32(); break;
      case 2: l.bias = r.uint32(Presence::kExplicit); break;
      case 3: l.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a linear operator has no requantize");
  return l;
}

Add parse_add(Reader r) {
  Add a;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: a.multiplier_a = r.sint32(); break;
      case 2: a.multiplier_b = r.sint32(); break;
      case 3: a.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "an add has no requantize");
  return a;
}

Concat parse_concat(Reader r) {
  Concat c;
  while (r.next(field_bit(1))) {
    switch (r.number()) {
      case 1: add(c.requantize, limits::kOperatorInputs) = parse_requantize(r.message()); break;
      default: r.unknown();
    }
  }
  return c;
}

// Max and average pools share their first five fields.
AveragePool parse_pool(Reader r, bool is_average) {
  AveragePool p;
  bool has_padding = false, has_requantize = !is_average;
  while (r.next()) {
    const uint32_t number = r.number();
    if (number > 5 && !is_average) r.unknown();
    switch (number) {
      case 1: p.window.kernel_h = r.uint32(); break;
      case 2: p.window.kernel_w = r.uint32(); break;
      case 3: p.window.stride_h = r.uint32(); break;
      case 4: p.window.stride_w = r.uint32(); break;
      case 5: parse_padding(r.message(), p.window), has_padding = true; break;
      case 6: p.reciprocal = r.uint32(); break;
      case 7: p.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_padding && has_requantize, "a pool has no padding or requantize");
  return p;
}

Clamp parse_clamp(Reader r) {
  Clamp c;
  while (r.next()) {
    switch (r.number()) {
      case 1: c.qmin = r.sint32(); break;
      case 2: c.qmax = r.sint32(); break;
      default: r.unknown();
    }
  }
  return c;
}

// Table, Softmax and Constant: one tensor index.
uint32_t parse_one_index(Reader r) {
  uint32_t index = 0;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    index = r.uint32();
  }
  return index;
}

RuleTable parse_rule_table(Reader r) {
  RuleTable t;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: t.nodes = r.uint32(); break;
      case 2: t.scores = r.uint32(); break;
      case 3: t.trees = r.uint32(); break;
      case 4: t.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a rule table has no requantize");
  return t;
}

Select parse_select(Reader r) {
  Select s;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    s.threshold = r.sint32();
  }
  return s;
}

void parse_empty(Reader r) {
  if (r.next()) r.unknown();
}

Permute parse_permute(Reader r) {
  Permute p;
  std::vector<uint32_t> axes;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    axes = r.packed_uint32(p.axes.size());
  }
  require(axes.size() == p.axes.size(), "a permutation has not three axes");
  std::copy(axes.begin(), axes.end(), p.axes.begin());
  std::sort(axes.begin(), axes.end());
  require(axes == std::vector<uint32_t>{0, 1, 2}, "axes are no order of three");
  return p;
}

MatMul parse_matmul(Reader r) {
  MatMul m;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: m.heads = r.uint32(); break;
      case 2: m.a_stacked = r.boolean(); break;
      case 3: m.b_stacked = r.boolean(); break;
      case 4: m.b_transposed = r.boolean(); break;
      case 5: m.output_stacked = r.boolean(); break;
      case 6: m.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a matmul has no requantize");
  return m;
}

LayerNorm parse_layer_norm(Reader r) {
  LayerNorm n;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: n.gain = r.uint32(); break;
      case 2: n.bias = r.uint32(Presence::kExplicit); break;
      case 3: n.epsilon = r.uint64(); break;
      case 4: n.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a layer norm has no requantize");
  return n;
}

Multiply parse_multiply(Reader r) {
  Multiply m;
  bool has_requantize = false;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    m.requantize = parse_requantize(r.message()), has_requantize = true;
  }
  require(has_requantize, "a multiply has no requantize");
  return m;
}

Kind parse_kind(Reader& r, const std::vector<Tensor>& tensors) {
  const uint32_t number = r.number();
  Reader m = r.message();
  switch (number) {
    case 10: return parse_conv2d(m, tensors);
    case 11: return parse_linear(m);
    case 12: return parse_add(m);
    case 13: return parse_concat(m);
    case 14: return MaxPool{parse_pool(m, false).window};
    case 15: return parse_pool(m, true);
    case 16: parse_empty(m); return Flatten{};
    case 17: return parse_clamp(m);
    case 18: return Table{parse_one_index(m)};
    case 19: return Softmax{parse_one_index(m)};
    case 20: parse_empty(m); return Reshape{};
    case 21: return parse_permute(m);
    case 22: return parse_matmul(m);
    case 23: return parse_layer_norm(m);
    case 24: return parse_multiply(m);
    case 25: return Constant{parse_one_index(m)};
    case 28: return parse_rule_table(m);
    case 29: return parse_select(m);
    default: r.unknown();
  }
}

Operator parse_operator(Reader r, const std::vector<Tensor>& tensors) {
  Operator o;
  while (r.next()) {
    switch (r.number()) {
      case 1: o.name = r.string(limits::kNameBytes); break;
      case 2: o.inputs = r.packed_uint32(limits::kOperatorInputs); break;
      case 3: o.output = r.uint32(); break;
      default:
        require(o.kind.index() == 0, "an operator has two kinds");
        o.kind = parse_kind(r, tensors);
    }
  }
  require(!o.name.empty() && o.kind.index() != 0, "an operator has no name or no kind");
  return o;
}

void parse_input(Reader r, Model& model) {
  while (r.next()) {
    switch (r.number()) {
      case 1: model.input = r.uint32(); break;
      case 2: model.raw_table = r.uint32(Presence::kExplicit); break;
      case 3: model.input_multiplier = r.float32(); break;
      case 4: model.channel_affine = r.uint32(Presence::kExplicit); break;
      default: r.unknown();
    }
  }
}

void parse_output(Reader r, Model& model) {
  while (r.next(field_bit(2))) {
    switch (r.number()) {
      case 1: model.output = r.uint32(); break;
      case 2:
        r.string(limits::kNameBytes, Presence::kExplicit);
        require(++model.labels <= limits::kLabels, "there are too many labels");
        break;
      default: r.unknown();
    }
  }
}

bool is_model_name(const std::string& name) {
  const auto is_alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const auto is_allowed = [&](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  return !name.empty() && is_alphanumeric(name[0]) && std::all_of(name.begin(), name.end(), is_allowed);
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

Model parse_model(Bytes bytes) {
  require(bytes.size <= limits::kModelBytes, "the model is too large");
  Model model;
  uint32_t version = 0;
  std::string name;
  bool has_input = false, has_output = false;
  Reader r(bytes);
  while (r.next(field_bit(5) | field_bit(6) | field_bit(7))) {
    switch (r.number()) {
      case 1: version = r.uint32(); break;
      case 2: name = r.string(limits::kModelNameBytes); break;
      case 3: parse_input(r.message(), model), has_input = true; break;
      case 4: parse_output(r.message(), model), has_output = true; break;
      case 5: add(model.activations, limits::kActivations) = parse_activation(r.message()); break;
      case 6: parse_tensor(r.message(), add(model.tensors, limits::kTensors)); break;
      case 7: add(model.operators, limits::kOperators) = parse_operator(r.message(), model.tensors); break;
      case 8: parse_blob(r.message(), limits::kGoldenBytes); break;
      default: r.unknown();
    }
  }
  require(version == limits::kFormatVersion, "the format version is not 1");
  require(is_model_name(name), "the model's name is not allowed");
  require(has_input && has_output, "the model has no input or output");
  check_structure(model);
  return model;
}

}  // namespace espalier
