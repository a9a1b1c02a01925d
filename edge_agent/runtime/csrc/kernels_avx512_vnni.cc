// AVX-512 with VNNI and VBMI: 64 products in one instruction, 256-entry tables in registers.
#include "cpu.h"
#include "vector512.h"
#include "vector_depthwise.h"
#include "vector_elementwise.h"
#include "vector_gemm.h"
#include "vector_matmul.h"
#include "vector_packed.h"
#include "vector_sequence.h"
#include "vector_sparse.h"
#include "vector_sparse_512.h"

namespace espalier {
namespace {

// A table of 256 bytes in four registers.
struct ByteTable {
  explicit ByteTable(const uint8_t* table) {
    for (int i = 0; i < 4; ++i) part[i] = V::load(table + 64 * i);
  }
  __m512i operator()(__m512i x) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], x, part[1]), high = _mm512_permutex2var_epi8(part[2], x, part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
  }
  __m512i part[4];
};

void lookup(const uint8_t* x, const uint8_t* table, size_t elements, uint8_t* out) {
  const ByteTable bytes(table);
  size_t i = 0;
  for (; i + 64 <= elements; i += 64) V::store(out + i, bytes(V::load(x + i)), 64);
  if (i == elements) return;
  const __mmask64 rest = (__mmask64{1} << (elements - i)) - 1;
  _mm512_mask_storeu_epi8(out + i, rest, bytes(_mm512_maskz_loadu_epi8(rest, x + i)));
}

// Byte i of a vector that starts at channel c belongs to channel (c + i) % C: look each up in every table, keep what belongs.
template <uint32_t C>
void lookup_few_channels(const uint8_t* x, const uint8_t* tables, size_t elements, uint8_t* out) {
  const ByteTable first(tables), second(tables + 256), third(tables + 256 * (C > 2 ? 2 : 1)), fourth(tables + 256 * (C > 3 ? 3 : 1));
  __mmask64 every = 1;  // byte that belongs to the same channel as byte 0
  for (uint32_t i = C; i < 64; i += C) every |= __mmask64{1} << i;
  uint32_t start = 0;
  for (size_t i = 0; i < elements; i += 64, start = (start + 64) % C) {
    const __mmask64 valid = elements - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (elements - i)) - 1;
    const __m512i bytes = _mm512_maskz_loadu_epi8(valid, x + i);
    const auto belongs = [&](uint32_t channel) {
      const uint32_t at = (channel + C - start) % C;
      return at == 0 ? every : every << at;
    };
    __m512i result = _mm512_mask_blend_epi8(belongs(1), first(bytes), second(bytes));
    if constexpr (C > 2) result = _mm512_mask_blend_epi8(belongs(2), result, third(bytes));
    if constexpr (C > 3) result = _mm512_mask_blend_epi8(belongs(3), result, fourth(bytes));
    _mm512_mask_storeu_epi8(out + i, valid, result);
  }
}

void lookup_channels(const uint8_t* x, const uint8_t* tables, uint32_t channels, size_t elements, uint8_t* out) {
  switch (channels) {
    case 1: return lookup(x, tables, elements, out);
    case 2: return lookup_few_channels<2>(x, tables, elements, out);
    case 3: return lookup_few_channels<3>(x, tables, elements, out);
    case 4: return lookup_few_channels<4>(x, tables, elements, out);
    default: return kPortable.lookup_channels(x, tables, channels, elements, out);
  }
}

const PackedKernels kPacked = vector_packed_kernels<V>();
const SparseKernels kSparse = {4, 16, {1.25f, 8, 40}, {3.0f, 0, 100}, {1.25f, 0, 100},
                               vector_sparse_scratch<Sparse512<V>>, vector_sparse_gemm<Sparse512<V>>};

const SequenceKernels kSequence = {
    vector_matmul_scratch_bytes<V>, vector_matmul<V>, vector_softmax<V>, vector_layer_norm<V>, vector_multiply<V>,
};

}  // namespace

const Kernels kAvx512Vnni = {
    "avx512_vnni",
    cpu_has_avx512_vnni,
    uint64_t{1} << 23,
    false,
    {V::kLanes, 4, V::kMaxBlocks, false},
    nullptr,
    vector_gemm<V>,
    V::kBytes,
    vector_depthwise<V>,
    vector_max_pool<V>,
    vector_average_pool<V>,
    vector_add<V>,
    lookup,
    lookup_channels,
    vector_quantize_float<V>,
    &kSparse,
    &kPacked,
    &kSequence,
};

}  // namespace espalier
