// Convolution: chooses between the matrix product and the depthwise kernel, and packs weights.
//
// Padding is pixels that are there: a border of the zero point that the map has, or that a copy of it gets where other readers of the map can
// not have one. Then a kernel row of a convolution without groups is one contiguous run of kernel_w * channels bytes, and the kernels see
// nothing but strides.
#include <cstring>

#include "pack.h"
#include "product.h"
#include "step.h"

namespace espalier {
namespace {

struct Geometry {
  size_t row_bytes;                          // of the map as the kernels see it, padding included
  uint32_t channels;
  size_t out_row_bytes;
  uint32_t out_height, out_width, out_channels;
};

// A depthwise multiplication takes several times as long as one of a matrix product.
constexpr uint64_t kDepthwiseCost = 6;

// Copies a map into a larger one whose border is the zero point.
class PaddedCopy {
 public:
  PaddedCopy(PlanContext& context, const Activation& x, const Window& w)
      : window_(w), height_(x.shape[0]), row_bytes_(static_cast<size_t>(x.shape[1]) * x.shape[2]), channels_(x.shape[2]),
        zero_(static_cast<uint8_t>(x.zero_point + kByteOffset)) {
    const size_t rows = static_cast<size_t>(w.top) + height_ + w.bottom;
    place_ = Place(context.buffers, context.scratch(rows * padded_row_bytes()));
  }

  const uint8_t* copy(const uint8_t* x, uint8_t* arena) const {
    uint8_t* map = place_.in(arena);
    const size_t row = padded_row_bytes(), left = static_cast<size_t>(window_.left) * channels_;
    const size_t between = row - row_bytes_;  // a row's right border and the next one's left
    uint8_t* out = map + window_.top * row + left;
    std::memset(map, zero_, window_.top * row + left);
    for (uint32_t y = 0; y + 1 < height_; ++y, out += row) {
      std::memcpy(out, x + y * row_bytes_, row_bytes_);
      std::memset(out + row_bytes_, zero_, between);
    }
    std::memcpy(out, x + (height_ - 1) * row_bytes_, row_bytes_);
    std::memset(out + row_bytes_, zero_, static_cast<size_t>(window_.right) * channels_ + window_.bottom * row);
    return map;
  }

  size_t padded_row_bytes() const { return row_bytes_ + (static_cast<size_t>(window_.left) + window_.right) * channels_; }

 private:
  Window window_;
  uint32_t height_;
  size_t row_bytes_;
  uint32_t channels_;
  uint8_t zero_;
  Place place_;
};

class ConvStep : public Step {
 public:
  ConvStep(PlanContext& context, const Operator& op, const Conv2D& conv)
      : kernels_(context.kernels), in_(context.maps[op.inputs[0]]), out_(context.maps[op.output]), window_(conv.window) {
    const Activation& x = context.model.activations[op.inputs[0]];
    const Activation& y = context.model.activations[op.output];
    if (conv.window.has_padding() && !in_.has_border()) padded_.emplace(context, x, conv.window);
    geometry_ = {padded_ ? padded_->padded_row_bytes() : in_.row_bytes(), x.shape[2], out_.row_bytes(), y.shape[0], y.shape[1], y.shape[2]};
    requantize_ = prepare_requantize(conv.requantize, context.tensors, y.zero_point, y.shape[2],
                                     fold_bias(context, conv.weight, conv.bias, x.zero_point));
    const int8_t* weight = context.tensors.int8(conv.weight).data();
    is_depthwise_ = conv.groups == x.shape[2] && conv.groups == y.shape[2];
    if (is_depthwise_) {
      prepare_depthwise(conv.window, weight);
    } else {
      prepare_gemm(context, conv, weight);
    }
  }

  void run(uint8_t* arena) const override { run_share(arena, Share{}); }

  // A copy with padding is made by one thread alone, and scratch is for one.
  uint64_t shareable_work() const override {
    if (padded_ || kernels_.gemm_scratch_bytes != nullptr) return 0;
    if (is_depthwise_) return kDepthwiseCost * depthwise_.rows * depthwise_.m * depthwise_.channels * depthwise_.taps_h * depthwise_.taps_w;
    return work_of(gemm_) * weights_.size();
  }

  void run_share(uint8_t* arena, Share share) const override {
    const uint8_t* x = padded_ ? padded_->copy(in_.pixels(arena), arena) : in_.corner(arena, window_.top, window_.left);
    if (is_depthwise_) {
      DepthwiseArgs args = depthwise_;
      args.a = x;
      args.out = out_.pixels(arena);
      args.w = weights_[0].data();
      args.requantize = &requantize_;
      if (take_rows(args, share)) kernels_.depthwise(args);
      return;
    }
    GemmArgs args = gemm_;
    args.requantize = &requantize_;
    if (sparse_) {
      args.a = x;
      args.out = out_.pixels(arena);
      sparse_->run(args, arena);
      return;
    }
    for (size_t group = 0; group < weights_.size(); ++group) {
      args.a = x + group * args.k * (weights_.size() > 1);
      args.out = out_.pixels(arena) + group * args.n;
      args.channel = static_cast<uint32_t>(group * args.n);
      args.w = weights_[group].data();
      run_gemm(kernels_, args, share, scratch_.in(arena));
    }
  }

  size_t constant_bytes() const override {
    size_t bytes = requantize_.bytes() + (sparse_ ? sparse_->bytes() : 0);
    for (const auto& w : weights_) bytes += w.size();
    return bytes;
  }

 private:
  // The strides that matrix product and depthwise share.
  template <class Args>
  void set_strides(Args& args, const Window& w) const {
    args.row_stride = w.stride_h * geometry_.row_bytes;
    args.m_stride = static_cast<size_t>(w.stride_w) * geometry_.channels;
    args.tap_h_stride = geometry_.row_bytes;
    args.tap_w_stride = geometry_.channels;
    args.rows = geometry_.out_height;
    args.m = geometry_.out_width;
    args.taps_h = w.kernel_h;
    args.taps_w = w.kernel_w;
    args.out_m_stride = geometry_.out_channels;
    args.out_row_stride = geometry_.out_row_bytes;
  }

  void prepare_depthwise(const Window& w, const int8_t* weight) {
    set_strides(depthwise_, w);
    depthwise_.channels = geometry_.channels;
    weights_.push_back(pack_depthwise(weight, geometry_.channels, w.kernel_h, w.kernel_w, kernels_.depthwise_block));
    requantize_ = order_for_depthwise(requantize_, geometry_.channels, kernels_.depthwise_block);
  }

  void prepare_gemm(PlanContext& context, const Conv2D& conv, const int8_t* weight) {
    const Window& w = conv.window;
    set_strides(gemm_, w);
    gemm_.n = geometry_.out_channels / conv.groups;
    gemm_.k = geometry_.channels / conv.groups;
    if (conv.groups == 1) {  // a kernel row is contiguous
      gemm_.k *= gemm_.taps_w;
      gemm_.taps_w = 1;
    }
    const bool is_pointwise = w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && !w.has_padding();
    if (is_pointwise && !in_.has_border() && !out_.has_border()) {  // all pixels are one row
      gemm_.m *= gemm_.rows;
      gemm_.rows = 1;
    }
    if (geometry_.channels % 4 == 0 && is_sparse(context, conv.weight, gemm_)) {
      sparse_.emplace(context, gemm_, weight);
      return;
    }
    const uint32_t taps = gemm_.taps_h * gemm_.taps_w;
    const size_t group_elements = static_cast<size_t>(gemm_.n) * taps * gemm_.k;
    for (uint32_t group = 0; group < conv.groups; ++group) {
      weights_.push_back(pack_gemm(weight + group * group_elements, gemm_.n, taps, gemm_.k, kernels_.gemm_layout));
    }
    scratch_ = Place(context.buffers, context.scratch(gemm_scratch_bytes(kernels_, taps, gemm_.k)));
  }

  const Kernels& kernels_;
  Map in_, out_;
  Window window_;
  Place scratch_;
  std::optional<PaddedCopy> padded_;
  Geometry geometry_{};
  RequantizeParams requantize_;
  bool is_depthwise_ = false;
  GemmArgs gemm_;
  DepthwiseArgs depthwise_;
  std::optional<SparseProduct> sparse_;
  std::vector<Aligned<int8_t>> weights_;  // by group
};

}  // namespace

StepPtr make_conv2d(PlanContext& context, const Operator& op, const Conv2D& conv) {
  return std::make_unique<ConvStep>(context, op, conv);
}

}  // namespace espalier
