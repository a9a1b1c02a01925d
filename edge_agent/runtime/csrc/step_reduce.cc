// Operators that reduce over a window or an axis without weights: pools and softmax.
#include <array>

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

class SoftmaxStep : public Step {
 public:
  SoftmaxStep(PlanContext& context, const Operator& op, const Softmax& softmax)
      : in_(place_of(context, op.inputs[0])), out_(place_of(context, op.output)) {
    const Activation& y = context.model.activations[op.output];
    channels_ = y.channels();
    rows_ = y.elements() / channels_;
    const std::vector<uint32_t>& values = context.tensors.uint32(softmax.table);
    std::copy(values.begin(), values.end(), table_.begin());
  }

  void run(uint8_t* arena) const override {
    const uint8_t* x = in_.in(arena);
    uint8_t* out = out_.in(arena);
    for (size_t row = 0; row < rows_; ++row, x += channels_, out += channels_) {
      const uint8_t largest = *std::max_element(x, x + channels_);
      uint64_t sum = 0;
      for (size_t i = 0; i < channels_; ++i) sum += table_[largest - x[i]];
      for (size_t i = 0; i < channels_; ++i) {
        const uint64_t value = (510 * static_cast<uint64_t>(table_[largest - x[i]]) + sum) / (2 * sum);
        out[i] = static_cast<uint8_t>(std::min<uint64_t>(value, 255));  // minus 128 and plus the stored offset
      }
    }
  }
  size_t constant_bytes() const override { return sizeof table_; }

 private:
  Place in_, out_;
  size_t channels_ = 0, rows_ = 0;
  std::array<uint32_t, 256> table_;
};

}  // namespace

StepPtr make_max_pool(PlanContext& context, const Operator& op, const MaxPool& pool) {
  return std::make_unique<PoolStep>(context, op, pool.window);
}

StepPtr make_average_pool(PlanContext& context, const Operator& op, const AveragePool& pool) {
  return std::make_unique<PoolStep>(context, op, pool);
}

StepPtr make_softmax(PlanContext& context, const Operator& op, const Softmax& softmax) {
  return std::make_unique<SoftmaxStep>(context, op, softmax);
}

}  // namespace espalier
