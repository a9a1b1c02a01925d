// A model made ready for one path: steps with packed constants and the layout of the arena. Immutable, so that any number of sessions may
// run it at once; each brings its own arena. Running allocates nothing.
#pragma once

#include <functional>
#include <string>

#include "branch.h"
#include "step.h"

namespace espalier {

class Plan {
 public:
  using PayloadFunction = std::function<Bytes(uint32_t tensor, const Tensor&)>;
  using TraceFunction = std::function<void(size_t op, const std::string& name, const int8_t* output, size_t elements)>;

  // Throws FormatError. `payload` gives the bytes of a tensor that is a blob; who calls has checked its digest.
  Plan(Bytes model, const PayloadFunction& payload, const Kernels& kernels);
  Plan(const Plan&) = delete;  // places point into the plan

  const char* path() const { return kernels_.name; }
  size_t arena_bytes() const { return arena_bytes_; }
  size_t constant_bytes() const { return constant_bytes_; }
  bool is_worth_helpers() const { return is_worth_helpers_; }  // whether several threads are faster than one
  bool accepts_raw() const { return !raw_table_.empty(); }
  size_t input_elements() const { return input_elements_; }
  size_t operators() const { return steps_.size(); }
  size_t output_elements() const { return outputs_.at(output_operator_).elements; }

  // One sample: uint8 where `raw`, else float32 in any alignment. Throws InputError for NaN. `crew` may be null: the caller does it alone.
  void run(uint8_t* arena, const uint8_t* input, bool raw, int8_t* output, Crew* crew) const;

  // The same, and calls `on_output` with every operator's output in stored order.
  void trace(uint8_t* arena, const uint8_t* input, bool raw, const TraceFunction& on_output) const;

  // The same work as `run`, and adds to `ns` what the input and then each operator in stored order took: 1 + operators() entries.
  void profile(uint8_t* arena, const uint8_t* input, bool raw, uint64_t* ns) const;

  void dequantize(const int8_t* q, size_t elements, float* out) const;

 private:
  struct Output {
    Map map;
    size_t elements;
    std::string name;
  };

  void plan_buffers(const Model& model, PlanContext& context);
  void prepare_input(const Model& model, const Tensors& tensors, const PlanContext& context);
  void quantize(uint8_t* arena, const uint8_t* input, bool raw) const;
  void quantize_raw(const uint8_t* input, size_t elements, uint8_t* out) const;
  void quantize_float(const uint8_t* input, size_t elements, uint8_t* out) const;
  void apply_channel_affine(float* chunk, size_t first, size_t count) const;
  void run_step(size_t op, uint8_t* arena) const;
  void run_share(uint8_t* arena, Share share, Crew& crew) const;
  static void to_int8(const Map& map, uint8_t* arena, int8_t* out);

  const Kernels& kernels_;
  std::vector<Buffer> buffers_;
  std::vector<StepPtr> steps_;   // by operator; null where it computes nothing
  std::vector<Output> outputs_;  // by operator
  Branches branches_;
  std::vector<bool> is_shared_;  // by operator: worth a meeting of threads
  bool is_worth_helpers_ = false;
  size_t output_operator_ = 0;
  size_t arena_bytes_ = 0, constant_bytes_ = 0;

  Map input_;
  size_t input_elements_ = 0, input_channels_ = 0;
  std::vector<uint8_t> raw_table_;  // stored bytes [channels or 1, 256]; empty where raw is not accepted
  float input_multiplier_ = 0;
  std::vector<float> channel_affine_;  // [2, channels], offsets and multipliers; empty where one multiplier serves all
  int32_t input_zero_point_ = 0;
  float output_scale_ = 0;
  int32_t output_zero_point_ = 0;
};

}  // namespace espalier
