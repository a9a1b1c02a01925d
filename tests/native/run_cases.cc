// run_cases FILE [PATH...]: holds every path that this machine offers to the cases that cases.py wrote. Where PATHs are given, the machine
// must offer exactly these, in this order.
//
// For each path and valid model: the trace of every operator, the output, outputs of a batch, and that running allocates nothing. For each
// damaged model: the verdict of the Python reader.
#include <atomic>
#include <new>

#include "case_file.h"

static std::atomic<size_t> allocations{0};

void* operator new(size_t size) {
  ++allocations;
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace {

using cases::Case;
using cases::Run;

size_t failures = 0;

void fail(const Case& c, const std::string& what) {
  std::printf("FAILED: %s: %s\n", c.name.c_str(), what.c_str());
  ++failures;
}

bool same(espalier_bytes expected, const void* actual, size_t size) {
  return expected.size == size && (size == 0 || std::memcmp(expected.data, actual, size) == 0);
}

// A loaded model and its session, freed with it.
struct Loaded {
  Loaded(const Case& c, const char* path) {
    auto* payloads = const_cast<std::vector<espalier_bytes>*>(&c.payloads);
    status = espalier_model_load(c.model, cases::payload_of, payloads, path, &model, message, sizeof message);
    if (status == ESPALIER_OK) status = espalier_session_create(model, &session);
  }
  Loaded(const Loaded&) = delete;
  ~Loaded() {
    espalier_session_free(session);
    espalier_model_free(model);
  }

  espalier_model* model = nullptr;
  espalier_session* session = nullptr;
  espalier_status status;
  char message[256] = "";
};

struct TraceCheck {
  const Run& run;
  std::string first_difference;
  size_t operators;
};

void check_operator(void* context, size_t op, const char* name, const int8_t* output, size_t elements) {
  auto& check = *static_cast<TraceCheck*>(context);
  ++check.operators;
  const bool is_same = op < check.run.trace.size() && same(check.run.trace[op], output, elements);
  if (!is_same && check.first_difference.empty()) check.first_difference = std::string("operator ") + name + " differs";
}

void check_run(const Case& c, Loaded& loaded, const Run& run) {
  TraceCheck check{run, "", 0};
  if (espalier_trace(loaded.session, run.input, run.raw, check_operator, &check) != ESPALIER_OK) return fail(c, "no trace");
  if (!check.first_difference.empty()) return fail(c, check.first_difference);
  if (check.operators != run.trace.size()) return fail(c, "operators are missing from the trace");

  // Twice the same input, which starts at an odd address.
  const size_t size = run.input.size, elements = run.output.size;
  std::vector<uint8_t> batch(1 + 2 * size);
  std::memcpy(batch.data() + 1, run.input.data, size);
  std::memcpy(batch.data() + 1 + size, run.input.data, size);
  std::vector<int8_t> output(2 * elements);
  const size_t before = allocations;
  const espalier_status status = espalier_run(loaded.session, {batch.data() + 1, 2 * size}, run.raw, output.data(), output.size());
  if (allocations != before) fail(c, "running allocates");
  if (status != ESPALIER_OK) return fail(c, "does not run");
  for (size_t i = 0; i < 2; ++i) {
    if (!same(run.output, output.data() + i * elements, elements)) return fail(c, "the output differs");
  }
}

void check_valid(const Case& c, const char* path) {
  Loaded loaded(c, path);
  if (loaded.status != ESPALIER_OK) return fail(c, std::string("does not load: ") + loaded.message);
  if (std::strcmp(espalier_model_path(loaded.model), path) != 0) fail(c, "runs on another path");
  for (const Run& run : c.runs) check_run(c, loaded, run);
}

void check_verdict(const Case& c) {
  const bool parses = espalier_model_check(c.model, nullptr, 0) == ESPALIER_OK;
  if (parses != (c.verdict != cases::kRefused)) return fail(c, parses ? "only Python refuses it" : "only Python accepts it");
  if (c.verdict == cases::kTooLarge) return;
  const Loaded loaded(c, "portable");
  const espalier_status expected = c.verdict == cases::kLoads ? ESPALIER_OK : ESPALIER_FORMAT_ERROR;
  if (loaded.status != expected) fail(c, expected == ESPALIER_OK ? "only Python loads it" : "only Python refuses its values");
}

bool offers_exactly(int count, char** paths) {
  int offered = 0;
  bool is_same = true;
  for (; espalier_path(offered) != nullptr; ++offered) is_same = is_same && offered < count && !std::strcmp(espalier_path(offered), paths[offered]);
  return is_same && offered == count;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: run_cases FILE [PATH...]\n");
    return 2;
  }
  if (argc > 2 && !offers_exactly(argc - 2, argv + 2)) {
    std::printf("FAILED: this machine offers other paths:");
    for (size_t i = 0; espalier_path(i) != nullptr; ++i) std::printf(" %s", espalier_path(i));
    std::printf("\n");
    return 1;
  }
  const cases::File file = cases::read_file(argv[1]);
  size_t damaged = 0;
  for (const Case& c : file.cases) {
    if (c.runs.empty()) check_verdict(c), ++damaged;
  }
  std::printf("damaged models: %zu judged as the Python reader does\n", damaged);
  for (size_t i = 0; espalier_path(i) != nullptr; ++i) {
    size_t operators = 0;
    for (const Case& c : file.cases) {
      if (!c.runs.empty()) check_valid(c, espalier_path(i));
      for (const Run& run : c.runs) operators += run.trace.size();
    }
    std::printf("%s: %zu operator outputs compared\n", espalier_path(i), operators);
  }
  if (failures > 0) std::printf("%zu failures\n", failures);
  return failures > 0 ? 1 : 0;
}
