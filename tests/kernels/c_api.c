/* c_api MODEL INPUT OUTPUT PATH BLOB...: runs one raw uint8 input through a model whose tensors stand in the BLOB files, each named by its SHA-256.
 * Writes the int8 output. A complete application against espalier.h, and the test of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "espalier.h"

static espalier_bytes read_file(const char* name) {
  espalier_bytes bytes = {NULL, 0};
  FILE* file = fopen(name, "rb");
  if (file == NULL) return bytes;
  fseek(file, 0, SEEK_END);
  bytes.size = (size_t)ftell(file);
  rewind(file);
  uint8_t* data = malloc(bytes.size + 1);
  if (data != NULL && fread(data, 1, bytes.size, file) == bytes.size) bytes.data = data;
  fclose(file);
  return bytes;
}

struct blobs {
  char** names;
  int count;
};

static espalier_bytes find_blob(void* context, size_t tensor, const uint8_t sha256[32], uint64_t size_bytes) {
  const struct blobs* blobs = context;
  char hex[65];
  (void)tensor;
  (void)size_bytes;
  for (int i = 0; i < 32; ++i) snprintf(hex + 2 * i, 3, "%02x", sha256[i]);
  for (int i = 0; i < blobs->count; ++i) {
    const char* slash = strrchr(blobs->names[i], '/');
    if (strcmp(slash == NULL ? blobs->names[i] : slash + 1, hex) == 0) return read_file(blobs->names[i]);
  }
  return (espalier_bytes){NULL, 0};
}

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  struct blobs blobs = {argv + 5, argc - 5};
  char message[256] = "";
  espalier_model* model = NULL;
  espalier_session* session = NULL;
  if (espalier_model_load(read_file(argv[1]), find_blob, &blobs, argv[4], &model, message, sizeof message) != ESPALIER_OK) {
    fprintf(stderr, "%s\n", message);
    return 1;
  }
  if (espalier_session_create(model, &session) != ESPALIER_OK) return 1;
  const size_t size = espalier_model_output_elements(model);
  int8_t* output = malloc(size);
  if (output == NULL || espalier_run(session, read_file(argv[2]), 1, output, size) != ESPALIER_OK) return 1;
  FILE* file = fopen(argv[3], "wb");
  if (file == NULL || fwrite(output, 1, size, file) != size || fclose(file) != 0) return 1;
  printf("%s\n", espalier_model_path(model));
  free(output);
  espalier_session_free(session);
  espalier_model_free(model);
  return 0;
}
