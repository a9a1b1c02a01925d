// The list of instruction sets in this build, best first. To add one: its file, a line here, its flags in CMakeLists.txt.
#include "kernels.h"

namespace espalier {

const std::vector<const Kernels*>& built_paths() {
  static const std::vector<const Kernels*> paths{
#if defined(__x86_64__)
      &amx_int8(),
      &kAvx512Vnni,
      &kAvxVnni,
      &kAvx2,
#elif defined(__aarch64__)
      &kNeonDotprod,
      &kNeon,
#endif
      &kPortable,
  };
  return paths;
}

}  // namespace espalier
