/* Loads and runs a compressed model from C or C++, without Python.
 *
 * No function throws or allocates while a model runs. Models are immutable and may be shared by threads; a session belongs to one thread at
 * a time. Digests of blobs are the caller's to check. */
#ifndef ESPALIER_H
#define ESPALIER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum espalier_status {
  ESPALIER_OK = 0,
  ESPALIER_FORMAT_ERROR = 1,  /* the model's bytes or a tensor's values are not valid */
  ESPALIER_INPUT_ERROR = 2,   /* a size does not fit, the input holds NaN, or raw input is not accepted */
  ESPALIER_UNKNOWN_PATH = 3,  /* not built, or this CPU cannot run it */
  ESPALIER_OUT_OF_MEMORY = 4,
  ESPALIER_NO_THREADS = 5     /* not within 1 and ESPALIER_MAX_THREADS, or the system gives no more */
} espalier_status;

#define ESPALIER_MAX_THREADS 64

typedef struct espalier_model espalier_model;
typedef struct espalier_session espalier_session;

typedef struct espalier_bytes {
  const uint8_t* data;
  size_t size;
} espalier_bytes;

/* Gives the payload of a tensor that is a blob; it must stay valid until it is called again or espalier_model_load returns. */
typedef espalier_bytes (*espalier_payload_fn)(void* context, size_t tensor, const uint8_t sha256[32], uint64_t size_bytes);

/* Called with each operator's int8 output, in stored order. */
typedef void (*espalier_trace_fn)(void* context, size_t op, const char* name, const int8_t* output, size_t elements);

/* Names of the instruction sets that this machine can run, best first; NULL beyond the last. */
const char* espalier_path(size_t index);

/* Whether bytes are a valid model, without its tensors' values. `message` (may be NULL) gets the reason. */
espalier_status espalier_model_check(espalier_bytes model, char* message, size_t message_size);

/* `path` may be NULL for the best one. On failure `*out` is untouched. */
espalier_status espalier_model_load(espalier_bytes model, espalier_payload_fn payload, void* context, const char* path,
                                    espalier_model** out, char* message, size_t message_size);
void espalier_model_free(espalier_model* model);

const char* espalier_model_path(const espalier_model* model);
size_t espalier_model_arena_bytes(const espalier_model* model);
size_t espalier_model_constant_bytes(const espalier_model* model);
size_t espalier_model_input_elements(const espalier_model* model);
size_t espalier_model_operators(const espalier_model* model);
size_t espalier_model_output_elements(const espalier_model* model);
int espalier_model_accepts_raw(const espalier_model* model);

/* Memory for one run at a time. The model must outlive it. */
espalier_status espalier_session_create(const espalier_model* model, espalier_session** out);

/* The same, and espalier_run shares large operators among `threads` threads, the caller being one of them: same bits, less time. The others
 * belong to the session, spin for 0.1 ms after a run and then sleep. In a child of fork the caller works alone. So it does with a model so
 * small that threads would only slow it down. */
espalier_status espalier_session_create_threads(const espalier_model* model, size_t threads, espalier_session** out);
void espalier_session_free(espalier_session* session);

/* Any number of samples back to back: uint8 where `raw` is not 0, else float32. `output` has room for as many int8 outputs. */
espalier_status espalier_run(espalier_session* session, espalier_bytes input, int raw, int8_t* output, size_t output_size);

/* One sample, and every operator's output. */
espalier_status espalier_trace(espalier_session* session, espalier_bytes input, int raw, espalier_trace_fn on_output, void* context);

/* Runs one sample and sets `ns` to the nanoseconds that preparing the input and then each operator in stored order took: one entry more than
 * the model has operators, 0 for what computes nothing. */
espalier_status espalier_profile(espalier_session* session, espalier_bytes input, int raw, uint64_t* ns, size_t entries);

/* (q - zero_point) * scale of the model's output. */
void espalier_dequantize(const espalier_model* model, const int8_t* q, size_t elements, float* out);

#ifdef __cplusplus
}
#endif

#endif
