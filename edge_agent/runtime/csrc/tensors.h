// Decodes tensor payloads and checks what depends on their values: ranges and accumulator bounds.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "format.h"

namespace espalier {

// The constants of a model, by tensor index. Only the list that fits a tensor's dtype is filled.
class Tensors {
 public:
  // `payload` gives the bytes of a tensor that is a blob, by tensor index. Throws FormatError.
  Tensors(const Model& model, const std::function<Bytes(uint32_t)>& payload);

  const std::vector<int8_t>& int8(uint32_t index) const { return int8_[index]; }
  const std::vector<int32_t>& int32(uint32_t index) const { return int32_[index]; }
  const std::vector<uint32_t>& uint32(uint32_t index) const { return uint32_[index]; }
  const std::vector<float>& float32(uint32_t index) const { return float32_[index]; }

 private:
  void decode(const Model& model, uint32_t index, Bytes payload);
  void check_operator(const Model& model, const Operator& op) const;
  void check_weight(const Model& model, uint32_t weight, const std::optional<uint32_t>& bias, const Activation& x) const;
  void check_norm(uint32_t gain, const std::optional<uint32_t>& bias) const;
  void check_requantize(const Requantize& requantize) const;
  void check_channel_affine(uint32_t affine) const;
  void check_rule_nodes(const std::vector<uint32_t>& nodes, uint32_t trees, uint64_t features) const;

  std::vector<std::vector<int8_t>> int8_;
  std::vector<std::vector<int32_t>> int32_;
  std::vector<std::vector<uint32_t>> uint32_;
  std::vector<std::vector<float>> float32_;
};

}  // namespace espalier
