// Operators that treat each element alone: add, concat, clamp, table. All but add are maps of one byte, computed at load.
#include <array>
#include <cstring>

#include "step.h"

namespace espalier {
namespace {

using ByteTable = std::array<uint8_t, 256>;

class LookupStep : public Step {
 public:
  LookupStep(PlanContext& context, const Operator& op, const ByteTable& table)
      : kernels_(context.kernels), in_(place_of(context, op.inputs[0])), out_(place_of(context, op.output)),
        elements_(context.model.activations[op.output].elements()), table_(table) {}

  void run(uint8_t* arena) const override { kernels_.lookup(in_.in(arena), table_.data(), elements_, out_.in(arena)); }
  size_t constant_bytes() const override { return table_.size(); }

 private:
  const Kernels& kernels_;
  Place in_, out_;
  size_t elements_;
  ByteTable table_;
};

class AddStep : public Step {
 public:
  AddStep(PlanContext& context, const Operator& op, const Add& add)
      : kernels_(context.kernels), a_(context.maps[op.inputs[0]]), b_(context.maps[op.inputs[1]]), out_(context.maps[op.output]) {
    const Activation& a = context.model.activations[op.inputs[0]];
    const Activation& b = context.model.activations[op.inputs[1]];
    const Activation& y = context.model.activations[op.output];
    const int64_t zeros = int64_t{add.multiplier_a} * (a.zero_point + kByteOffset) + int64_t{add.multiplier_b} * (b.zero_point + kByteOffset);
    // One entry for each lane of the widest vector, so that kernels load the parameters as they do for channels.
    const std::vector<int32_t> bias(kChannelPadding, static_cast<int32_t>(static_cast<uint32_t>(-zeros)));
    requantize_ = prepare_requantize(add.requantize, context.tensors, y.zero_point, kChannelPadding, bias);
    args_.multiplier_a = add.multiplier_a;
    args_.multiplier_b = add.multiplier_b;
    if (a_.has_border() || b_.has_border() || out_.has_border()) rows_ = out_.rows();
    args_.elements = y.elements() / rows_;
  }

  void run(uint8_t* arena) const override { run_share(arena, Share{}); }

  uint64_t shareable_work() const override { return kCost * rows_ * args_.elements; }

  void run_share(uint8_t* arena, Share share) const override {
    const Share rows = rows_ > 1 ? share : Share{}, columns = rows_ > 1 ? Share{} : share;
    const size_t first = columns.begin(args_.elements, kAlignment);
    AddArgs args = args_;
    args.elements = columns.end(args_.elements, kAlignment) - first;
    args.requantize = &requantize_;
    for (size_t y = rows.begin(rows_); y < rows.end(rows_); ++y) {
      args.a = a_.pixels(arena) + y * a_.row_bytes() + first;
      args.b = b_.pixels(arena) + y * b_.row_bytes() + first;
      args.out = out_.pixels(arena) + y * out_.row_bytes() + first;
      kernels_.add(args);
    }
  }
  size_t constant_bytes() const override { return requantize_.bytes(); }

 private:
  static constexpr uint64_t kCost = 30;  // of an element, in multiplications of a matrix product

  const Kernels& kernels_;
  Map a_, b_, out_;
  uint32_t rows_ = 1;  // without a border all is one
  RequantizeParams requantize_;
  AddArgs args_;
};

// Each input through its own table into its slice of the last axis.
class ConcatStep : public Step {
 public:
  ConcatStep(PlanContext& context, const Operator& op, const Concat& concat)
      : kernels_(context.kernels), out_(place_of(context, op.output)) {
    const Activation& y = context.model.activations[op.output];
    out_channels_ = y.channels();
    pixels_ = y.elements() / out_channels_;
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      const Activation& x = context.model.activations[op.inputs[i]];
      const std::vector<int32_t> bias{-(x.zero_point + kByteOffset)};
      const RequantizeParams params = prepare_requantize(concat.requantize[i], context.tensors, y.zero_point, 1, bias);
      Part& part = parts_.emplace_back(Part{place_of(context, op.inputs[i]), x.channels(), {}});
      for (int32_t byte = 0; byte < 256; ++byte) part.table[byte] = requantize(byte, params, 0);
    }
  }

  void run(uint8_t* arena) const override {
    uint8_t* out = out_.in(arena);
    for (const Part& part : parts_) {
      const uint8_t* x = part.in.in(arena);
      for (size_t pixel = 0; pixel < pixels_; ++pixel) {
        kernels_.lookup(x + pixel * part.channels, part.table.data(), part.channels, out + pixel * out_channels_);
      }
      out += part.channels;
    }
  }
  size_t constant_bytes() const override { return parts_.size() * sizeof(ByteTable); }

 private:
  struct Part {
    Place in;
    uint32_t channels;
    ByteTable table;
  };

  const Kernels& kernels_;
  Place out_;
  size_t out_channels_ = 0, pixels_ = 0;
  std::vector<Part> parts_;
};

}  // namespace

StepPtr make_add(PlanContext& context, const Operator& op, const Add& add) { return std::make_unique<AddStep>(context, op, add); }

StepPtr make_concat(PlanContext& context, const Operator& op, const Concat& concat) {
  return std::make_unique<ConcatStep>(context, op, concat);
}

StepPtr make_clamp(PlanContext& context, const Operator& op, const Clamp& clamp) {
  ByteTable table;
  for (int32_t byte = 0; byte < 256; ++byte) {
    table[byte] = static_cast<uint8_t>(std::min(std::max(byte, clamp.qmin + kByteOffset), clamp.qmax + kByteOffset));
  }
  return std::make_unique<LookupStep>(context, op, table);
}

StepPtr make_table(PlanContext& context, const Operator& op, const Table& table) {
  const std::vector<int8_t>& values = context.tensors.int8(table.table);
  ByteTable bytes;
  for (size_t byte = 0; byte < 256; ++byte) bytes[byte] = static_cast<uint8_t>(values[byte] + kByteOffset);
  return std::make_unique<LookupStep>(context, op, bytes);
}

}  // namespace espalier
