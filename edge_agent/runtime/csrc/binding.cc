// The Python module `_engine`: the C API behind one class. Takes any contiguous buffer, needs no numpy, releases the GIL while it computes.
#include <nanobind/nanobind.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "espalier.h"

namespace nb = nanobind;

namespace {

// A contiguous view of a Python buffer for as long as it lives.
class View {
 public:
  explicit View(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  View(View&& other) noexcept : buffer_(other.buffer_) { other.buffer_.obj = nullptr; }
  View(const View&) = delete;
  ~View() {
    if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
  }
  espalier_bytes bytes() const { return {static_cast<const uint8_t*>(buffer_.buf), static_cast<size_t>(buffer_.len)}; }

 private:
  Py_buffer buffer_{};
};

// bytes of a size that is filled before anybody else sees them.
nb::bytes new_bytes(size_t size) {
  PyObject* object = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
  if (object == nullptr) throw nb::python_error();
  return nb::steal<nb::bytes>(object);
}

char* data_of(nb::bytes& bytes) { return PyBytes_AS_STRING(bytes.ptr()); }

[[noreturn]] void fail(espalier_status status, const char* message) {
  if (status == ESPALIER_OUT_OF_MEMORY) throw std::bad_alloc();
  throw nb::value_error(message);
}

// Raises what callers of an engine expect, so that calls need no frame of Python around them.
[[noreturn]] void fail_input(const std::string& message) {
  const nb::object type = nb::module_::import_("edge_agent.errors").attr("InputError");
  PyErr_SetString(type.ptr(), message.c_str());
  throw nb::python_error();
}

void check_model(nb::handle data) {
  const View view(data);
  char message[256] = "";
  const espalier_status status = espalier_model_check(view.bytes(), message, sizeof message);
  if (status != ESPALIER_OK) fail(status, message);
}

// Gives the operating system back what the heap holds but nobody uses.
void trim_heap() {
#if defined(__GLIBC__)
  const nb::gil_scoped_release release;
  malloc_trim(0);
#endif
}

// Asks Python for payloads while a model loads. What Python raises waits here until the load has failed for want of the payload.
class Payloads {
 public:
  explicit Payloads(nb::callable fetch) : fetch_(std::move(fetch)) {}

  static espalier_bytes give(void* context, size_t tensor, const uint8_t sha256[32], uint64_t size_bytes) {
    return static_cast<Payloads*>(context)->fetch(tensor, sha256, size_bytes);
  }

  void raise() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  espalier_bytes fetch(size_t tensor, const uint8_t* sha256, uint64_t size_bytes) {
    nb::gil_scoped_acquire acquire;
    try {
      view_.reset();  // the loader is done with the payload before this one
      view_.emplace(fetch_(tensor, nb::bytes(sha256, 32), size_bytes));
      return view_->bytes();
    } catch (...) {
      error_ = std::current_exception();
      return {nullptr, 0};
    }
  }

  nb::callable fetch_;
  std::optional<View> view_;  // holds its buffer
  std::exception_ptr error_;
};

class Model {
 public:
  Model(nb::handle data, nb::callable fetch, const std::string& path, size_t threads) {
    const View view(data);
    Payloads payloads(std::move(fetch));
    char message[256] = "";
    espalier_model* model = nullptr;
    espalier_status status;
    {
      nb::gil_scoped_release release;
      status = espalier_model_load(view.bytes(), &Payloads::give, &payloads, path.c_str(), &model, message, sizeof message);
    }
    payloads.raise();
    if (status != ESPALIER_OK) fail(status, message);
    model_.reset(model);
    espalier_session* session = nullptr;
    status = espalier_session_create_threads(model, threads, &session);
    if (status == ESPALIER_NO_THREADS) throw std::runtime_error("the system gives no more threads");
    if (status != ESPALIER_OK) fail(status, "out of memory");
    session_.reset(session);
  }

  const char* path() const { return espalier_model_path(model_.get()); }
  size_t arena_bytes() const { return espalier_model_arena_bytes(model_.get()); }
  size_t weight_bytes() const { return espalier_model_constant_bytes(model_.get()); }

  nb::bytes infer(nb::handle x, bool raw) {
    const View input(x);
    if (input.bytes().size != sample_bytes(raw)) fail_input(size_message(input.bytes().size, raw));
    return run(input.bytes(), raw, 1);
  }

  nb::bytes infer_batch(nb::handle x, bool raw) {
    const View input(x);
    const size_t size = input.bytes().size;
    if (size % sample_bytes(raw) != 0) fail_input(size_message(size, raw));
    return run(input.bytes(), raw, size / sample_bytes(raw));
  }

  nb::list trace(nb::handle x, bool raw) {
    const View input(x);
    std::vector<std::string> outputs;
    const auto keep = [](void* context, size_t, const char*, const int8_t* output, size_t elements) {
      static_cast<std::vector<std::string>*>(context)->emplace_back(reinterpret_cast<const char*>(output), elements);
    };
    espalier_status status;
    {
      nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);
      status = espalier_trace(session_.get(), input.bytes(), raw, keep, &outputs);
    }
    if (status != ESPALIER_OK) fail_input(input_message(input.bytes().size, raw));
    nb::list list;
    for (const std::string& output : outputs) list.append(nb::bytes(output.data(), output.size()));
    return list;
  }

  std::vector<uint64_t> profile(nb::handle x, bool raw) {
    const View input(x);
    std::vector<uint64_t> ns(espalier_model_operators(model_.get()) + 1);
    espalier_status status;
    {
      nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);
      status = espalier_profile(session_.get(), input.bytes(), raw, ns.data(), ns.size());
    }
    if (status != ESPALIER_OK) fail_input(input_message(input.bytes().size, raw));
    return ns;
  }

  nb::bytes dequantize(nb::handle q) const {
    const View input(q);
    nb::bytes result = new_bytes(input.bytes().size * sizeof(float));
    espalier_dequantize(model_.get(), reinterpret_cast<const int8_t*>(input.bytes().data), input.bytes().size,
                        reinterpret_cast<float*>(data_of(result)));
    return result;
  }

 private:
  size_t sample_bytes(bool raw) const { return espalier_model_input_elements(model_.get()) * (raw ? 1 : sizeof(float)); }

  std::string size_message(size_t size, bool raw) const {
    return "the input has " + std::to_string(size) + " bytes; one sample has " + std::to_string(sample_bytes(raw));
  }

  std::string input_message(size_t size, bool raw) const {
    if (raw && espalier_model_accepts_raw(model_.get()) == 0) return "the model does not accept raw uint8; send normalised float32";
    return size % sample_bytes(raw) == 0 ? "the input holds NaN" : size_message(size, raw);
  }

  nb::bytes run(espalier_bytes input, bool raw, size_t samples) {
    const size_t output_size = samples * espalier_model_output_elements(model_.get());
    nb::bytes result = new_bytes(output_size);
    auto* output = reinterpret_cast<int8_t*>(data_of(result));
    espalier_status status;
    {
      nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);
      status = espalier_run(session_.get(), input, raw, output, output_size);
    }
    if (status != ESPALIER_OK) fail_input(input_message(input.size, raw));
    return result;
  }

  struct Free {
    void operator()(espalier_model* model) const { espalier_model_free(model); }
    void operator()(espalier_session* session) const { espalier_session_free(session); }
  };
  std::unique_ptr<espalier_model, Free> model_;
  std::unique_ptr<espalier_session, Free> session_;  // after the model, so that it goes first
  std::mutex mutex_;
};

std::vector<std::string> path_names() {
  std::vector<std::string> names;
  for (size_t i = 0; espalier_path(i) != nullptr; ++i) names.emplace_back(espalier_path(i));
  return names;
}

}  // namespace

NB_MODULE(_engine, m) {
  m.def("paths", [] {
    nb::list names;
    for (const std::string& name : path_names()) names.append(nb::str(name.c_str()));
    return names;
  });
  m.def("check_model", &check_model, nb::arg("data"));
  m.def("trim_heap", &trim_heap);
  nb::class_<Model>(m, "Model")
      .def("__init__",
           [](Model* self, nb::handle data, nb::callable fetch, nb::str path, size_t threads) {
             new (self) Model(data, std::move(fetch), path.c_str(), threads);
           })
      .def_prop_ro("path", &Model::path)
      .def_prop_ro("arena_bytes", &Model::arena_bytes)
      .def_prop_ro("weight_bytes", &Model::weight_bytes)
      .def("infer_raw", [](Model& self, nb::handle x) { return self.infer(x, true); }, nb::arg("x"))
      .def("infer_float", [](Model& self, nb::handle x) { return self.infer(x, false); }, nb::arg("x"))
      .def("infer_batch", &Model::infer_batch, nb::arg("x"), nb::kw_only(), nb::arg("raw"))
      .def("trace", &Model::trace, nb::arg("x"), nb::kw_only(), nb::arg("raw"))
      .def("profile",
           [](Model& self, nb::handle x, bool raw) {
             nb::list list;
             for (const uint64_t ns : self.profile(x, raw)) list.append(ns);
             return list;
           },
           nb::arg("x"), nb::kw_only(), nb::arg("raw"))
      .def("dequantize", &Model::dequantize, nb::arg("q"));
}
