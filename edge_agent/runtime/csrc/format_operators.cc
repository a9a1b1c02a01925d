#include "format_operators.h"

#include <algorithm>

#include "format_limits.h"

namespace espalier {
namespace {

Requantize parse_requantize(Reader r) {
  Requantize q;
  int forms = 0;
  while (r.next()) {
    switch (r.number()) {
      case 1:
      case 2:
        q.is_shift = r.number() == 2;
        q.tensor = r.uint32(Presence::kExplicit);
        ++forms;
        break;
      case 3: q.qmin = r.sint32(); break;
      case 4: q.qmax = r.sint32(); break;
      default: r.unknown();
    }
  }
  require(forms == 1, "a requantize has not one form");
  return q;
}

void parse_padding(Reader r, Window& w) {
  while (r.next()) {
    switch (r.number()) {
      case 1: w.top = r.uint32(); break;
      case 2: w.bottom = r.uint32(); break;
      case 3: w.left = r.uint32(); break;
      case 4: w.right = r.uint32(); break;
      default: r.unknown();
    }
  }
}

Conv2D parse_conv2d(Reader r, const std::vector<Tensor>& tensors) {
  Conv2D c;
  bool has_padding = false, has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: c.weight = r.uint32(); break;
      case 2: c.bias = r.uint32(Presence::kExplicit); break;
      case 3: c.window.stride_h = r.uint32(); break;
      case 4: c.window.stride_w = r.uint32(); break;
      case 5: parse_padding(r.message(), c.window), has_padding = true; break;
      case 6: c.groups = r.uint32(); break;
      case 7: c.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_padding && has_requantize, "a convolution has no padding or requantize");
  require(c.weight < tensors.size() && tensors[c.weight].shape.size() == 4, "a convolution's weight is not of rank 4");
  c.window.kernel_h = tensors[c.weight].shape[1];
  c.window.kernel_w = tensors[c.weight].shape[2];
  return c;
}

Linear parse_linear(Reader r) {
  Linear l;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: l.weight = r.uint32(); break;
      case 2: l.bias = r.uint32(Presence::kExplicit); break;
      case 3: l.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a linear operator has no requantize");
  return l;
}

Add parse_add(Reader r) {
  Add a;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: a.multiplier_a = r.sint32(); break;
      case 2: a.multiplier_b = r.sint32(); break;
      case 3: a.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "an add has no requantize");
  return a;
}

Concat parse_concat(Reader r) {
  Concat c;
  while (r.next(field_bit(1))) {
    switch (r.number()) {
      case 1: add(c.requantize, limits::kOperatorInputs) = parse_requantize(r.message()); break;
      default: r.unknown();
    }
  }
  return c;
}

// Max and average pools share their first five fields.
AveragePool parse_pool(Reader r, bool is_average) {
  AveragePool p;
  bool has_padding = false, has_requantize = !is_average;
  while (r.next()) {
    const uint32_t number = r.number();
    if (number > 5 && !is_average) r.unknown();
    switch (number) {
      case 1: p.window.kernel_h = r.uint32(); break;
      case 2: p.window.kernel_w = r.uint32(); break;
      case 3: p.window.stride_h = r.uint32(); break;
      case 4: p.window.stride_w = r.uint32(); break;
      case 5: parse_padding(r.message(), p.window), has_padding = true; break;
      case 6: p.reciprocal = r.uint32(); break;
      case 7: p.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_padding && has_requantize, "a pool has no padding or requantize");
  return p;
}

Clamp parse_clamp(Reader r) {
  Clamp c;
  while (r.next()) {
    switch (r.number()) {
      case 1: c.qmin = r.sint32(); break;
      case 2: c.qmax = r.sint32(); break;
      default: r.unknown();
    }
  }
  return c;
}

// Table, Softmax and Constant: one tensor index.
uint32_t parse_one_index(Reader r) {
  uint32_t index = 0;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    index = r.uint32();
  }
  return index;
}

RuleTable parse_rule_table(Reader r) {
  RuleTable t;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: t.nodes = r.uint32(); break;
      case 2: t.scores = r.uint32(); break;
      case 3: t.trees = r.uint32(); break;
      case 4: t.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a rule table has no requantize");
  return t;
}

Select parse_select(Reader r) {
  Select s;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    s.threshold = r.sint32();
  }
  return s;
}

void parse_empty(Reader r) {
  if (r.next()) r.unknown();
}

Permute parse_permute(Reader r) {
  Permute p;
  std::vector<uint32_t> axes;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    axes = r.packed_uint32(p.axes.size());
  }
  require(axes.size() == p.axes.size(), "a permutation has not three axes");
  std::copy(axes.begin(), axes.end(), p.axes.begin());
  std::sort(axes.begin(), axes.end());
  require(axes == std::vector<uint32_t>{0, 1, 2}, "axes are no order of three");
  return p;
}

MatMul parse_matmul(Reader r) {
  MatMul m;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: m.heads = r.uint32(); break;
      case 2: m.a_stacked = r.boolean(); break;
      case 3: m.b_stacked = r.boolean(); break;
      case 4: m.b_transposed = r.boolean(); break;
      case 5: m.output_stacked = r.boolean(); break;
      case 6: m.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a matmul has no requantize");
  return m;
}

LayerNorm parse_layer_norm(Reader r) {
  LayerNorm n;
  bool has_requantize = false;
  while (r.next()) {
    switch (r.number()) {
      case 1: n.gain = r.uint32(); break;
      case 2: n.bias = r.uint32(Presence::kExplicit); break;
      case 3: n.epsilon = r.uint64(); break;
      case 4: n.requantize = parse_requantize(r.message()), has_requantize = true; break;
      default: r.unknown();
    }
  }
  require(has_requantize, "a layer norm has no requantize");
  return n;
}

Multiply parse_multiply(Reader r) {
  Multiply m;
  bool has_requantize = false;
  while (r.next()) {
    if (r.number() != 1) r.unknown();
    m.requantize = parse_requantize(r.message()), has_requantize = true;
  }
  require(has_requantize, "a multiply has no requantize");
  return m;
}

Kind parse_kind(Reader& r, const std::vector<Tensor>& tensors) {
  const uint32_t number = r.number();
  Reader m = r.message();
  switch (number) {
    case 10: return parse_conv2d(m, tensors);
    case 11: return parse_linear(m);
    case 12: return parse_add(m);
    case 13: return parse_concat(m);
    case 14: return MaxPool{parse_pool(m, false).window};
    case 15: return parse_pool(m, true);
    case 16: parse_empty(m); return Flatten{};
    case 17: return parse_clamp(m);
    case 18: return Table{parse_one_index(m)};
    case 19: return Softmax{parse_one_index(m)};
    case 20: parse_empty(m); return Reshape{};
    case 21: return parse_permute(m);
    case 22: return parse_matmul(m);
    case 23: return parse_layer_norm(m);
    case 24: return parse_multiply(m);
    case 25: return Constant{parse_one_index(m)};
    case 28: return parse_rule_table(m);
    case 29: return parse_select(m);
    default: r.unknown();
  }
}

}  // namespace

Operator parse_operator(Reader r, const std::vector<Tensor>& tensors) {
  Operator o;
  while (r.next()) {
    switch (r.number()) {
      case 1: o.name = r.string(limits::kNameBytes); break;
      case 2: o.inputs = r.packed_uint32(limits::kOperatorInputs); break;
      case 3: o.output = r.uint32(); break;
      default:
        require(o.kind.index() == 0, "an operator has two kinds");
        o.kind = parse_kind(r, tensors);
    }
  }
  require(!o.name.empty() && o.kind.index() != 0, "an operator has no name or no kind");
  return o;
}

}  // namespace espalier
