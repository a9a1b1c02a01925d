// One operator of a model: its fields, and those of each kind.
#pragma once

#include "format.h"

namespace espalier {

// A convolution's kernel sizes are those of its weight, which `tensors` must hold.
Operator parse_operator(Reader r, const std::vector<Tensor>& tensors);

}  // namespace espalier
