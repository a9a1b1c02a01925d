// Linear: weights as they are, without their zero blocks, or in planes of bits.
#include "pack.h"
#include "packed.h"
#include "product.h"
#include "step.h"

namespace espalier {
namespace {

using PackedLinearFunction = void (*)(const PackedArgs&);

PackedLinearFunction packed_kernel_of(const PackedKernels& kernels, uint32_t bits) {
  switch (bits) {
    case 2: return kernels.linear_2;
    case 3: return kernels.linear_3;
    case 4: return kernels.linear_4;
    default: return kernels.linear_6;
  }
}

class LinearStep : public Step {
 public:
  LinearStep(PlanContext& context, const Operator& op, const Linear& linear)
      : kernels_(context.kernels), in_(place_of(context, op.inputs[0])), out_(place_of(context, op.output)) {
    const Activation& x = context.model.activations[op.inputs[0]];
    const Activation& y = context.model.activations[op.output];
    requantize_ = prepare_requantize(linear.requantize, context.tensors, y.zero_point, y.shape[0],
                                     fold_bias(context, linear.weight, linear.bias, x.zero_point));
    gemm_.n = y.shape[0];
    gemm_.k = x.shape[0];
    const int8_t* weight = context.tensors.int8(linear.weight).data();
    if (is_sparse(context, linear.weight, gemm_)) {
      sparse_.emplace(context, gemm_, weight);
      return;
    }
    const uint32_t bits = context.model.tensors[linear.weight].bits;
    if (kernels_.packed != nullptr && stays_packed(gemm_.n, gemm_.k, bits)) {
      packed_kernel_ = packed_kernel_of(*kernels_.packed, bits);
      packed_ = pack_planes(weight, gemm_.n, gemm_.k, bits, kernels_.packed->lanes);
      return;
    }
    weight_ = pack_gemm(weight, gemm_.n, 1, gemm_.k, kernels_.gemm_layout);
    scratch_ = Place(context.buffers, context.scratch(gemm_scratch_bytes(kernels_, 1, gemm_.k)));
  }

  void run(uint8_t* arena) const override { run_share(arena, Share{}); }

  uint64_t shareable_work() const override {
    const bool is_dense = !sparse_ && packed_kernel_ == nullptr;
    return is_dense && kernels_.gemm_scratch_bytes == nullptr ? work_of(gemm_) : 0;
  }

  void run_share(uint8_t* arena, Share share) const override {
    GemmArgs args = gemm_;
    args.a = in_.in(arena);
    args.out = out_.in(arena);
    args.w = weight_.data();
    args.requantize = &requantize_;
    if (sparse_) {
      sparse_->run(args, arena);
    } else if (packed_kernel_ != nullptr) {
      packed_kernel_({args.a, args.n, args.k, packed_.data(), args.requantize, args.out});
    } else {
      run_gemm(kernels_, args, share, scratch_.in(arena));
    }
  }

  size_t constant_bytes() const override {
    return requantize_.bytes() + weight_.size() + packed_.size() + (sparse_ ? sparse_->bytes() : 0);
  }

 private:
  const Kernels& kernels_;
  Place in_, out_, scratch_;
  RequantizeParams requantize_;
  GemmArgs gemm_;
  Aligned<int8_t> weight_;  // or one of these
  std::optional<SparseProduct> sparse_;
  PackedLinearFunction packed_kernel_ = nullptr;
  Aligned<uint8_t> packed_;
};

}  // namespace

StepPtr make_linear(PlanContext& context, const Operator& op, const Linear& linear) {
  return std::make_unique<LinearStep>(context, op, linear);
}

}  // namespace espalier
