#include "plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "error.h"

namespace espalier {

// Of multiplications. Meeting takes some 0.16 us; one thread alone between shared operators would pull the others' rows out of their caches.
constexpr uint64_t kWorthSharing = uint64_t{1} << 16;

StepPtr make_step(PlanContext& context, const Operator& op) {
  struct Maker {
    PlanContext& context;
    const Operator& op;
    StepPtr operator()(std::monostate) const { return nullptr; }
    StepPtr operator()(const Conv2D& kind) const { return make_conv2d(context, op, kind); }
    StepPtr operator()(const Linear& kind) const { return make_linear(context, op, kind); }
    StepPtr operator()(const Add& kind) const { return make_add(context, op, kind); }
    StepPtr operator()(const Concat& kind) const { return make_concat(context, op, kind); }
    StepPtr operator()(const MaxPool& kind) const { return make_max_pool(context, op, kind); }
    StepPtr operator()(const AveragePool& kind) const { return make_average_pool(context, op, kind); }
    StepPtr operator()(const Flatten&) const { return nullptr; }
    StepPtr operator()(const Clamp& kind) const { return make_clamp(context, op, kind); }
    StepPtr operator()(const Table& kind) const { return make_table(context, op, kind); }
    StepPtr operator()(const Softmax& kind) const { return make_softmax(context, op, kind); }
    StepPtr operator()(const Reshape&) const { return nullptr; }
    StepPtr operator()(const Permute& kind) const { return make_permute(context, op, kind); }
    StepPtr operator()(const MatMul& kind) const { return make_matmul(context, op, kind); }
    StepPtr operator()(const LayerNorm& kind) const { return make_layer_norm(context, op, kind); }
    StepPtr operator()(const Multiply& kind) const { return make_multiply(context, op, kind); }
    StepPtr operator()(const Constant& kind) const { return make_constant(context, op, kind); }
    StepPtr operator()(const RuleTable& kind) const { return make_rule_table(context, op, kind); }
    StepPtr operator()(const Select& kind) const { return make_select(context, op, kind); }
  };
  return std::visit(Maker{context, op}, op.kind);
}

Plan::Plan(Bytes bytes, const PayloadFunction& payload, const Kernels& kernels) : kernels_(kernels) {
  const Model model = parse_model(bytes);
  const Tensors tensors(model, [&](uint32_t index) { return payload(index, model.tensors[index]); });
  PlanContext context{model, tensors, kernels, buffers_, std::vector<size_t>(model.activations.size()), {}, 0};
  plan_buffers(model, context);
  prepare_input(model, tensors, context);
  uint64_t shareable_work = 0;
  for (const Operator& op : model.operators) {
    if (op.output == model.output) output_operator_ = outputs_.size();
    outputs_.push_back({context.maps[op.output], model.activations[op.output].elements(), op.name});
    steps_.push_back(make_step(context, op));
    if (steps_.back()) constant_bytes_ += steps_.back()->constant_bytes();
    const uint64_t work = steps_.back() ? steps_.back()->shareable_work() : 0;
    is_shared_.push_back(work >= kWorthSharing);
    if (is_shared_.back()) shareable_work += work;
    ++context.step;
  }
  is_worth_helpers_ = shareable_work >= kernels.worth_helpers;
  branches_ = Branches(model, context);
  output_scale_ = model.activations[model.output].scale;
  output_zero_point_ = model.activations[model.output].zero_point;
  arena_bytes_ = plan_arena(buffers_);
}

// One buffer for each activation, alive from the operator that writes it to the last that reads it; the output of a flatten or reshape is
// its input's buffer. The model's output is alive to the end.
void Plan::plan_buffers(const Model& model, PlanContext& context) {
  const std::vector<Border> borders = plan_borders(model);
  for (size_t i = 0; i < borders.size(); ++i) {
    const Activation& x = model.activations[i];
    context.maps.emplace_back(x, borders[i], static_cast<uint8_t>(x.zero_point + kByteOffset));
  }
  const auto give_buffer = [&](uint32_t activation, uint32_t step) {
    context.buffer_of[activation] = buffers_.size();
    buffers_.push_back({context.maps[activation].bytes() + kOverread, step, step, 0});
  };
  give_buffer(model.input, 0);
  const uint32_t count = static_cast<uint32_t>(model.operators.size());
  for (uint32_t step = 0; step < count; ++step) {
    const Operator& op = model.operators[step];
    for (const uint32_t input : op.inputs) buffers_[context.buffer_of[input]].last = step;
    if (std::holds_alternative<Flatten>(op.kind) || std::holds_alternative<Reshape>(op.kind)) {
      context.buffer_of[op.output] = context.buffer_of[op.inputs[0]];
    } else {
      give_buffer(op.output, step);
    }
  }
  buffers_[context.buffer_of[model.output]].last = count;
  for (uint32_t i = 0; i < context.maps.size(); ++i) context.maps[i].put(place_of(context, i));
}

void Plan::prepare_input(const Model& model, const Tensors& tensors, const PlanContext& context) {
  const Activation& x = model.activations[model.input];
  input_ = context.maps[model.input];
  input_elements_ = x.elements();
  input_channels_ = x.channels();
  input_multiplier_ = model.input_multiplier;
  input_zero_point_ = x.zero_point;
  if (model.channel_affine) channel_affine_ = tensors.float32(*model.channel_affine);
  constant_bytes_ += channel_affine_.size() * sizeof(float);
  if (model.raw_table) {
    for (const int8_t q : tensors.int8(*model.raw_table)) raw_table_.push_back(static_cast<uint8_t>(q + kByteOffset));
    constant_bytes_ += raw_table_.size();
  }
}

void Plan::run(uint8_t* arena, const uint8_t* input, bool raw, int8_t* output, Crew* crew) const {
  quantize(arena, input, raw);
  if (crew == nullptr) {
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (!branches_.skips(i, arena)) run_step(i, arena);
    }
  } else {
    struct Run {
      const Plan& plan;
      uint8_t* arena;
      Crew& crew;
    } const run{*this, arena, *crew};
    const auto work = [](const void* context, Share share) {
      const Run& r = *static_cast<const Run*>(context);
      r.plan.run_share(r.arena, share, r.crew);
    };
    crew->run(work, &run);
  }
  to_int8(outputs_[output_operator_].map, arena, output);
}

// Every thread comes here with its share. What is not shared is done by the first, and the others wait for it only where they go on.
void Plan::run_share(uint8_t* arena, Share share, Crew& crew) const {
  bool is_one_ahead = false;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!is_shared_[i]) {
      if (share.index == 0 && !branches_.skips(i, arena)) run_step(i, arena);
      is_one_ahead = true;
      continue;
    }
    if (is_one_ahead) crew.meet();
    is_one_ahead = false;
    if (branches_.skips(i, arena)) continue;  // all see the same: what gates depend on was there when they met
    if (share.index == 0 && outputs_[i].map.has_border()) outputs_[i].map.fill_border(arena);
    steps_[i]->run_share(arena, share);
    crew.meet();
  }
}

void Plan::trace(uint8_t* arena, const uint8_t* input, bool raw, const TraceFunction& on_output) const {
  quantize(arena, input, raw);
  std::vector<int8_t> output;
  for (size_t i = 0; i < steps_.size(); ++i) {
    run_step(i, arena);
    output.resize(outputs_[i].elements);
    to_int8(outputs_[i].map, arena, output.data());
    on_output(i, outputs_[i].name, output.data(), output.size());
  }
}

void Plan::profile(uint8_t* arena, const uint8_t* input, bool raw, uint64_t* ns) const {
  using Clock = std::chrono::steady_clock;
  Clock::time_point begun = Clock::now();
  const auto lap = [&](size_t entry) {
    const Clock::time_point now = Clock::now();
    ns[entry] += static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now - begun).count());
    begun = now;
  };
  quantize(arena, input, raw);
  lap(0);
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i] || branches_.skips(i, arena)) continue;
    run_step(i, arena);
    lap(i + 1);
  }
}

void Plan::quantize(uint8_t* arena, const uint8_t* input, bool raw) const {
  // A map without a border is one long row.
  const size_t rows = input_.has_border() ? input_.rows() : 1, elements = input_elements_ / rows;
  uint8_t* out = input_.pixels(arena);
  if (input_.has_border()) input_.fill_border(arena);
  for (size_t y = 0; y < rows; ++y, out += input_.row_bytes()) {
    if (raw) {
      quantize_raw(input + y * elements, elements, out);
    } else {
      quantize_float(input + y * elements * sizeof(float), elements, out);
    }
  }
}

void Plan::run_step(size_t op, uint8_t* arena) const {
  if (!steps_[op]) return;
  if (outputs_[op].map.has_border()) outputs_[op].map.fill_border(arena);
  steps_[op]->run(arena);
}

void Plan::quantize_raw(const uint8_t* input, size_t elements, uint8_t* out) const {
  if (raw_table_.size() == 256) return kernels_.lookup(input, raw_table_.data(), elements, out);
  kernels_.lookup_channels(input, raw_table_.data(), static_cast<uint32_t>(input_channels_), elements, out);
}

void Plan::quantize_float(const uint8_t* input, size_t elements, uint8_t* out) const {
  constexpr size_t kChunk = 256;
  float chunk[kChunk];  // aligned, whatever the caller's buffer is
  for (size_t i = 0; i < elements; i += kChunk) {
    const size_t count = std::min(kChunk, elements - i);
    std::memcpy(chunk, input + i * sizeof(float), count * sizeof(float));
    bool has_nan = false;
    for (size_t j = 0; j < count; ++j) has_nan |= chunk[j] != chunk[j];
    if (has_nan) throw InputError("the input holds NaN");
    if (!channel_affine_.empty()) apply_channel_affine(chunk, i, count);
    kernels_.quantize_float(chunk, input_multiplier_, input_zero_point_, count, out + i);
  }
}

// Its own loop, not a kernel: tabular inputs are tens of values. The kernel's multiplier is 1 then and changes no bit.
void Plan::apply_channel_affine(float* chunk, size_t first, size_t count) const {
  const float* offsets = channel_affine_.data();
  const float* multipliers = offsets + input_channels_;
  size_t c = first % input_channels_;
  for (size_t j = 0; j < count; ++j) {
    chunk[j] = (chunk[j] - offsets[c]) * multipliers[c];
    if (++c == input_channels_) c = 0;
  }
}

void Plan::to_int8(const Map& map, uint8_t* arena, int8_t* out) {
  const uint8_t* stored = map.pixels(arena);
  for (uint32_t y = 0; y < map.rows(); ++y, stored += map.row_bytes(), out += map.inner_bytes()) {
    for (size_t i = 0; i < map.inner_bytes(); ++i) out[i] = static_cast<int8_t>(stored[i] ^ 0x80);
  }
}

void Plan::dequantize(const int8_t* q, size_t elements, float* out) const {
  for (size_t i = 0; i < elements; ++i) out[i] = static_cast<float>(q[i] - output_zero_point_) * output_scale_;
}

}  // namespace espalier
