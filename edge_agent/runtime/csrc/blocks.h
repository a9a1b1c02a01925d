// Block-sparse weights (docs/format.md, section 3) to dense ones.
#pragma once

#include "format.h"

namespace espalier {

// `payload` has the tensor's size; `out` has its elements, all 0. Throws FormatError where the index does not name as many blocks as there
// are, or a block that hangs over the edge is not zero there.
void decode_blocks(const Tensor& tensor, Bytes payload, int8_t* out);

}  // namespace espalier
