#include "map.h"

namespace espalier {

std::vector<Border> plan_borders(const Model& model) {
  std::vector<Border> borders(model.activations.size());
  for (const Operator& op : model.operators) {
    if (const auto* conv = std::get_if<Conv2D>(&op.kind)) borders[op.inputs[0]].cover(conv->window);
  }
  for (const Operator& op : model.operators) {
    if (std::holds_alternative<Conv2D>(op.kind) || std::holds_alternative<Add>(op.kind)) continue;
    borders[op.output] = {};
    for (const uint32_t input : op.inputs) borders[input] = {};
  }
  borders[model.output] = {};
  return borders;
}

}  // namespace espalier
