// What this CPU and this operating system can run.
#pragma once

namespace espalier {

#if defined(__x86_64__)
bool cpu_has_avx2();
bool cpu_has_avx_vnni();
bool cpu_has_avx512_vnni();  // F, BW, VL, VBMI and VNNI, and the system saves the wide registers
bool cpu_has_amx_int8();     // the above, and tiles, which this asks the system for
#elif defined(__aarch64__)
bool cpu_has_neon();
bool cpu_has_neon_dotprod();
#endif

}  // namespace espalier
