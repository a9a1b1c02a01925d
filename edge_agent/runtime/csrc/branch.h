// Which operators a run may leave out: what only the branch that a select does not take would read.
//
// A select is defined on the results of both branches, and nothing in a model has side effects, so leaving out is not visible in any output.
// A trace runs everything.
#pragma once

#include "step.h"

namespace espalier {

class Branches {
 public:
  Branches() = default;
  Branches(const Model& model, const PlanContext& context);

  // Whether this run can do without the operator. Asked in stored order, so that the gates are there.
  bool skips(size_t op, uint8_t* arena) const {
    if (guards_.empty()) return false;
    for (const Guard& guard : guards_[op]) {
      const bool passes = *guard.gate.in(arena) >= guard.threshold;
      if (passes == guard.skips_where_passed) return true;
    }
    return false;
  }

 private:
  struct Guard {
    Place gate;
    int32_t threshold;        // of the stored byte
    bool skips_where_passed;  // the operator serves the branch that is taken below the threshold
  };

  std::vector<std::vector<Guard>> guards_;  // by operator, the latest select first; empty where there is no select
};

}  // namespace espalier
