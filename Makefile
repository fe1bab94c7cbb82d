# gort: what a clean clone needs to run, be tested and be measured. Every target sets up what it needs and
# is quick when nothing has changed.
#
#   make run [DIR=/some/tree] [ARGS=...]   digest a directory tree with goroutines (examples/digest.py)
#   make test                              lint, types, and the tests on every core and interpreter there is
#   make test-pure, test-compiled          the tests of one core; TESTS=tests/test_chan.py names some of them
#   make test-freethreaded                 both cores on the free-threaded interpreter, where there is one
#   make test-3.12-pure                    any session of noxfile.py that the tests have (nox --list)
#   make test-again [ARGS=--help]          the tests again and again on busy processors: finds those that fail now and then
#   make test-memory                       the core's tests under CPython's debug allocator and AddressSanitizer, leaks
#   make test-tsan                         some of them under ThreadSanitizer (builds a CPython for it: half an hour)
#   make bench [ARGS=...]                  measure gort beside Go, asyncio, uvloop, trio, gevent, threads
#   make lint                              ruff, mypy and pyright
#   make freethreaded                      build a free-threaded CPython 3.13 (Debian), and gort for it
#   make build, make dev                   gort in .venv, from these sources; the same with the tools for the tests
#   make clean
#
# PYTHON=python3.12 chooses the interpreter (3.11 or later); it then has a virtual environment of its own.
# What the tests run in, and on which interpreters, is noxfile.py's; a virtual environment for nox is made here.

PYTHON ?= python3
TESTS ?= tests
# No test is run again when it fails: one that can fail is a fault. scripts/test-again.py looks for such tests.
PYTEST_ARGS ?=

VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet
NOX := .nox/nox/bin/nox --non-interactive
# The main interpreter's version, as noxfile.py has it in the names of its sessions.
MAIN = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
FREE = $(firstword $(shell $(NOX) --list | grep -o '3[.0-9]*t-env' | sed 's/-env//'))
PYTEST = -- $(TESTS) $(PYTEST_ARGS)
export PYTHON FT_PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run build dev bench test lint test-pure test-compiled test-again test-freethreaded test-memory test-tsan freethreaded \
    build-freethreaded clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

# ---- gort, run from these sources ---------------------------------------------------------------------------
$(VENV)/.made .nox/nox/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: gort needs Python 3.11 or later, which $(PYTHON) is not; PYTHON=/path/to/python3.11 names one" >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet install $(if $(findstring nox,$@),"nox>=2026.10",--upgrade "pip>=25.1" "setuptools>=77" "Cython>=3.2")
	@touch $@

# Editable: the sources in src/ are what runs, with the compiled core beside them.
$(VENV)/.installed: $(VENV)/.made pyproject.toml setup.py
	$(PIP) install --no-build-isolation --editable .
	@touch $@

# gort itself knows best whether its core is that of its sources (src/gort/_start/verify.py).
build: $(VENV)/.installed
	@$(BIN)/python -c 'import gort' 2>/dev/null || GORT_PURE= $(BIN)/python setup.py --quiet build_ext --inplace

$(VENV)/.dev $(VENV)/.bench: $(VENV)/.installed
	$(PIP) install --no-build-isolation $(if $(findstring dev,$@),--group dev --editable ".[xray]",--editable ".[bench]")
	@touch $@

dev: build $(VENV)/.dev

run: build
	@$(BIN)/gort run examples/digest.py $(DIR) $(ARGS)

bench: $(VENV)/.bench build
	@$(BIN)/gort bench $(ARGS)

# ---- tests: noxfile.py --------------------------------------------------------------------------------------
# A run keeps one processor busy, so two go side by side. Any failure ends the whole; the last lines are the summary of
# the main interpreter's compiled core.
test: lint
	@rm -f .nox/*.log
	@$(NOX) --tags test --parallel 2 $(PYTEST); status=$$?; tail -n 15 .nox/$(MAIN)-compiled.log; exit $$status

test-%: .nox/nox/.made
	@$(NOX) --session $* $(PYTEST)

test-pure test-compiled: test-%: test-$(MAIN)-%

lint: .nox/nox/.made
	@$(NOX) --session lint

test-again: .nox/nox/.made
	@$(NOX) --session again -- $(ARGS)

test-memory: .nox/nox/.made
	@$(NOX) --session memory

test-tsan: freethreaded
	scripts/build-freethreaded.sh --tsan
	@$(NOX) --session tsan

test-freethreaded: .nox/nox/.made
	@$(if $(FREE),$(NOX) --session $(FREE)-pure $(FREE)-compiled $(PYTEST),echo "no free-threaded CPython found: make freethreaded")

build-freethreaded: .nox/nox/.made
	@$(if $(FREE),$(NOX) --session $(FREE)-env,echo "no free-threaded CPython found: make freethreaded")

freethreaded:
	@scripts/build-freethreaded.sh
	@$(MAKE) --no-print-directory build-freethreaded

clean:
	rm -rf build dist .nox .venv .venv-* src/*.egg-info src/gort/_build_* .mypy_cache .ruff_cache .pytest_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete
