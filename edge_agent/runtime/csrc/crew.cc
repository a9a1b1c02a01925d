#include "crew.h"

#include <chrono>
#include <new>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__unix__)
#include <pthread.h>
#endif

namespace espalier {
namespace {

constexpr auto kSpin = std::chrono::microseconds(100);  // before a helper without work sleeps
constexpr int kSpinsPerLook = 64;                        // at the clock, or before other processes get a turn

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

std::atomic<uint32_t> forks{0};  // that this process descends from, since the first crew

void count_forks() {
#if defined(__unix__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  (void)registered;
#endif
}

// What `top -H` and debuggers show.
void name_this_thread() {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "espalier-crew");
#endif
}

}  // namespace

Crew::Crew(uint32_t threads) : threads_(threads), forks_((count_forks(), forks.load(std::memory_order_relaxed))) {
  try {
    for (uint32_t index = 1; index < threads; ++index) helpers_.emplace_back(&Crew::serve, this, index);
  } catch (...) {
    stop();
    throw;
  }
}

Crew::~Crew() { stop(); }

void Crew::stop() {
  if (forks_ != forks.load(std::memory_order_relaxed)) {
    // The threads are the parent's. Neither joining nor destroying what they wait on is possible here.
    for (std::thread& helper : helpers_) helper.detach();
    new (&wake_) std::condition_variable;
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_.store(true);
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

uint32_t Crew::threads() const {
  return forks_ == forks.load(std::memory_order_relaxed) ? threads_ : 1;
}

void Crew::run(Work work, const void* context) {
  const uint32_t count = threads();
  if (count == 1) return work(context, Share{});
  work_ = work;
  context_ = context;
  run_.fetch_add(1);  // sequentially consistent with `asleep_`: either a helper sees the run, or we see the helper asleep
  if (asleep_.load() > 0) {
    { const std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  work(context, Share{0, count});
  meet();
}

void Crew::meet() {
  const uint32_t count = threads();
  if (count == 1) return;
  const uint32_t round = round_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
    relax();
    if (spins % kSpinsPerLook == kSpinsPerLook - 1) std::this_thread::yield();
  }
}

void Crew::serve(uint32_t index) {
  name_this_thread();
  for (uint64_t seen = 0; await(seen); ++seen) {
    work_(context_, Share{index, threads_});
    meet();
  }
}

// Until there is a run beyond the number `seen`, or the end; false for the end.
bool Crew::await(uint64_t seen) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  for (int spins = 0; run_.load(std::memory_order_acquire) == seen; ++spins) {
    if (ends_.load(std::memory_order_relaxed)) return false;
    relax();
    if (spins % kSpinsPerLook == kSpinsPerLook - 1 && std::chrono::steady_clock::now() > deadline) {
      std::unique_lock<std::mutex> lock(mutex_);
      asleep_.fetch_add(1);
      wake_.wait(lock, [&] { return run_.load() != seen || ends_.load(); });
      asleep_.fetch_sub(1);
    }
  }
  return true;
}

}  // namespace espalier
