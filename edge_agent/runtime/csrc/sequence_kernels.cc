// The portable sequence kernels: plain loops in shapes that compilers vectorise.
#include "sequence_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace espalier {
namespace {

constexpr uint32_t kStepK = 16;

size_t padded(uint32_t k) { return (static_cast<size_t>(k) + kStepK - 1) / kStepK * kStepK; }

// Bytes `stride` apart, without their zero, filled up with zeros.
void centre(const uint8_t* x, size_t stride, uint32_t count, int32_t zero, int16_t* out) {
  for (uint32_t i = 0; i < count; ++i) out[i] = static_cast<int16_t>(x[i * stride] - zero);
  std::memset(out + count, 0, (padded(count) - count) * sizeof(int16_t));
}

int32_t dot(const int16_t* a, const int16_t* b, size_t k) {
  int32_t sum = 0;
  for (size_t i = 0; i < k; ++i) sum += a[i] * b[i];
  return sum;
}

size_t matmul_scratch_bytes(uint32_t columns, uint32_t inner) {
  return (static_cast<size_t>(columns) + 1) * padded(inner) * sizeof(int16_t);
}

// B is centred and laid out by columns once for each head, A row by row.
void matmul(const MatMulArgs& args, uint8_t* scratch) {
  const uint32_t rows = args.out_matrix.rows, columns = args.out_matrix.columns, inner = args.a_matrix.columns;
  const size_t k = padded(inner);
  auto* row_a = reinterpret_cast<int16_t*>(scratch);
  int16_t* columns_b = row_a + k;
  const size_t column_stride = args.b_transposed ? args.b_matrix.row_stride : 1;
  const size_t inner_stride = args.b_transposed ? 1 : args.b_matrix.row_stride;
  for (uint32_t head = 0; head < args.heads; ++head) {
    const uint8_t* b = args.b + head * args.b_matrix.head_stride;
    for (uint32_t n = 0; n < columns; ++n) centre(b + n * column_stride, inner_stride, inner, args.b_zero, columns_b + n * k);
    for (uint32_t m = 0; m < rows; ++m) {
      centre(args.a + head * args.a_matrix.head_stride + m * args.a_matrix.row_stride, 1, inner, args.a_zero, row_a);
      uint8_t* out = args.out + head * args.out_matrix.head_stride + m * args.out_matrix.row_stride;
      for (uint32_t n = 0; n < columns; ++n) out[n] = requantize(dot(row_a, columns_b + n * k, k), *args.requantize, 0);
    }
  }
}

void layer_norm(const LayerNormArgs& args) {
  const auto channels = static_cast<int32_t>(args.channels);
  for (size_t pixel = 0; pixel < args.pixels; ++pixel) {
    const uint8_t* x = args.x + pixel * args.channels;
    uint8_t* out = args.out + pixel * args.channels;
    int32_t sum = 0, sum_of_squares = 0;  // at most 2^14 * 255^2, below 2^30
    for (int32_t c = 0; c < channels; ++c) {
      const int32_t centred = x[c] - args.input_zero;
      sum += centred;
      sum_of_squares += centred * centred;
    }
    const float inverse = inverse_deviation(args, sum, sum_of_squares);
    for (int32_t c = 0; c < channels; ++c) {
      const int32_t deviation = channels * (x[c] - args.input_zero) - sum;
      const int32_t normalised = round_half_even(static_cast<float>(deviation) * inverse);  // at most 2^21
      out[c] = requantize(args.gain[c] * normalised, *args.requantize, static_cast<uint32_t>(c));
    }
  }
}

void softmax(const SoftmaxArgs& args, uint8_t*) {
  for (size_t pixel = 0; pixel < args.pixels; ++pixel) {
    const uint8_t* x = args.x + pixel * args.channels;
    uint8_t* out = args.out + pixel * args.channels;
    const uint8_t largest = *std::max_element(x, x + args.channels);
    uint64_t sum = 0;
    for (uint32_t c = 0; c < args.channels; ++c) sum += args.table[largest - x[c]];
    for (uint32_t c = 0; c < args.channels; ++c) {
      const uint64_t value = (510 * static_cast<uint64_t>(args.table[largest - x[c]]) + sum) / (2 * sum);
      out[c] = static_cast<uint8_t>(std::min<uint64_t>(value, 255));  // minus 128 and plus the stored offset
    }
  }
}

void multiply(const MultiplyArgs& args) {
  for (size_t i = 0; i < args.runs; ++i) {
    const uint8_t* a = args.a + i * args.run;
    uint8_t* out = args.out + i * args.run;
    for (size_t j = 0; j < args.run; ++j) {
      out[j] = requantize((a[j] - args.a_zero) * (args.b[j] - args.b_zero), *args.requantize, 0);
    }
  }
}

}  // namespace

float inverse_deviation(const LayerNormArgs& args, int32_t sum, int32_t sum_of_squares) {
  const int64_t scaled = int64_t{args.channels} * sum_of_squares - int64_t{sum} * sum + args.epsilon;
  return limits::kNormOne / std::sqrt(static_cast<float>(scaled));
}

const SequenceKernels kPortableSequence = {matmul_scratch_bytes, matmul, softmax, layer_norm, multiply};

}  // namespace espalier
