// The numbers of docs/format.md, section 2; limits.py holds the same ones for the Python reader.
#pragma once

#include <cstdint>

namespace espalier::limits {

constexpr uint32_t kFormatVersion = 1;

constexpr uint64_t kModelBytes = 8u << 20;
constexpr uint64_t kActivations = 4096;
constexpr uint64_t kOperators = 4096;
constexpr uint64_t kTensors = 16384;
constexpr uint64_t kLabels = 65536;
constexpr uint64_t kOperatorInputs = 1024;
constexpr uint64_t kRank = 4;
constexpr uint64_t kNameBytes = 256;
constexpr uint64_t kModelNameBytes = 128;

constexpr uint64_t kActivationElements = 1u << 24;
constexpr uint64_t kAllActivationElements = 1u << 26;
constexpr uint64_t kTensorElements = 1u << 26;
constexpr uint64_t kAllPayloadBytes = 1u << 28;
constexpr uint64_t kInlineBytes = 4096;
constexpr uint64_t kGoldenBytes = 64u << 20;
constexpr uint64_t kWindow = 65535;
constexpr uint64_t kWork = uint64_t{1} << 36;

constexpr int64_t kAccumulator = int64_t{1} << 30;
constexpr int32_t kShiftLeftClamp = 1 << 22;
constexpr int32_t kShiftMin = -8;
constexpr int32_t kShiftMax = 30;
constexpr float kMultiplierMin = 0x1p-40f;
constexpr float kMultiplierMax = 0x1p8f;
constexpr float kInputMultiplierMin = 0x1p-40f;
constexpr float kInputMultiplierMax = 0x1p40f;
constexpr float kScaleMin = 0x1p-126f;
constexpr uint64_t kNormChannels = 1u << 14;
constexpr uint64_t kNormEpsilon = uint64_t{1} << 44;
constexpr float kNormOne = 0x1p14f;               // a standard deviation, before gain and bias
constexpr int64_t kNormLargest = int64_t{1} << 21;  // kNormOne * sqrt(kNormChannels): no normalised value is larger
constexpr uint64_t kRuleNodes = 1u << 12;
constexpr uint64_t kRuleTrees = 1u << 8;
constexpr uint64_t kRuleFeatures = 1u << 16;
constexpr uint64_t kRuleDepth = 64;  // conditions between a root and a leaf

}  // namespace espalier::limits
