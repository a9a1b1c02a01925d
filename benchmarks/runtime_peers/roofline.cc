// Prints, one "name value" a line, what one core of this machine can do at most: int8 and float multiply-accumulates out of
// registers, and bytes read per second from each level of memory. Built with -march=native: what the compiler may not use is
// left out. Each figure is the best of several runs, since everything else on the machine can only make it smaller.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif
#if defined(__AMX_INT8__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

constexpr int kRuns = 7;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Units per second of `work`, which does `units` of them; the best run.
template <typename Work>
double rate(double units, Work work) {
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const double start = seconds();
    work();
    const double now = units / (seconds() - start);
    if (now > best) best = now;
  }
  return best;
}

void report(const char* name, double value) { std::printf("%s %.2f\n", name, value); }

#if defined(__aarch64__)
#define IN_REGISTER(value) asm volatile("" : "+w"(value))
#else
#define IN_REGISTER(value) asm volatile("" : "+v"(value))
#endif

// Twelve independent chains of one instruction, enough to hide its latency. Named variables, since an array would live in memory.
template <typename Vector, typename Step>
double chain_rate(double macs_per_step, Vector zero, Step step) {
  constexpr long kSteps = 1 << 21;
  return rate(macs_per_step * 12 * kSteps, [&] {
    Vector a = zero, b = zero, c = zero, d = zero, e = zero, f = zero;
    Vector g = zero, h = zero, i = zero, j = zero, k = zero, l = zero;
    for (long n = 0; n < kSteps; ++n) {
      a = step(a), b = step(b), c = step(c), d = step(d), e = step(e), f = step(f);
      g = step(g), h = step(h), i = step(i), j = step(j), k = step(k), l = step(l);
      IN_REGISTER(a); IN_REGISTER(b); IN_REGISTER(c); IN_REGISTER(d); IN_REGISTER(e); IN_REGISTER(f);
      IN_REGISTER(g); IN_REGISTER(h); IN_REGISTER(i); IN_REGISTER(j); IN_REGISTER(k); IN_REGISTER(l);
    }
  });
}

void multiply_rates() {
#if defined(__AVX512VNNI__)
  {
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(1);
    report("vnni512_gmac_s", chain_rate(64, _mm512_setzero_si512(), [=](__m512i s) { return _mm512_dpbusd_epi32(s, a, b); }) / 1e9);
  }
#endif
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  {
    const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(1);
    report("vnni256_gmac_s", chain_rate(32, _mm256_setzero_si256(), [=](__m256i s) { return _mm256_dpbusd_epi32(s, a, b); }) / 1e9);
  }
#elif defined(__AVXVNNI__)
  {
    const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(1);
    report("vnni256_gmac_s", chain_rate(32, _mm256_setzero_si256(), [=](__m256i s) { return _mm256_dpbusd_avx_epi32(s, a, b); }) / 1e9);
  }
#endif
#if defined(__AVX2__)
  {
    // The exact way without VNNI: 16-bit pairs, which cannot saturate.
    const __m256i a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(1);
    report("avx2_madd_gmac_s", chain_rate(16, _mm256_setzero_si256(), [=](__m256i s) {
             __m256i x = a;
             IN_REGISTER(x);  // else the product is computed once
             return _mm256_add_epi32(s, _mm256_madd_epi16(x, b));
           }) / 1e9);
  }
#endif
#if defined(__AVX512F__)
  {
    const __m512 a = _mm512_set1_ps(0.5f);
    report("fma_fp32_gmac_s", chain_rate(16, a, [=](__m512 s) { return _mm512_fmadd_ps(s, a, a); }) / 1e9);
  }
#elif defined(__FMA__)
  {
    const __m256 a = _mm256_set1_ps(0.5f);
    report("fma_fp32_gmac_s", chain_rate(8, a, [=](__m256 s) { return _mm256_fmadd_ps(s, a, a); }) / 1e9);
  }
#endif
#if defined(__ARM_FEATURE_DOTPROD)
  {
    const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(1);
    report("neon_dot_gmac_s", chain_rate(16, vdupq_n_s32(0), [=](int32x4_t s) { return vdotq_s32(s, a, b); }) / 1e9);
  }
#endif
}

#if defined(__AMX_INT8__)
// Tiles of 16 x 64 bytes: 16 x 16 sums of 64 products each. The kernel hands the tile registers out on request.
void tile_rate() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return;
  alignas(64) uint8_t config[64] = {1};
  for (int tile = 0; tile < 8; ++tile) {
    config[16 + 2 * tile] = 64;
    config[48 + tile] = 16;
  }
  _tile_loadconfig(config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  constexpr long kSteps = 1 << 17;
  const double gmac = rate(16.0 * 16 * 64 * 4 * kSteps, [] {
    for (long i = 0; i < kSteps; ++i) {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  });
  _tile_release();
  report("amx_int8_gmac_s", gmac / 1e9);
}
#endif

double read_rate(size_t bytes) {
  std::vector<uint64_t> data(bytes / 8, 1);
  const long passes = static_cast<long>((size_t{1} << 28) / bytes) + 1;
  volatile uint64_t sink = 0;
  const double best = rate(static_cast<double>(bytes) * passes, [&] {
    uint64_t sum[16] = {};
    for (long pass = 0; pass < passes; ++pass) {
      const uint64_t* p = data.data();
      asm volatile("" : : "r"(p) : "memory");
      for (size_t i = 0; i + 16 <= data.size(); i += 16)
        for (int lane = 0; lane < 16; ++lane) sum[lane] += p[i + lane];
    }
    for (uint64_t value : sum) sink = sink + value;
  });
  return best;
}

}  // namespace

int main() {
  multiply_rates();
#if defined(__AMX_INT8__)
  tile_rate();
#endif
  report("read_16k_gb_s", read_rate(size_t{16} << 10) / 1e9);
  report("read_512k_gb_s", read_rate(size_t{512} << 10) / 1e9);
  report("read_8m_gb_s", read_rate(size_t{8} << 20) / 1e9);
  report("read_256m_gb_s", read_rate(size_t{256} << 20) / 1e9);
}
