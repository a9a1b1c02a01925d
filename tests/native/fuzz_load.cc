// fuzz_load CASES SECONDS SEED [REPORT]: loads damaged models until the time is over, and runs those that load and are small.
//
// No input may crash the loader, upset a sanitizer, keep it busy for longer than kTimeLimitS, make it hold more memory than a multiple of what
// it was given, or leave memory behind. Input i of a seed is always the same. An input that ends the process is written to
// `fuzz_load.crash`. REPORT gets some of the inputs with the verdict, for the Python reader to judge as well (agree.py).
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <exception>
#include <new>

#include "case_file.h"
#include "mutate.h"

static size_t live_bytes = 0, peak_bytes = 0;

static void* allocate(size_t size) noexcept {
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p != nullptr) live_bytes += malloc_usable_size(p);
  if (live_bytes > peak_bytes) peak_bytes = live_bytes;
  return p;
}
void* operator new(size_t size) {
  void* p = allocate(size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* p) noexcept {
  if (p != nullptr) live_bytes -= malloc_usable_size(p);
  std::free(p);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }

extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

namespace {

constexpr unsigned kTimeLimitS = 20;
constexpr size_t kFreeBytes = 4 << 20, kFactor = 1024;  // memory for a model: these, and this many times the bytes that it consists of
constexpr size_t kLargestSource = 48 << 10;
constexpr size_t kLargestPayload = 1 << 20, kLargestArena = 1 << 16;
constexpr size_t kReported = 2000;  // of accepted, and of refused models

struct Input {
  std::string model;
  std::vector<std::string> payloads;
  size_t payload_bytes = 0;  // that were asked for
};

Input current;
uint64_t current_index = 0;

void save_current() {
  FILE* file = std::fopen("fuzz_load.crash", "wb");
  if (file == nullptr) return;
  std::fwrite(current.model.data(), 1, current.model.size(), file);
  std::fclose(file);
  std::fprintf(stderr, "input %llu is in fuzz_load.crash\n", static_cast<unsigned long long>(current_index));
}

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "FAILED: %s\n", what);
  save_current();
  std::_Exit(1);
}

void on_alarm(int) { fail("the loader hangs"); }

espalier_bytes as_bytes(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

// What the source had for a tensor, else zeros of the size that is asked for, else nothing.
espalier_bytes give_payload(void* context, size_t tensor, const uint8_t*, uint64_t size) {
  auto& input = *static_cast<Input*>(context);
  if (size > kLargestPayload) return {nullptr, 0};
  if (tensor >= input.payloads.size()) input.payloads.resize(tensor + 1);
  std::string& payload = input.payloads[tensor];
  if (payload.size() != size) payload.assign(size, '\0');
  input.payload_bytes += size;
  return as_bytes(payload);
}

void run_if_small(const espalier_model* model) {
  if (espalier_model_arena_bytes(model) > kLargestArena || espalier_model_constant_bytes(model) > kLargestArena) return;
  espalier_session* session = nullptr;
  if (espalier_session_create(model, &session) != ESPALIER_OK) fail("no session");
  const int raw = espalier_model_accepts_raw(model);
  const std::string input(espalier_model_input_elements(model) * (raw != 0 ? 1 : 4), '\x3f');
  std::vector<int8_t> output(espalier_model_output_elements(model));
  if (espalier_run(session, as_bytes(input), raw, output.data(), output.size()) != ESPALIER_OK) fail("a model that loads does not run");
  espalier_session_free(session);
}

cases::Verdict judge(const char* path) {
  char message[256];
  if (espalier_model_check(as_bytes(current.model), message, sizeof message) != ESPALIER_OK) return cases::kRefused;
  espalier_model* model = nullptr;
  const espalier_status status = espalier_model_load(as_bytes(current.model), give_payload, &current, path, &model, message, sizeof message);
  if (status != ESPALIER_OK && status != ESPALIER_FORMAT_ERROR) fail("another error than the format's");
  if (status != ESPALIER_OK) return cases::kValuesRefused;
  run_if_small(model);
  espalier_model_free(model);
  return cases::kLoads;
}

class Report {
 public:
  explicit Report(const char* name) : file_(name == nullptr ? nullptr : std::fopen(name, "wb")) {
    if (file_ != nullptr) std::fwrite("ESPCASE1", 1, 8, file_);
  }
  ~Report() {
    if (file_ != nullptr) std::fclose(file_);
  }
  void add(const cases::Verdict verdict) {
    const bool is_wanted = verdict == cases::kRefused ? refused_ < kReported && current_index % 16 == 0 : accepted_ < kReported;
    if (file_ == nullptr || !is_wanted) return;
    ++(verdict == cases::kRefused ? refused_ : accepted_);
    bytes("input " + std::to_string(current_index));
    bytes(current.model);
    number(verdict);
    number(verdict == cases::kRefused ? 0 : current.payloads.size());
    if (verdict != cases::kRefused) for (const std::string& payload : current.payloads) bytes(payload);
    number(0);  // runs
  }

 private:
  void number(size_t n) {
    const uint8_t le[4] = {static_cast<uint8_t>(n), static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n >> 16), static_cast<uint8_t>(n >> 24)};
    std::fwrite(le, 1, 4, file_);
  }
  void bytes(const std::string& s) {
    number(s.size());
    std::fwrite(s.data(), 1, s.size(), file_);
  }

  FILE* file_;
  size_t accepted_ = 0, refused_ = 0;
};

std::vector<Input> read_corpus(const char* name) {
  const cases::File file = cases::read_file(name);
  std::vector<Input> corpus;
  const auto text = [](espalier_bytes bytes) { return std::string(reinterpret_cast<const char*>(bytes.data), bytes.size); };
  for (const cases::Case& c : file.cases) {
    size_t size = c.model.size;
    for (const espalier_bytes payload : c.payloads) size += payload.size;
    if (c.verdict != cases::kLoads || size > kLargestSource) continue;
    Input& input = corpus.emplace_back();
    input.model = text(c.model);
    for (const espalier_bytes payload : c.payloads) input.payloads.push_back(text(payload));
  }
  return corpus;
}

void make_input(const std::vector<Input>& corpus, uint64_t seed) {
  mutate::Random random(seed ^ current_index * 0x9E3779B97F4A7C15u);
  current = corpus[mutate::below(random, corpus.size())];
  current.model = mutate::message(current.model, corpus[mutate::below(random, corpus.size())].model, random);
  if (mutate::chance(random, 10) && !current.payloads.empty()) {
    std::string& payload = current.payloads[mutate::below(random, current.payloads.size())];
    if (!payload.empty()) payload[mutate::below(random, payload.size())] = static_cast<char>(random());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: fuzz_load CASES SECONDS SEED [REPORT]\n");
    return 2;
  }
  const std::vector<Input> corpus = read_corpus(argv[1]);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  const uint64_t seed = std::strtoull(argv[3], nullptr, 10);
  Report report(argc > 4 ? argv[4] : nullptr);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_current);
  std::signal(SIGALRM, on_alarm);
  std::set_terminate([] { fail("an exception left the C API"); });

  size_t paths = 0, verdicts[4] = {}, largest = 0;
  while (espalier_path(paths) != nullptr) ++paths;
  for (; std::chrono::steady_clock::now() < end; ++current_index) {
    make_input(corpus, seed);
    size_t given = current.model.size();
    for (const std::string& payload : current.payloads) given += payload.size();
    const size_t before = peak_bytes = live_bytes;
    alarm(kTimeLimitS);
    const cases::Verdict verdict = judge(espalier_path(current_index % paths));
    alarm(0);
    const size_t used = peak_bytes - before;
    if (used > kFreeBytes + kFactor * (given + current.payload_bytes)) fail("the loader holds too much memory");
    ++verdicts[verdict];
    largest = std::max(largest, used);
    report.add(verdict);
  }
  std::printf("%llu inputs: %zu refused, %zu with refused values, %zu loaded; at most %.1f MiB held\n", static_cast<unsigned long long>(current_index),
              verdicts[cases::kRefused], verdicts[cases::kValuesRefused], verdicts[cases::kLoads], static_cast<double>(largest) / (1 << 20));
  return 0;
}
