#include "branch.h"

#include <algorithm>

namespace espalier {
namespace {

constexpr size_t kMaxSelects = 16;  // in a model; with more of them nothing is left out, so that a hostile file costs little

// For each operator, whether all that comes of it goes into the select `at` by its input `branch` alone.
std::vector<bool> serves_only(const Model& model, const std::vector<std::vector<uint32_t>>& readers, size_t at, size_t branch) {
  std::vector<bool> serves(model.operators.size(), false);
  const std::vector<uint32_t>& inputs = model.operators[at].inputs;
  for (size_t op = at; op-- > 0;) {
    const uint32_t output = model.operators[op].output;
    if (output == model.output || readers[output].empty()) continue;
    serves[op] = std::all_of(readers[output].begin(), readers[output].end(), [&](uint32_t reader) {
      if (reader != at) return static_cast<bool>(serves[reader]);
      return inputs[branch] == output && std::count(inputs.begin(), inputs.end(), output) == 1;
    });
  }
  return serves;
}

}  // namespace

Branches::Branches(const Model& model, const PlanContext& context) {
  const size_t count = model.operators.size();
  std::vector<std::vector<uint32_t>> readers(model.activations.size());
  std::vector<size_t> made_by(model.activations.size(), 0), selects;
  for (uint32_t op = 0; op < count; ++op) {
    for (const uint32_t input : model.operators[op].inputs) readers[input].push_back(op);
    made_by[model.operators[op].output] = op;
    if (std::holds_alternative<Select>(model.operators[op].kind)) selects.push_back(op);
  }
  if (selects.empty() || selects.size() > kMaxSelects) return;
  guards_.resize(count);
  for (auto at = selects.rbegin(); at != selects.rend(); ++at) {
    const Operator& select = model.operators[*at];
    const uint32_t gate = select.inputs[0];
    const int32_t threshold = std::get<Select>(select.kind).threshold + kByteOffset;
    const size_t known = gate == model.input ? 0 : made_by[gate] + 1;  // the first operator that can look at the gate
    for (const size_t branch : {size_t{1}, size_t{2}}) {
      const std::vector<bool> serves = serves_only(model, readers, *at, branch);
      for (size_t op = known; op < *at; ++op) {
        if (serves[op]) guards_[op].push_back({place_of(context, gate), threshold, branch == 2});
      }
    }
  }
}

}  // namespace espalier
