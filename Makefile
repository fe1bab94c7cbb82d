# gort: what a clean clone needs to run, be tested and be measured. Every target sets up what it needs and
# is quick when nothing has changed.
#
#   make run [DIR=/some/tree] [ARGS=...]   digest a directory tree with goroutines (examples/digest.py)
#   make test                              lint, types, and the tests on every core and interpreter there is
#   make test-again [ARGS=--help]          the tests again and again on busy processors: finds those that fail now and then
#   make test-memory                       the core's tests under CPython's debug allocator and AddressSanitizer, leaks
#   make test-tsan                         some of them under ThreadSanitizer (builds a CPython for it: half an hour)
#   make bench [ARGS=...]                  measure gort beside Go, asyncio, uvloop, trio, gevent, threads
#   make lint                              ruff, mypy and pyright
#   make freethreaded                      build a free-threaded CPython 3.13 (Debian), and gort for it
#   make clean
#
# PYTHON=python3.12 chooses the interpreter (3.11 or later); it then has a virtual environment of its own.

PYTHON ?= python3
TESTS ?= tests
# No test is run again when it fails: one that can fail is a fault. scripts/test-again.py looks for such tests.
PYTEST_ARGS ?=

# ---- the interpreter and its virtual environment ------------------------------------------------------------
ifeq ($(PYTHON),python3)
VENV ?= .venv
else
VENV ?= .venv-$(notdir $(PYTHON))
endif
BIN := $(VENV)/bin

FT_PREFIX ?= $(or $(GORT_FT_PREFIX),/opt/gort-python3.13t)
FT_PYTHON ?= $(or $(wildcard $(FT_PREFIX)/bin/python3.13t),$(shell command -v python3.14t 2>/dev/null || command -v python3.13t 2>/dev/null))
FT_VENV := .venv-freethreaded
FT_BIN := $(FT_VENV)/bin

# What a build depends on. The compiled core is made of the .py files that have a .pxd, and all the .pxd and .h.
BUILD_FILES := pyproject.toml setup.py
PXD := $(wildcard src/gort/*.pxd src/gort/_runtime/*/*.pxd)
CORE := $(PXD) $(wildcard $(PXD:.pxd=.py)) $(wildcard src/gort/_runtime/c/*.h)
SOURCES := $(shell find src -type f \( -name '*.py' -o -name '*.pxd' -o -name '*.h' -o -name '*.go' \))

PIP := -m pip --disable-pip-version-check --quiet
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test test-again test-compiled test-pure test-freethreaded test-freethreaded-pure test-freethreaded-compiled test-memory \
    test-tsan bench lint freethreaded build build-freethreaded clean help
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; PYTHON=/path/to/python3.11 names one" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: gort needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V); PYTHON=/path/to/python3.11 names another" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --upgrade pip "setuptools>=77" "Cython>=3.2"
	@touch $@

# Editable: the sources in src/ are what runs, with the compiled core beside them.
$(VENV)/.installed: $(VENV)/.made $(BUILD_FILES)
	$(BIN)/python $(PIP) install --no-build-isolation --editable .
	@touch $@ $(VENV)/.built

$(VENV)/.built: $(VENV)/.installed $(CORE)
	@GORT_PURE= $(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

build: $(VENV)/.built

# The packages of an extra, without building gort once more.
EXTRA = $(BIN)/python -c 'import sys, tomllib; \
    extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
    print(*(need for name in sys.argv[1:] for need in extras[name]), sep="\n")'

$(VENV)/.dev: $(VENV)/.installed
	@$(EXTRA) dev xray > $(VENV)/dev.txt
	$(BIN)/python $(PIP) install --requirement $(VENV)/dev.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	@$(EXTRA) bench > $(VENV)/bench.txt
	$(BIN)/python $(PIP) install --requirement $(VENV)/bench.txt
	@touch $@

run: $(VENV)/.built
	@$(BIN)/gort run examples/digest.py $(DIR) $(ARGS)

# ---- tests --------------------------------------------------------------------------------------------------
# A run keeps one processor busy, so two configurations run at a time. The main one runs last, and the last line is its
# summary. Any failure ends the whole.
test:
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory build build-freethreaded
	@scripts/side-by-side.sh "$(MAKE) --no-print-directory test-freethreaded-pure" "$(MAKE) --no-print-directory test-pure"
	@scripts/side-by-side.sh "$(MAKE) --no-print-directory test-freethreaded-compiled" "$(MAKE) --no-print-directory test-compiled"

test-pure: $(VENV)/.dev $(VENV)/.built
	@echo "== tests: uncompiled core, $$($(BIN)/python -V)"
	GORT_PURE=1 $(BIN)/python -m pytest -q $(TESTS) -m "not lint and not once" $(PYTEST_ARGS)

test-compiled: $(VENV)/.dev $(VENV)/.built
	@echo "== tests: compiled core, $$($(BIN)/python -V)"
	@GORT_PURE= $(BIN)/python -c "import gort.runtime as r; import sys; sys.exit(0 if r.compiled else 'make: the core did not compile here; see the build output (make -B build)')"
	GORT_PURE= $(BIN)/python -m pytest -q $(TESTS) $(PYTEST_ARGS)

ifeq ($(FT_PYTHON),)
test-freethreaded test-freethreaded-pure test-freethreaded-compiled:
	@echo "== tests: free-threaded CPython: left out, none was found (make freethreaded builds one)"
build-freethreaded:
	@true
freethreaded:
	scripts/build-freethreaded.sh
	@$(MAKE) --no-print-directory freethreaded FT_PYTHON=$(FT_PREFIX)/bin/python3.13t
test-tsan: freethreaded
	@$(MAKE) --no-print-directory test-tsan FT_PYTHON=$(FT_PREFIX)/bin/python3.13t
else
$(FT_VENV)/.made:
	$(FT_PYTHON) -m venv $(FT_VENV)
	$(FT_BIN)/python $(PIP) install --upgrade pip "setuptools>=77" "Cython>=3.2" pytest h11
	# Newer versions of hypothesis are compiled, and not for every free-threaded interpreter.
	$(FT_BIN)/python $(PIP) install --only-binary hypothesis hypothesis
	@touch $@

# Not editable: here the package is tested as a user installs it, so a file that the wheel forgets is missed.
$(FT_VENV)/.installed: $(FT_VENV)/.made $(BUILD_FILES) $(SOURCES)
	$(FT_BIN)/python $(PIP) install --no-build-isolation .
	@touch $@

# Real Go, which the fidelity tests compare with, is the main environment's.
$(FT_BIN)/go: $(VENV)/.dev $(FT_VENV)/.made
	ln -sf $(abspath $(BIN)/go) $@

build-freethreaded: $(FT_VENV)/.installed $(FT_BIN)/go

test-freethreaded: test-freethreaded-pure test-freethreaded-compiled

test-freethreaded-pure: $(FT_VENV)/.installed $(FT_BIN)/go
	@echo "== tests: uncompiled core, free-threaded $$($(FT_BIN)/python -V)"
	GORT_PURE=1 $(FT_BIN)/python -m pytest -q $(TESTS) -m "not lint and not once" $(PYTEST_ARGS)

test-freethreaded-compiled: $(FT_VENV)/.installed $(FT_BIN)/go
	@echo "== tests: compiled core, free-threaded $$($(FT_BIN)/python -V)"
	@GORT_PURE= $(FT_BIN)/python -c "import gort.runtime as r, sys; assert r.compiled, 'not compiled'; assert not sys._is_gil_enabled(), 'a module of gort turns the GIL on'"
	GORT_PURE= $(FT_BIN)/python -m pytest -q $(TESTS) -m "not lint and not once" $(PYTEST_ARGS)

test-tsan: $(FT_VENV)/.made
	scripts/build-freethreaded.sh --tsan
	PYTHON=$(abspath $(FT_BIN)/python) scripts/test-sanitized.sh tsan

freethreaded: $(FT_VENV)/.installed
	@echo "gort for free-threaded CPython: $(FT_BIN)/gort"
endif

# Not part of `test`: it takes a quarter of an hour, and looks for what a change of the compiled core may break.
GORT_MEMORY_OPS ?= 100000
test-memory: $(VENV)/.dev $(VENV)/.built
	GORT_MEMORY_OPS=$(GORT_MEMORY_OPS) $(BIN)/python -m pytest -q tests/memory
	PYTHON=$(abspath $(BIN)/python) GORT_DEBUG_PYTHON="$$(command -v "$$($(BIN)/python -c 'import sys; print("python%d.%d-dbg" % sys.version_info[:2])')")" scripts/test-sanitized.sh debug
	PYTHON=$(abspath $(BIN)/python) scripts/test-sanitized.sh asan

# Looks for tests that fail now and then: make test-again ARGS="--racy --runs 20".
test-again: $(VENV)/.dev build build-freethreaded
	$(BIN)/python scripts/test-again.py $(ARGS)

lint: $(VENV)/.dev
	@echo "== ruff, mypy and pyright"
	$(BIN)/python -m ruff check src tests examples bench scripts setup.py
	$(BIN)/python -m ruff format --check --quiet src tests examples bench scripts setup.py
	$(BIN)/python -m mypy
	$(BIN)/python -m pyright --pythonpath $(BIN)/python
	$(BIN)/python scripts/verifytypes.py

# ---- benchmarks ---------------------------------------------------------------------------------------------
bench: $(VENV)/.bench $(VENV)/.built
	@$(BIN)/gort bench $(ARGS)

clean:
	rm -rf build dist .stamps .venv .venv-* src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete
