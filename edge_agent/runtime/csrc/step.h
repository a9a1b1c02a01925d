// A step is one operator made ready for this CPU: constants packed, kernel chosen, places in the arena known.
//
// To add an operator: a struct in format.h with its parsing and checks, a make function in a step_*.cc, a line in `make_step`.
#pragma once

#include <memory>

#include "crew.h"
#include "format.h"
#include "kernels.h"
#include "map.h"
#include "tensors.h"

namespace espalier {

class Step {
 public:
  virtual ~Step() = default;
  virtual void run(uint8_t* arena) const = 0;
  virtual size_t constant_bytes() const = 0;

  // What it costs in multiplications of a matrix product, where several threads may run a share each; 0 where only one may run it.
  virtual uint64_t shareable_work() const { return 0; }
  virtual void run_share(uint8_t* arena, Share) const { run(arena); }
};

// What making a step needs: the model, its constants, the path, and buffers that get their offsets when all steps are made.
struct PlanContext {
  const Model& model;
  const Tensors& tensors;
  const Kernels& kernels;
  std::vector<Buffer>& buffers;
  std::vector<size_t> buffer_of;  // by activation
  std::vector<Map> maps;          // by activation
  uint32_t step = 0;              // being made

  // Scratch that lives only while this step runs; returns a buffer index.
  size_t scratch(size_t bytes) {
    buffers.push_back({bytes + kOverread, step, step, 0});
    return buffers.size() - 1;
  }
};

// Of an activation that has no border: all that conv and add do not touch.
inline Place place_of(const PlanContext& context, uint32_t activation) {
  return Place(context.buffers, context.buffer_of[activation]);
}

using StepPtr = std::unique_ptr<Step>;

StepPtr make_conv2d(PlanContext& context, const Operator& op, const Conv2D& conv);
StepPtr make_linear(PlanContext& context, const Operator& op, const Linear& linear);
StepPtr make_add(PlanContext& context, const Operator& op, const Add& add);
StepPtr make_concat(PlanContext& context, const Operator& op, const Concat& concat);
StepPtr make_max_pool(PlanContext& context, const Operator& op, const MaxPool& pool);
StepPtr make_average_pool(PlanContext& context, const Operator& op, const AveragePool& pool);
StepPtr make_clamp(PlanContext& context, const Operator& op, const Clamp& clamp);
StepPtr make_table(PlanContext& context, const Operator& op, const Table& table);
StepPtr make_softmax(PlanContext& context, const Operator& op, const Softmax& softmax);
StepPtr make_permute(PlanContext& context, const Operator& op, const Permute& permute);
StepPtr make_matmul(PlanContext& context, const Operator& op, const MatMul& product);
StepPtr make_layer_norm(PlanContext& context, const Operator& op, const LayerNorm& norm);
StepPtr make_multiply(PlanContext& context, const Operator& op, const Multiply& multiply);
StepPtr make_constant(PlanContext& context, const Operator& op, const Constant& constant);
StepPtr make_rule_table(PlanContext& context, const Operator& op, const RuleTable& rules);
StepPtr make_select(PlanContext& context, const Operator& op, const Select& select);

// The step of an operator; null where it computes nothing (flatten shares its input's buffer).
StepPtr make_step(PlanContext& context, const Operator& op);

}  // namespace espalier
