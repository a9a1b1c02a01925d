// The structure of docs/format.md, section 3. Arithmetic only: nothing is allocated in proportion to what a file claims.
#include <algorithm>
#include <set>

#include "format.h"
#include "format_limits.h"

namespace espalier {
namespace {

using Shape = std::vector<uint32_t>;

class Checker {
 public:
  explicit Checker(const Model& model) : model_(model), computed_(model.activations.size()), used_(model.tensors.size()) {}

  void run() {
    require(!model_.operators.empty(), "there is no operator");
    check_totals();
    check_input();
    std::set<std::string> names;
    for (const Operator& o : model_.operators) {
      require(names.insert(o.name).second, "an operator's name is taken");
      check_operator(o);
    }
    require(all(computed_), "an activation is never computed");
    require(all(used_), "a tensor is never used");
    require(model_.output < model_.activations.size() && model_.output != model_.input, "the output is no operator's output");
    require(model_.labels == 0 || model_.labels == model_.activations[model_.output].channels(), "labels do not match the output");
  }

 private:
  static bool all(const std::vector<bool>& flags) { return std::find(flags.begin(), flags.end(), false) == flags.end(); }

  void check_totals() const {
    uint64_t elements = 0, payload_bytes = 0;
    for (const Activation& a : model_.activations) elements += a.elements();
    for (const Tensor& t : model_.tensors) payload_bytes += t.counted_bytes();
    require(elements <= limits::kAllActivationElements, "the activations are too large");
    require(payload_bytes <= limits::kAllPayloadBytes, "the tensors are too large");
  }

  void check_input() {
    require(model_.input < model_.activations.size(), "the input is not an activation");
    computed_[model_.input] = true;
    const float m = model_.input_multiplier;
    require(m >= limits::kInputMultiplierMin && m <= limits::kInputMultiplierMax, "the input multiplier is out of range");
    if (model_.raw_table) {
      const uint32_t channels = model_.activations[model_.input].channels();
      use(*model_.raw_table, DType::kInt8, {{channels, 256}, {1, 256}});
    }
    if (model_.channel_affine) {
      use(*model_.channel_affine, DType::kFloat32, {{2, model_.activations[model_.input].channels()}});
      require(m == 1.0f, "a channel_affine goes with the multiplier 1");
    }
  }

  void use(uint32_t index, DType dtype, std::initializer_list<Shape> shapes, bool may_be_packed = false) {
    require(index < model_.tensors.size(), "an index is not a tensor");
    const Tensor& t = model_.tensors[index];
    const bool is_plain = t.bits == 0 && !t.is_block_sparse();
    require(t.dtype == dtype && (is_plain || may_be_packed), "a tensor has the wrong type for its use");
    require(std::find(shapes.begin(), shapes.end(), t.shape) != shapes.end(), "a tensor has the wrong shape for its use");
    used_[index] = true;
  }

  void check_operator(const Operator& o) {
    for (const uint32_t input : o.inputs) {
      require(input < computed_.size() && computed_[input], "an operator reads what is not computed yet");
    }
    require(o.output < computed_.size() && !computed_[o.output], "an operator's output is not free");
    require(has_inputs(o), "an operator has the wrong number of inputs");
    const Activation& y = model_.activations[o.output];
    // A constant has no input; its check takes its own output instead.
    std::visit([&](const auto& kind) { check(kind, o, o.inputs.empty() ? y : model_.activations[o.inputs[0]], y); }, o.kind);
    computed_[o.output] = true;
    add_work(std::holds_alternative<Flatten>(o.kind) || std::holds_alternative<Reshape>(o.kind) ? 0 : y.elements(), 1);
  }

  static bool has_inputs(const Operator& o) {
    if (std::holds_alternative<Concat>(o.kind)) return !o.inputs.empty();
    if (std::holds_alternative<Constant>(o.kind)) return o.inputs.empty();
    if (std::holds_alternative<Select>(o.kind)) return o.inputs.size() == 3;
    const bool is_binary = std::holds_alternative<Add>(o.kind) || std::holds_alternative<MatMul>(o.kind) || std::holds_alternative<Multiply>(o.kind);
    return o.inputs.size() == (is_binary ? 2u : 1u);
  }

  void add_work(uint64_t outputs, uint64_t each) {  // outputs <= 2^24, each < 2^33: the product fits
    work_ += outputs * each;
    require(work_ <= limits::kWork, "one inference is too much work");
  }

  void check(std::monostate, const Operator&, const Activation&, const Activation&) { throw FormatError("an operator has no kind"); }

  void check(const Conv2D& c, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape.size() == 3 && y.shape.size() == 3, "a convolution is [height, width, channels]");
    const uint32_t in = x.shape[2], out = y.shape[2];
    require(c.groups >= 1 && in % c.groups == 0 && out % c.groups == 0, "groups do not divide the channels");
    use(c.weight, DType::kInt8, {{out, c.window.kernel_h, c.window.kernel_w, in / c.groups}}, true);
    require(c.groups == 1 || !model_.tensors[c.weight].is_block_sparse(), "a convolution in groups has block-sparse weights");
    check_window(c.window, x, y);
    if (c.bias) use(*c.bias, DType::kInt32, {{out}});
    check_requantize(c.requantize, out);
    add_work(y.elements(), model_.tensors[c.weight].row_elements());
  }

  void check(const Linear& l, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape.size() == 1 && y.shape.size() == 1, "a linear operator is [features]");
    use(l.weight, DType::kInt8, {{y.shape[0], x.shape[0]}}, true);
    if (l.bias) use(*l.bias, DType::kInt32, {{y.shape[0]}});
    check_requantize(l.requantize, y.shape[0]);
    add_work(y.elements(), x.elements());
  }

  void check(const Add& a, const Operator& o, const Activation& x, const Activation& y) {
    const Activation& b = model_.activations[o.inputs[1]];
    require(x.shape == y.shape && b.shape == y.shape, "an add has equal shapes");
    check_requantize(a.requantize, 1);
    const auto magnitude = [](int64_t multiplier, const Activation& input) {
      return (multiplier < 0 ? -multiplier : multiplier) * input.max_magnitude();
    };
    require(magnitude(a.multiplier_a, x) + magnitude(a.multiplier_b, b) < limits::kAccumulator, "an add can overflow");
  }

  void check(const Concat& c, const Operator& o, const Activation&, const Activation& y) {
    require(c.requantize.size() == o.inputs.size(), "a concat has not one requantize for each input");
    uint64_t channels = 0;
    for (size_t i = 0; i < o.inputs.size(); ++i) {
      check_requantize(c.requantize[i], 1);
      const Activation& x = model_.activations[o.inputs[i]];
      const bool same_axes = x.shape.size() == y.shape.size() && std::equal(x.shape.begin(), x.shape.end() - 1, y.shape.begin());
      require(same_axes, "a concat's inputs differ in another axis than the last");
      channels += x.channels();
    }
    require(channels == y.channels(), "a concat's inputs do not make its output");
  }

  void check(const MaxPool& p, const Operator&, const Activation& x, const Activation& y) {
    check_pool(p.window, x, y);
    check_same_grid(x, y);
  }

  void check(const AveragePool& p, const Operator&, const Activation& x, const Activation& y) {
    check_pool(p.window, x, y);
    check_requantize(p.requantize, 1);
    require((p.reciprocal > 0) == p.requantize.is_shift, "a reciprocal goes with a shift alone");
    const uint64_t sum = static_cast<uint64_t>(p.window.kernel_h) * p.window.kernel_w * x.max_magnitude();
    const uint64_t most = static_cast<uint64_t>(limits::kAccumulator);
    require(sum < most && sum * std::max(p.reciprocal, 1u) < most, "an average pool can overflow");
  }

  void check(const Flatten&, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape.size() == 3 && y.shape.size() == 1 && x.elements() == y.elements(), "a flatten has the wrong shapes");
    check_same_grid(x, y);
  }

  void check(const Clamp& c, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape == y.shape, "a clamp keeps its shape");
    check_same_grid(x, y);
    check_range(c.qmin, c.qmax);
  }

  void check(const Table& t, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape == y.shape, "a table keeps its shape");
    use(t.table, DType::kInt8, {{256}});
  }

  void check(const Softmax& s, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape == y.shape, "a softmax keeps its shape");
    use(s.table, DType::kUint32, {{256}});
    require(y.scale == 1.0f / 256 && y.zero_point == -128, "a softmax has the output scale 1/256 and zero point -128");
  }

  void check(const Reshape&, const Operator&, const Activation& x, const Activation& y) {
    require(y.shape.size() == 3 && x.elements() == y.elements(), "a reshape has the wrong shapes");
    check_same_grid(x, y);
  }

  void check(const Permute& p, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape.size() == 3 && y.shape.size() == 3, "a permutation has rank 3");
    for (size_t i = 0; i < 3; ++i) require(y.shape[i] == x.shape[p.axes[i]], "a permutation has the wrong shapes");
    check_same_grid(x, y);
  }

  void check(const MatMul& m, const Operator& o, const Activation& a, const Activation& y) {
    const Activation& b = model_.activations[o.inputs[1]];
    require(a.shape.size() == 3 && b.shape.size() == 3 && y.shape.size() == 3, "a matmul has rank 3");
    require(m.heads > 1 || (m.heads == 1 && !m.a_stacked && !m.b_stacked && !m.output_stacked), "a single head cannot be stacked");
    const auto fits = [&](const Activation& x, bool is_stacked) {
      return is_stacked ? x.shape[0] == m.heads : x.shape[2] % m.heads == 0;
    };
    require(fits(a, m.a_stacked) && fits(b, m.b_stacked) && fits(y, m.output_stacked), "the heads do not divide a matmul");
    const HeadMatrix am = m.matrix(a, m.a_stacked), bm = m.matrix(b, m.b_stacked), ym = m.matrix(y, m.output_stacked);
    const uint32_t inner = m.b_transposed ? bm.columns : bm.rows, columns = m.b_transposed ? bm.rows : bm.columns;
    require(am.columns == inner && ym.rows == am.rows && ym.columns == columns, "the matrices of a matmul do not fit");
    const int64_t largest = int64_t{a.max_magnitude()} * b.max_magnitude();  // at least 2^14, so inner is below 2^16 if the product fits
    require(inner * largest < limits::kAccumulator, "a matmul can overflow");
    check_requantize(m.requantize, 1);
    add_work(y.elements(), inner);
  }

  void check(const LayerNorm& n, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape == y.shape, "a layer norm keeps its shape");
    const uint32_t channels = y.channels();
    require(channels <= limits::kNormChannels, "there are too many channels to normalise");
    require(n.epsilon >= 1 && n.epsilon <= limits::kNormEpsilon, "an epsilon is out of range");
    use(n.gain, DType::kInt8, {{channels}});
    if (n.bias) use(*n.bias, DType::kInt32, {{channels}});
    check_requantize(n.requantize, channels);
  }

  void check(const Multiply& m, const Operator& o, const Activation& a, const Activation& y) {
    const Activation& b = model_.activations[o.inputs[1]];
    const bool for_each_channel = a.shape.size() == 3 && b.shape == Shape{1, 1, a.channels()};
    require(a.shape == y.shape && (b.shape == a.shape || for_each_channel), "the shapes of a multiply do not fit");
    check_requantize(m.requantize, 1);
  }

  void check(const Constant& c, const Operator&, const Activation&, const Activation& y) { use(c.value, DType::kInt8, {y.shape}); }

  void check(const RuleTable& t, const Operator&, const Activation& x, const Activation& y) {
    require(x.shape.size() == 1 && y.shape.size() == 1, "a rule table is [features] to [classes]");
    require(x.shape[0] <= limits::kRuleFeatures, "a rule table has too many features");
    require(t.trees >= 1 && t.trees <= limits::kRuleTrees, "the number of trees is out of range");
    require(t.nodes < model_.tensors.size() && t.scores < model_.tensors.size(), "a rule table's tensor is not there");
    const uint64_t nodes = model_.tensors[t.nodes].elements();
    require(nodes >= t.trees && nodes <= limits::kRuleNodes, "the number of nodes is out of range");
    use(t.nodes, DType::kUint32, {{static_cast<uint32_t>(nodes)}});
    // Two nodes for each condition and one for each tree: the number of leaves needs no values.
    use(t.scores, DType::kInt8, {{(static_cast<uint32_t>(nodes) + t.trees) / 2, y.shape[0]}});
    check_requantize(t.requantize, y.shape[0]);
    add_work(t.trees, limits::kRuleDepth + y.elements());
  }

  void check(const Select& s, const Operator& o, const Activation& gate, const Activation& y) {
    require(gate.shape == Shape{1}, "a select's gate is not one value");
    require(s.threshold >= -128 && s.threshold <= 127, "a select's threshold is not within int8");
    for (size_t i = 1; i < o.inputs.size(); ++i) {
      const Activation& branch = model_.activations[o.inputs[i]];
      require(branch.shape == y.shape, "a select keeps the shape");
      check_same_grid(branch, y);
    }
  }

  void check_pool(const Window& w, const Activation& x, const Activation& y) {
    require(x.shape.size() == 3 && y.shape.size() == 3 && x.shape[2] == y.shape[2], "a pool keeps the channels");
    const bool smaller = std::max(w.top, w.bottom) < w.kernel_h && std::max(w.left, w.right) < w.kernel_w;
    require(smaller, "a pool's pad is smaller than its kernel");
    check_window(w, x, y);
    add_work(y.elements(), static_cast<uint64_t>(w.kernel_h) * w.kernel_w);
  }

  void check_window(const Window& w, const Activation& x, const Activation& y) const {
    const auto [least, most] = std::minmax({w.kernel_h, w.kernel_w, w.stride_h, w.stride_w});
    const uint32_t largest_pad = std::max({w.top, w.bottom, w.left, w.right});
    require(least >= 1 && most <= limits::kWindow && largest_pad <= limits::kWindow, "a window is out of range");
    const uint64_t pads_h = uint64_t{w.top} + w.bottom, pads_w = uint64_t{w.left} + w.right;
    const uint64_t height = x.shape[0] + pads_h, width = x.shape[1] + pads_w;  // each below 2^25
    require(height * width <= limits::kActivationElements / x.shape[2], "a padded map is too large");
    const uint64_t rows = window_output(x.shape[0], pads_h, w.kernel_h, w.stride_h);
    const uint64_t columns = window_output(x.shape[1], pads_w, w.kernel_w, w.stride_w);
    require(rows >= 1 && columns >= 1 && rows == y.shape[0] && columns == y.shape[1], "a window does not make its output");
  }

  void check_requantize(const Requantize& q, uint32_t channels) {
    check_range(q.qmin, q.qmax);
    use(q.tensor, q.is_shift ? DType::kInt8 : DType::kFloat32, {{channels}, {1}});
  }

  static void check_range(int32_t qmin, int32_t qmax) {
    require(-128 <= qmin && qmin <= qmax && qmax <= 127, "a clamp is no range of int8");
  }

  static void check_same_grid(const Activation& x, const Activation& y) {
    require(x.scale == y.scale && x.zero_point == y.zero_point, "an output does not keep its input's scale and zero point");
  }

  const Model& model_;
  std::vector<bool> computed_;
  std::vector<bool> used_;
  uint64_t work_ = 0;
};

}  // namespace

uint64_t window_output(uint64_t size, uint64_t pads, uint64_t kernel, uint64_t stride) {
  return size + pads < kernel ? 0 : (size + pads - kernel) / stride + 1;
}

void check_structure(const Model& model) { Checker(model).run(); }

}  // namespace espalier
