// Activations, tensors, and the model as a whole.
#include "format.h"

#include <algorithm>
#include <cmath>

#include "format_limits.h"
#include "format_operators.h"

namespace espalier {
namespace {

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
  a.elements();  // throws where there are too many
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
  t.elements();  // throws where there are too many
  require(is_known_encoding(t, encoding), "a tensor is neither dense nor packed nor block-sparse");
  require(has_data && t.size_bytes == t.payload_bytes(), "a tensor's data does not have the size of its shape");
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
