// The two ways in which callers can be wrong; both are turned into status codes by capi.cc and never leave the core.
#pragma once

#include <stdexcept>
#include <string>

namespace espalier {

// The model's bytes or a tensor's values are not valid.
struct FormatError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A request's input cannot be used.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool condition, const char* what) {
  if (!condition) throw FormatError(what);
}

}  // namespace espalier
