# `make demo` and `make test` are all that a newcomer needs; each installs what is missing first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_FLAGS ?=
# The stubs are generated with the oldest protobuf that the project supports: newer runtimes accept older stubs, not the reverse.
PROTOC_VENV := .venv-protos
GRPCIO_TOOLS := grpcio-tools==1.72.1

PROTOS := $(wildcard protos/*.proto)
ENGINE_SOURCES := CMakeLists.txt $(shell find edge_agent/runtime/csrc -type f 2>/dev/null)
DEPS_STAMP := $(VENV)/.deps-installed
BUILD_STAMP := $(VENV)/.package-built

NATIVE_BUILD := $(BIN)/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DESPALIER_PYTHON=OFF -DESPALIER_NATIVE_TESTS=ON --log-level=WARNING
QEMU := qemu-aarch64-static -L /usr/aarch64-linux-gnu

.PHONY: setup demo test test-all test-arm test-sanitized fuzz native-cases lint fix protos protos-check bench docs docs-check check clean help
.DEFAULT_GOAL := help

help:  ## say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(BUILD_STAMP)  ## create .venv and install everything into it

# One shell that collects what is missing, so that a newcomer runs one apt line, not three.
$(VENV)/bin/python:
	@missing=""; \
	command -v $(PYTHON) >/dev/null 2>&1 || missing="$$missing python3"; \
	$(PYTHON) -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$$missing python3-venv"; \
	$(PYTHON) -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' \
	    >/dev/null 2>&1 || missing="$$missing python3-dev"; \
	command -v $${CXX:-c++} >/dev/null 2>&1 || missing="$$missing g++"; \
	if [ -n "$$missing" ]; then \
	    echo "make: missing on this machine. Install it with:" >&2; \
	    echo "    sudo apt-get update && sudo apt-get install -y$$missing" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(DEPS_STAMP): requirements.lock | $(VENV)/bin/python
	@echo "Installing the pinned dependencies into $(VENV); the first time takes a few minutes"
	@$(PIP) install -qq $(PIP_FLAGS) -r requirements.lock
	@touch $@

# The build tools are pinned by the lock too, hence no build isolation.
$(BUILD_STAMP): pyproject.toml $(ENGINE_SOURCES) $(DEPS_STAMP)
	@echo "Building the engine and installing espalier-edge in place"
	@$(PIP) install -qq $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## train, compress, roll out, degrade, repair: the whole loop on this machine
	@$(BIN)/python -m examples.demo

test: setup  ## what a change must pass: unit, kernels, contract, integration, faults, one job on Ray
	@$(BIN)/python -m pytest -m "not slow"

test-all: setup  ## everything, the demo and the slow faults too
	@$(BIN)/python -m pytest

# What the reference makes of random models: for programs that run where Python does not.
native-cases: setup
	@$(BIN)/python -m tests.native.cases build/cases.bin

test-arm: native-cases  ## cross-compile for 64-bit ARM and hold both NEON paths to the reference under an emulator
	@for tool in aarch64-linux-gnu-g++ qemu-aarch64-static; do command -v $$tool >/dev/null || { \
	    echo "make: $$tool is missing. Install it with: sudo apt-get install -y g++-aarch64-linux-gnu qemu-user-static" >&2; exit 1; }; done
	@$(NATIVE_BUILD) -B build/aarch64 --toolchain cmake/aarch64-linux-gnu.cmake >/dev/null
	@$(BIN)/ninja -C build/aarch64 --quiet
	@echo "-- a CPU with dot products"
	@$(QEMU) -cpu max build/aarch64/tests/native/run_cases build/cases.bin neon_dotprod neon portable
	@echo "-- a CPU without"
	@$(QEMU) -cpu cortex-a53 build/aarch64/tests/native/run_cases build/cases.bin neon portable

test-sanitized: native-cases  ## every path of this machine under address, leak and undefined-behaviour sanitizers
	@$(NATIVE_BUILD) -B build/sanitized-native -DESPALIER_SANITIZE=ON >/dev/null
	@$(BIN)/ninja -C build/sanitized-native --quiet
	@build/sanitized-native/tests/native/run_cases build/cases.bin

FUZZ_S ?= 40
FUZZ_SEED ?= 1
fuzz: native-cases  ## load damaged models for FUZZ_S seconds under sanitizers; both readers must agree on them
	@$(NATIVE_BUILD) -B build/sanitized-native -DESPALIER_SANITIZE=ON >/dev/null
	@$(BIN)/ninja -C build/sanitized-native --quiet
	@build/sanitized-native/tests/native/fuzz_load build/cases.bin $(FUZZ_S) $(FUZZ_SEED) build/fuzzed.bin
	@$(BIN)/python -m tests.native.agree build/fuzzed.bin

lint: setup  ## format, style, types and import directions; changes nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: setup  ## let ruff repair what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(PROTOC_VENV)/.installed:
	@$(PYTHON) -m venv $(PROTOC_VENV)
	@$(PROTOC_VENV)/bin/python -m pip --disable-pip-version-check install -qq $(PIP_FLAGS) "$(GRPCIO_TOOLS)" "setuptools<80"
	@touch $@

protos: $(PROTOC_VENV)/.installed  ## regenerate the stubs beside the .proto files
	@$(PROTOC_VENV)/bin/python -W ignore -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)

protos-check: $(PROTOC_VENV)/.installed
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	$(PROTOC_VENV)/bin/python -W ignore -m grpc_tools.protoc -I. --python_out=$$out --pyi_out=$$out --grpc_python_out=$$out $(PROTOS) && \
	for stub in $$out/protos/*; do \
	    cmp -s $$stub protos/$${stub##*/} || { echo "protos/$${stub##*/} is not what its .proto says: run 'make protos'" >&2; exit 1; }; \
	done && echo "protos: stubs are up to date"

bench: setup  ## measure the claims of the README again
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

docs: setup  ## write docs/cli.md and docs/configuration.md from the code
	@$(BIN)/python docs/generate.py

docs-check: setup
	@$(BIN)/python -m pytest tests/docs

check: lint protos-check docs-check  ## everything static: style, types, imports, stubs, documentation

clean:  ## remove what was built, not the downloaded data
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(VENV) $(PROTOC_VENV)
