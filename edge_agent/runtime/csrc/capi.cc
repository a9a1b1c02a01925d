// The C API: exceptions of the core become status codes here, and only here.
#include "espalier.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>

#include "error.h"
#include "format_limits.h"
#include "plan.h"

using espalier::Bytes;
using espalier::Plan;

struct espalier_model {
  Plan plan;
};

struct espalier_session {
  const espalier_model* model;
  uint8_t* arena;
  std::unique_ptr<espalier::Crew> crew;  // null for one thread
};

namespace {

void tell(char* message, size_t message_size, const char* what) {
  if (message != nullptr && message_size > 0) std::snprintf(message, message_size, "%s", what);
}

template <class Work>
espalier_status guarded(char* message, size_t message_size, Work work) {
  try {
    return work();
  } catch (const espalier::FormatError& error) {
    tell(message, message_size, error.what());
    return ESPALIER_FORMAT_ERROR;
  } catch (const espalier::InputError& error) {
    tell(message, message_size, error.what());
    return ESPALIER_INPUT_ERROR;
  } catch (const std::bad_alloc&) {
    tell(message, message_size, "out of memory");
    return ESPALIER_OUT_OF_MEMORY;
  }
}

const espalier::Kernels* find_path(const char* name) {
  for (const espalier::Kernels* kernels : espalier::built_paths()) {
    if (kernels->is_supported() && (name == nullptr || std::strcmp(name, kernels->name) == 0)) return kernels;
  }
  return nullptr;
}

Bytes to_bytes(espalier_bytes bytes) { return {bytes.data, bytes.size}; }

size_t sample_bytes(const Plan& plan, int raw) { return plan.input_elements() * (raw != 0 ? 1 : sizeof(float)); }

}  // namespace

const char* espalier_path(size_t index) {
  for (const espalier::Kernels* kernels : espalier::built_paths()) {
    if (kernels->is_supported() && index-- == 0) return kernels->name;
  }
  return nullptr;
}

espalier_status espalier_model_check(espalier_bytes model, char* message, size_t message_size) {
  return guarded(message, message_size, [&] {
    espalier::parse_model(to_bytes(model));
    return ESPALIER_OK;
  });
}

espalier_status espalier_model_load(espalier_bytes model, espalier_payload_fn payload, void* context, const char* path,
                                    espalier_model** out, char* message, size_t message_size) {
  const espalier::Kernels* kernels = find_path(path);
  if (kernels == nullptr) {
    tell(message, message_size, "this path was not built or this CPU cannot run it");
    return ESPALIER_UNKNOWN_PATH;
  }
  return guarded(message, message_size, [&] {
    const auto give = [&](uint32_t index, const espalier::Tensor& t) {
      return to_bytes(payload(context, index, t.sha256.data, t.size_bytes));
    };
    *out = new espalier_model{Plan(to_bytes(model), give, *kernels)};
    return ESPALIER_OK;
  });
}

void espalier_model_free(espalier_model* model) { delete model; }

const char* espalier_model_path(const espalier_model* model) { return model->plan.path(); }
size_t espalier_model_arena_bytes(const espalier_model* model) { return model->plan.arena_bytes(); }
size_t espalier_model_constant_bytes(const espalier_model* model) { return model->plan.constant_bytes(); }
size_t espalier_model_input_elements(const espalier_model* model) { return model->plan.input_elements(); }
size_t espalier_model_operators(const espalier_model* model) { return model->plan.operators(); }
size_t espalier_model_output_elements(const espalier_model* model) { return model->plan.output_elements(); }
int espalier_model_accepts_raw(const espalier_model* model) { return model->plan.accepts_raw() ? 1 : 0; }

espalier_status espalier_session_create(const espalier_model* model, espalier_session** out) {
  return espalier_session_create_threads(model, 1, out);
}

espalier_status espalier_session_create_threads(const espalier_model* model, size_t threads, espalier_session** out) {
  if (threads < 1 || threads > ESPALIER_MAX_THREADS) return ESPALIER_NO_THREADS;
  const size_t bytes = model->plan.arena_bytes() + espalier::kOverread;
  const size_t rounded = (bytes + espalier::kAlignment - 1) / espalier::kAlignment * espalier::kAlignment;
  auto* arena = static_cast<uint8_t*>(std::aligned_alloc(espalier::kAlignment, rounded));
  if (arena == nullptr) return ESPALIER_OUT_OF_MEMORY;
  std::memset(arena, 0, rounded);
  auto* session = new (std::nothrow) espalier_session{model, arena, nullptr};
  if (session == nullptr) {
    std::free(arena);
    return ESPALIER_OUT_OF_MEMORY;
  }
  try {
    if (threads > 1 && model->plan.is_worth_helpers()) session->crew = std::make_unique<espalier::Crew>(static_cast<uint32_t>(threads));
  } catch (const std::system_error&) {
    espalier_session_free(session);
    return ESPALIER_NO_THREADS;
  } catch (const std::bad_alloc&) {
    espalier_session_free(session);
    return ESPALIER_OUT_OF_MEMORY;
  }
  *out = session;
  return ESPALIER_OK;
}

void espalier_session_free(espalier_session* session) {
  if (session == nullptr) return;
  std::free(session->arena);
  delete session;
}

espalier_status espalier_run(espalier_session* session, espalier_bytes input, int raw, int8_t* output, size_t output_size) {
  const Plan& plan = session->model->plan;
  const size_t sample = sample_bytes(plan, raw), out = plan.output_elements();
  const bool fits = input.size % sample == 0 && input.size / sample == output_size / out && output_size % out == 0;
  if (!fits || (raw != 0 && !plan.accepts_raw())) return ESPALIER_INPUT_ERROR;
  return guarded(nullptr, 0, [&] {
    for (size_t i = 0; i < input.size / sample; ++i) {
      plan.run(session->arena, input.data + i * sample, raw != 0, output + i * out, session->crew.get());
    }
    return ESPALIER_OK;
  });
}

espalier_status espalier_trace(espalier_session* session, espalier_bytes input, int raw, espalier_trace_fn on_output, void* context) {
  const Plan& plan = session->model->plan;
  if (input.size != sample_bytes(plan, raw) || (raw != 0 && !plan.accepts_raw())) return ESPALIER_INPUT_ERROR;
  return guarded(nullptr, 0, [&] {
    plan.trace(session->arena, input.data, raw != 0,
               [&](size_t op, const std::string& name, const int8_t* values, size_t elements) {
                 on_output(context, op, name.c_str(), values, elements);
               });
    return ESPALIER_OK;
  });
}

espalier_status espalier_profile(espalier_session* session, espalier_bytes input, int raw, uint64_t* ns, size_t entries) {
  const Plan& plan = session->model->plan;
  const bool fits = input.size == sample_bytes(plan, raw) && entries == plan.operators() + 1;
  if (!fits || (raw != 0 && !plan.accepts_raw())) return ESPALIER_INPUT_ERROR;
  return guarded(nullptr, 0, [&] {
    std::memset(ns, 0, entries * sizeof *ns);
    plan.profile(session->arena, input.data, raw != 0, ns);
    return ESPALIER_OK;
  });
}

void espalier_dequantize(const espalier_model* model, const int8_t* q, size_t elements, float* out) {
  model->plan.dequantize(q, elements, out);
}
