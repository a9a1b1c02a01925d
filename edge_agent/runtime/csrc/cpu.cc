#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace espalier {

#if defined(__x86_64__)
namespace {

bool bit(unsigned word, unsigned index) { return (word >> index) & 1; }

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

// What the CPU says of itself, asked once: under a hypervisor each question takes some 50 us.
struct Features {
  Registers basic = ask(1, 0), extended = ask(7, 0), more = ask(7, 1);
  unsigned saved_state = ask_saved_state();  // XCR0: which registers the operating system saves

 private:
  // Zeros where the leaf does not exist.
  static Registers ask(unsigned leaf, unsigned subleaf) {
    Registers r;
    if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) return {};
    return r;
  }

  // XGETBV exists where OSXSAVE is set.
  unsigned ask_saved_state() const {
    if (!bit(basic.c, 27)) return 0;
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
  }
};

const Features& cpu() {
  static const Features features;
  return features;
}

constexpr unsigned kAvxState = 0x6;       // XMM and YMM
constexpr unsigned kAvx512State = 0xE6;   // and opmask, upper ZMM, ZMM16-31
constexpr unsigned kTileState = 0x60000;  // tiles and their configuration

bool saves(unsigned state) { return (cpu().saved_state & state) == state; }

}  // namespace

bool cpu_has_avx2() {
  const bool has_fma_and_avx = bit(cpu().basic.c, 12) && bit(cpu().basic.c, 28);
  return saves(kAvxState) && has_fma_and_avx && bit(cpu().extended.b, 5);
}

bool cpu_has_avx_vnni() { return cpu_has_avx2() && bit(cpu().more.a, 4); }

bool cpu_has_avx512_vnni() {
  const Registers& r = cpu().extended;
  const bool has_f_bw_vl_dq = bit(r.b, 16) && bit(r.b, 30) && bit(r.b, 31) && bit(r.b, 17);
  const bool has_vbmi_vnni = bit(r.c, 1) && bit(r.c, 11);
  return cpu_has_avx2() && saves(kAvx512State) && has_f_bw_vl_dq && has_vbmi_vnni;
}

// Linux saves the state of tiles, 8 KB, only for processes that ask; others die at the first tile. Threads and children inherit it.
bool cpu_has_amx_int8() {
#if defined(ESPALIER_EMULATED_TILES)
  return cpu_has_avx512_vnni();
#elif defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  const bool has_tile_and_int8 = bit(cpu().extended.d, 24) && bit(cpu().extended.d, 25);
  return cpu_has_avx512_vnni() && has_tile_and_int8 && saves(kTileState) &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#elif defined(__aarch64__)
#if defined(__linux__)
bool cpu_has_neon() { return (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0; }
bool cpu_has_neon_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#else  // every 64-bit ARM application may use NEON; what goes beyond it would have to be asked in another way
bool cpu_has_neon() { return true; }
bool cpu_has_neon_dotprod() { return false; }
#endif
#endif

}  // namespace espalier
