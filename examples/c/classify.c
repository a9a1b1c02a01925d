/* Classifies one input with a compressed model: no Python, no dependency but libespalier_core.
 *
 *     cmake -S examples/c -B build/c && cmake --build build/c
 *     build/c/classify BLOBS MODEL INPUT [PATH]
 *
 * BLOBS is a folder of files that are named by their SHA-256, as an agent keeps them (`blobs` in its state directory); MODEL is the model's
 * digest, INPUT a file of raw uint8 in the model's shape, PATH an instruction set to force. Prints the path and, best first, five classes with
 * their scores. An agent has checked the digests of its blobs; who gets files in another way must do so first. */
#include <espalier.h>

#include <stdio.h>
#include <stdlib.h>

enum { DIGEST = 32, SHOWN = 5 };

struct blobs {
  const char* folder;
  espalier_bytes* loaded;
  size_t count;
};

/* The whole file, or data NULL. */
static espalier_bytes read_file(const char* name) {
  espalier_bytes bytes = {NULL, 0};
  FILE* file = fopen(name, "rb");
  if (file == NULL) return bytes;
  long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
  uint8_t* data = size > 0 ? malloc((size_t)size) : NULL;
  rewind(file);
  if (data != NULL && fread(data, 1, (size_t)size, file) == (size_t)size) {
    bytes.data = data;
    bytes.size = (size_t)size;
  } else {
    free(data);
  }
  fclose(file);
  return bytes;
}

/* An espalier_payload_fn: the payload stays until the model is loaded. The engine refuses one of the wrong size. */
static espalier_bytes find_blob(void* context, size_t tensor, const uint8_t sha256[DIGEST], uint64_t size_bytes) {
  struct blobs* blobs = context;
  char name[4096];
  (void)tensor;
  (void)size_bytes;
  int length = snprintf(name, sizeof name, "%s/", blobs->folder);
  if (length < 0 || (size_t)length + 2 * DIGEST >= sizeof name) return (espalier_bytes){NULL, 0};
  for (int i = 0; i < DIGEST; ++i) snprintf(name + length + 2 * i, 3, "%02x", sha256[i]);
  espalier_bytes* grown = realloc(blobs->loaded, (blobs->count + 1) * sizeof *grown);
  if (grown == NULL) return (espalier_bytes){NULL, 0};
  blobs->loaded = grown;
  return blobs->loaded[blobs->count++] = read_file(name);
}

static espalier_model* load(const char* folder, const char* digest, const char* path) {
  struct blobs blobs = {folder, NULL, 0};
  char name[4096], message[256] = "cannot be read";
  espalier_model* model = NULL;
  snprintf(name, sizeof name, "%s/%s", folder, digest);
  espalier_bytes bytes = read_file(name);
  if (bytes.data == NULL || espalier_model_load(bytes, find_blob, &blobs, path, &model, message, sizeof message) != ESPALIER_OK) {
    fprintf(stderr, "%s: %s\n", name, message);
  }
  free((void*)bytes.data);
  for (size_t i = 0; i < blobs.count; ++i) free((void*)blobs.loaded[i].data);
  free(blobs.loaded);
  return model;
}

/* Five times the best that was not shown yet; ties take the lowest class. */
static void print_best(const espalier_model* model, const int8_t* output, size_t classes) {
  int above = 128;
  size_t after = 0, shown = 0;
  while (shown < SHOWN && shown < classes) {
    size_t best = classes;
    for (size_t i = 0; i < classes; ++i) {
      int is_left = output[i] < above || (output[i] == above && i >= after);
      if (is_left && (best == classes || output[i] > output[best])) best = i;
    }
    float score;
    espalier_dequantize(model, output + best, 1, &score);
    printf("class %zu: %g\n", best, (double)score);
    above = output[best];
    after = best + 1;
    ++shown;
  }
}

static int classify(const espalier_model* model, espalier_bytes input) {
  const size_t classes = espalier_model_output_elements(model);
  int8_t* output = malloc(classes);
  espalier_session* session = NULL;
  espalier_status status = ESPALIER_OUT_OF_MEMORY;
  if (output != NULL) status = espalier_session_create(model, &session);
  if (status == ESPALIER_OK) status = espalier_run(session, input, 1, output, classes);
  if (status == ESPALIER_OK) {
    printf("%s\n", espalier_model_path(model));
    print_best(model, output, classes);
  } else if (status == ESPALIER_INPUT_ERROR) {
    fprintf(stderr, "the input has %zu bytes, not one raw sample of %zu\n", input.size, espalier_model_input_elements(model));
  } else {
    fprintf(stderr, "out of memory\n");
  }
  espalier_session_free(session);
  free(output);
  return status == ESPALIER_OK ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    fprintf(stderr, "usage: %s BLOBS MODEL INPUT [PATH]\n", argv[0]);
    return 2;
  }
  espalier_model* model = load(argv[1], argv[2], argc > 4 ? argv[4] : NULL);
  if (model == NULL) return 1;
  espalier_bytes input = read_file(argv[3]);
  const int failed = classify(model, input);
  free((void*)input.data);
  espalier_model_free(model);
  return failed;
}
