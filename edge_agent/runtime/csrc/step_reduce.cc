// Operators that reduce over a window without weights: pools.
#include "step.h"

namespace espalier {
namespace {

class PoolStep : public Step {
 public:
  PoolStep(PlanContext& context, const Operator& op, const Window& window)
      : run_(context.kernels.max_pool), in_(place_of(context, op.inputs[0])), out_(place_of(context, op.output)) {
    const Activation& x = context.model.activations[op.inputs[0]];
    const Activation& y = context.model.activations[op.output];
    args_.height = x.shape[0];
    args_.width = x.shape[1];
    args_.channels = x.shape[2];
    args_.out_height = y.shape[0];
    args_.out_width = y.shape[1];
    args_.window = window;
  }

  PoolStep(PlanContext& context, const Operator& op, const AveragePool& pool) : PoolStep(context, op, pool.window) {
    run_ = context.kernels.average_pool;
    const Activation& x = context.model.activations[op.inputs[0]];
    const Activation& y = context.model.activations[op.output];
    args_.input_zero = x.zero_point + kByteOffset;
    args_.reciprocal = static_cast<int32_t>(std::max(pool.reciprocal, 1u));
    const std::vector<int32_t> bias(kChannelPadding, 0);
    requantize_ = prepare_requantize(pool.requantize, context.tensors, y.zero_point, kChannelPadding, bias);
  }

  void run(uint8_t* arena) const override {
    PoolArgs args = args_;
    args.a = in_.in(arena);
    args.out = out_.in(arena);
    args.requantize = &requantize_;
    run_(args);
  }
  size_t constant_bytes() const override { return requantize_.bytes(); }

 private:
  void (*run_)(const PoolArgs&);
  Place in_, out_;
  PoolArgs args_;
  RequantizeParams requantize_;
};

}  // namespace

StepPtr make_max_pool(PlanContext& context, const Operator& op, const MaxPool& pool) {
  return std::make_unique<PoolStep>(context, op, pool.window);
}

StepPtr make_average_pool(PlanContext& context, const Operator& op, const AveragePool& pool) {
  return std::make_unique<PoolStep>(context, op, pool);
}

}  // namespace espalier
