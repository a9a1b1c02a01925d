// Operators of sequences and transformers: products of activations, softmax, layer norm, elementwise products, permutations, constants.
#include <cstring>

#include "sequence_kernels.h"
#include "step.h"

namespace espalier {
namespace {

const SequenceKernels& kernels_of(const PlanContext& context) {
  return context.kernels.sequence == nullptr ? kPortableSequence : *context.kernels.sequence;
}

// One entry for each lane of the widest vector, so that kernels load what all elements share as they do for channels.
RequantizeParams shared_requantize(const PlanContext& context, const Requantize& q, const Activation& y) {
  return prepare_requantize(q, context.tensors, y.zero_point, kChannelPadding, std::vector<int32_t>(kChannelPadding, 0));
}

class MatMulStep : public Step {
 public:
  MatMulStep(PlanContext& context, const Operator& op, const MatMul& product)
      : run_(kernels_of(context).matmul), a_(place_of(context, op.inputs[0])), b_(place_of(context, op.inputs[1])),
        out_(place_of(context, op.output)) {
    const Activation& a = context.model.activations[op.inputs[0]];
    const Activation& b = context.model.activations[op.inputs[1]];
    const Activation& y = context.model.activations[op.output];
    args_.heads = product.heads;
    args_.b_transposed = product.b_transposed;
    args_.a_matrix = product.matrix(a, product.a_stacked);
    args_.b_matrix = product.matrix(b, product.b_stacked);
    args_.out_matrix = product.matrix(y, product.output_stacked);
    args_.a_zero = a.zero_point + kByteOffset;
    args_.b_zero = b.zero_point + kByteOffset;
    requantize_ = shared_requantize(context, product.requantize, y);
    const auto scratch_bytes = kernels_of(context).matmul_scratch_bytes;
    scratch_ = Place(context.buffers, context.scratch(scratch_bytes(args_.out_matrix.columns, args_.a_matrix.columns)));
  }

  void run(uint8_t* arena) const override {
    MatMulArgs args = args_;
    args.a = a_.in(arena);
    args.b = b_.in(arena);
    args.out = out_.in(arena);
    args.requantize = &requantize_;
    run_(args, scratch_.in(arena));
  }
  size_t constant_bytes() const override { return requantize_.bytes(); }

 private:
  void (*run_)(const MatMulArgs&, uint8_t*);
  Place a_, b_, out_, scratch_;
  MatMulArgs args_;
  RequantizeParams requantize_;
};

class LayerNormStep : public Step {
 public:
  LayerNormStep(PlanContext& context, const Operator& op, const LayerNorm& norm)
      : run_(kernels_of(context).layer_norm), in_(place_of(context, op.inputs[0])),
        out_(place_of(context, op.output)) {
    const Activation& x = context.model.activations[op.inputs[0]];
    const Activation& y = context.model.activations[op.output];
    args_.channels = y.channels();
    args_.pixels = y.elements() / y.channels();
    args_.input_zero = x.zero_point + kByteOffset;
    args_.epsilon = static_cast<int64_t>(norm.epsilon);
    for (const int8_t gain : context.tensors.int8(norm.gain)) gain_.push_back(gain);
    gain_.resize(gain_.size() + kChannelPadding, 0);
    std::vector<int32_t> bias(args_.channels, 0);
    if (norm.bias) bias = context.tensors.int32(*norm.bias);
    requantize_ = prepare_requantize(norm.requantize, context.tensors, y.zero_point, args_.channels, bias);
  }

  void run(uint8_t* arena) const override {
    LayerNormArgs args = args_;
    args.x = in_.in(arena);
    args.out = out_.in(arena);
    args.gain = gain_.data();
    args.requantize = &requantize_;
    run_(args);
  }
  size_t constant_bytes() const override { return requantize_.bytes() + gain_.size() * sizeof(int32_t); }

 private:
  void (*run_)(const LayerNormArgs&);
  Place in_, out_;
  LayerNormArgs args_;
  std::vector<int32_t> gain_;
  RequantizeParams requantize_;
};

class SoftmaxStep : public Step {
 public:
  SoftmaxStep(PlanContext& context, const Operator& op, const Softmax& softmax)
      : run_(kernels_of(context).softmax), in_(place_of(context, op.inputs[0])), out_(place_of(context, op.output)),
        table_(context.tensors.uint32(softmax.table)) {
    const Activation& y = context.model.activations[op.output];
    args_.channels = y.channels();
    args_.pixels = y.elements() / y.channels();
    scratch_ = Place(context.buffers, context.scratch((size_t{args_.channels} + kChannelPadding) * sizeof(uint32_t)));
  }

  void run(uint8_t* arena) const override {
    SoftmaxArgs args = args_;
    args.x = in_.in(arena);
    args.out = out_.in(arena);
    args.table = table_.data();
    run_(args, scratch_.in(arena));
  }
  size_t constant_bytes() const override { return table_.size() * sizeof(uint32_t); }

 private:
  void (*run_)(const SoftmaxArgs&, uint8_t*);
  Place in_, out_, scratch_;
  SoftmaxArgs args_;
  std::vector<uint32_t> table_;
};

class MultiplyStep : public Step {
 public:
  MultiplyStep(PlanContext& context, const Operator& op, const Multiply& multiply)
      : run_(kernels_of(context).multiply), a_(place_of(context, op.inputs[0])),
        b_(place_of(context, op.inputs[1])), out_(place_of(context, op.output)) {
    const Activation& a = context.model.activations[op.inputs[0]];
    const Activation& b = context.model.activations[op.inputs[1]];
    const Activation& y = context.model.activations[op.output];
    args_.run = b.elements();
    args_.runs = y.elements() / b.elements();
    args_.a_zero = a.zero_point + kByteOffset;
    args_.b_zero = b.zero_point + kByteOffset;
    requantize_ = shared_requantize(context, multiply.requantize, y);
  }

  void run(uint8_t* arena) const override {
    MultiplyArgs args = args_;
    args.a = a_.in(arena);
    args.b = b_.in(arena);
    args.out = out_.in(arena);
    args.requantize = &requantize_;
    run_(args);
  }
  size_t constant_bytes() const override { return requantize_.bytes(); }

 private:
  void (*run_)(const MultiplyArgs&);
  Place a_, b_, out_;
  MultiplyArgs args_;
  RequantizeParams requantize_;
};

class PermuteStep : public Step {
 public:
  PermuteStep(PlanContext& context, const Operator& op, const Permute& permute)
      : in_(place_of(context, op.inputs[0])), out_(place_of(context, op.output)) {
    const std::vector<uint32_t>& shape = context.model.activations[op.inputs[0]].shape;
    const size_t strides[3] = {size_t{shape[1]} * shape[2], shape[2], 1};
    for (size_t i = 0; i < 3; ++i) {
      size_[i] = shape[permute.axes[i]];
      stride_[i] = strides[permute.axes[i]];
    }
  }

  void run(uint8_t* arena) const override {
    uint8_t* out = out_.in(arena);
    for (size_t i = 0; i < size_[0]; ++i) {
      for (size_t j = 0; j < size_[1]; ++j, out += size_[2]) {
        const uint8_t* x = in_.in(arena) + i * stride_[0] + j * stride_[1];
        if (stride_[2] == 1) {
          std::memcpy(out, x, size_[2]);
        } else {
          for (size_t k = 0; k < size_[2]; ++k) out[k] = x[k * stride_[2]];
        }
      }
    }
  }
  size_t constant_bytes() const override { return 0; }

 private:
  Place in_, out_;
  size_t size_[3], stride_[3];  // by output axis, strides in the input
};

class ConstantStep : public Step {
 public:
  ConstantStep(PlanContext& context, const Operator& op, const Constant& constant) : out_(place_of(context, op.output)) {
    for (const int8_t q : context.tensors.int8(constant.value)) value_.push_back(static_cast<uint8_t>(q + kByteOffset));
  }

  void run(uint8_t* arena) const override { std::memcpy(out_.in(arena), value_.data(), value_.size()); }
  size_t constant_bytes() const override { return value_.size(); }

 private:
  Place out_;
  std::vector<uint8_t> value_;
};

}  // namespace

StepPtr make_permute(PlanContext& context, const Operator& op, const Permute& permute) {
  return std::make_unique<PermuteStep>(context, op, permute);
}

StepPtr make_matmul(PlanContext& context, const Operator& op, const MatMul& product) {
  return std::make_unique<MatMulStep>(context, op, product);
}

StepPtr make_layer_norm(PlanContext& context, const Operator& op, const LayerNorm& norm) {
  return std::make_unique<LayerNormStep>(context, op, norm);
}

StepPtr make_softmax(PlanContext& context, const Operator& op, const Softmax& softmax) {
  return std::make_unique<SoftmaxStep>(context, op, softmax);
}

StepPtr make_multiply(PlanContext& context, const Operator& op, const Multiply& multiply) {
  return std::make_unique<MultiplyStep>(context, op, multiply);
}

StepPtr make_constant(PlanContext& context, const Operator& op, const Constant& constant) {
  return std::make_unique<ConstantStep>(context, op, constant);
}

}  // namespace espalier
