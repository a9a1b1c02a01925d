// The threads of a session: the caller and helpers that do the same work, each its share, and meet after every step that was shared.
//
// Helpers spin for a while after a run, since the next often comes soon, and then sleep. Running allocates nothing and starts nothing. A child
// of fork has none of its parent's threads: there, the caller does everything alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace espalier {

// One thread's part of a step's work.
struct Share {
  uint32_t index = 0, count = 1;

  // Where this share of `items` begins and ends; whole multiples of `grain` but for the last.
  size_t begin(size_t items, size_t grain = 1) const { return bound(index, items, grain); }
  size_t end(size_t items, size_t grain = 1) const { return bound(index + 1, items, grain); }

 private:
  size_t bound(size_t i, size_t items, size_t grain) const {
    if (i == count) return items;
    return (items + grain - 1) / grain * i / count * grain;
  }
};

class Crew {
 public:
  // Throws std::system_error where the system gives no more threads.
  explicit Crew(uint32_t threads);
  ~Crew();
  Crew(const Crew&) = delete;

  uint32_t threads() const;  // 1 in a child of fork

  // Calls work(context, share) once on every thread and returns when all are done; one run at a time.
  using Work = void (*)(const void* context, Share share);
  void run(Work work, const void* context);

  // Waits until every thread of the run has come here.
  void meet();

 private:
  void serve(uint32_t index);
  bool await(uint64_t seen);
  void stop();

  const uint32_t threads_;
  const uint32_t forks_;  // when it was made: a child has no helpers
  std::vector<std::thread> helpers_;

  Work work_ = nullptr;
  const void* context_ = nullptr;
  std::atomic<uint64_t> run_{0};  // its number; changes when work is there
  std::atomic<bool> ends_{false};

  std::atomic<uint32_t> arrived_{0};
  std::atomic<uint32_t> round_{0};

  std::atomic<uint32_t> asleep_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace espalier
