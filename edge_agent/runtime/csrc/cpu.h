// What this CPU and this operating system can run.
#pragma once

namespace espalier {

bool cpu_has_avx2();
bool cpu_has_avx_vnni();
bool cpu_has_avx512_vnni();  // F, BW, VL, VBMI and VNNI, and the system saves the wide registers

}  // namespace espalier
