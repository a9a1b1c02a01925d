// Rule tables, and the select that lets them answer in front of a network.
//
// A walk has no branch that depends on the data: a leaf's node leads to itself, so that every walk takes as many steps as the deepest rule.
#include <cstring>

#include "step.h"

namespace espalier {
namespace {

constexpr uint32_t kClassBlock = 64;

class RuleTableStep : public Step {
 public:
  RuleTableStep(PlanContext& context, const Operator& op, const RuleTable& rules)
      : in_(place_of(context, op.inputs[0])), out_(place_of(context, op.output)), trees_(rules.trees) {
    const Activation& y = context.model.activations[op.output];
    classes_ = y.shape[0];
    prepare_nodes(context.tensors.uint32(rules.nodes));
    const RequantizeParams params = prepare_requantize(rules.requantize, context.tensors, y.zero_point, classes_, {});
    const std::vector<int8_t>& scores = context.tensors.int8(rules.scores);
    if (trees_ > 1) {
      scores_ = scores;
      requantize_ = params;
      return;
    }
    // One tree's leaf is an answer already: its scores go through requantize here.
    answers_.resize(scores.size());
    for (size_t i = 0; i < scores.size(); ++i) answers_[i] = requantize(scores[i], params, static_cast<uint32_t>(i % classes_));
  }

  void run(uint8_t* arena) const override {
    const uint8_t* x = in_.in(arena);
    uint8_t* out = out_.in(arena);
    if (trees_ == 1) {
      std::memcpy(out, answers_.data() + size_t{walk(x, 0)} * classes_, classes_);
    } else {
      sum_trees(x, out);
    }
  }

  size_t constant_bytes() const override {
    return nodes_.size() * sizeof(Node) + scores_.size() + answers_.size() + requantize_.bytes();
  }

 private:
  struct Node {
    uint16_t feature, left;
    uint16_t threshold;  // of the stored byte; 255 in a leaf, which no byte exceeds
    uint16_t leaf;
  };

  void prepare_nodes(const std::vector<uint32_t>& words) {
    uint32_t conditions = 0, level_end = trees_, next_end = trees_;
    nodes_.reserve(words.size());
    for (uint32_t i = 0; i < words.size(); ++i) {
      if (i == level_end) {
        level_end = next_end;
        ++depth_;
      }
      Node node{static_cast<uint16_t>(words[i]), static_cast<uint16_t>(i), 255, static_cast<uint16_t>(i - conditions)};
      if (words[i] != 0) {
        node.left = static_cast<uint16_t>(trees_ + 2 * conditions++);
        node.threshold = static_cast<uint16_t>(words[i] >> 16 & 0xFF);
        next_end = trees_ + 2 * conditions;
      }
      nodes_.push_back(node);
    }
  }

  uint32_t walk(const uint8_t* x, uint32_t root) const {
    const Node* nodes = nodes_.data();
    uint32_t at = root;
    for (uint32_t step = 0; step < depth_; ++step) at = nodes[at].left + (x[nodes[at].feature] > nodes[at].threshold);
    return nodes[at].leaf;
  }

  void sum_trees(const uint8_t* x, uint8_t* out) const {
    uint16_t leaves[limits::kRuleTrees];
    for (uint32_t tree = 0; tree < trees_; ++tree) leaves[tree] = static_cast<uint16_t>(walk(x, tree));
    for (uint32_t c0 = 0; c0 < classes_; c0 += kClassBlock) {
      const uint32_t count = std::min(kClassBlock, classes_ - c0);
      int32_t acc[kClassBlock] = {};
      for (uint32_t tree = 0; tree < trees_; ++tree) {
        const int8_t* scores = scores_.data() + size_t{leaves[tree]} * classes_ + c0;
        for (uint32_t c = 0; c < count; ++c) acc[c] += scores[c];
      }
      for (uint32_t c = 0; c < count; ++c) out[c0 + c] = requantize(acc[c], requantize_, c0 + c);
    }
  }

  Place in_, out_;
  uint32_t trees_, classes_ = 0, depth_ = 0;
  std::vector<Node> nodes_;
  std::vector<uint8_t> answers_;  // stored bytes [leaves, classes]; of one tree
  std::vector<int8_t> scores_;    // [leaves, classes]; of several
  RequantizeParams requantize_;
};

class SelectStep : public Step {
 public:
  SelectStep(PlanContext& context, const Operator& op, const Select& select)
      : gate_(place_of(context, op.inputs[0])), confident_(place_of(context, op.inputs[1])),
        otherwise_(place_of(context, op.inputs[2])), out_(place_of(context, op.output)),
        elements_(context.model.activations[op.output].elements()), threshold_(select.threshold + kByteOffset) {}

  void run(uint8_t* arena) const override {
    const Place& branch = *gate_.in(arena) >= threshold_ ? confident_ : otherwise_;
    std::memcpy(out_.in(arena), branch.in(arena), elements_);
  }
  size_t constant_bytes() const override { return 0; }

 private:
  Place gate_, confident_, otherwise_, out_;
  size_t elements_;
  int32_t threshold_;
};

}  // namespace

StepPtr make_rule_table(PlanContext& context, const Operator& op, const RuleTable& rules) {
  return std::make_unique<RuleTableStep>(context, op, rules);
}

StepPtr make_select(PlanContext& context, const Operator& op, const Select& select) {
  return std::make_unique<SelectStep>(context, op, select);
}

}  // namespace espalier
