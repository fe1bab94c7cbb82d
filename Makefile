# gort: what a clean clone needs to run, be tested and be measured. Every target sets up what it needs and
# is quick when nothing has changed. The tests' environments and interpreters are noxfile.py's.
#
#   make run [DIR=/some/tree] [ARGS=...]   digest a directory tree with goroutines (examples/digest.py)
#   make test                              lint, types, and the tests on every core and interpreter there is
#   make test-pure, test-compiled          the tests of one core; TESTS=tests/test_chan.py names some of them
#   make test-freethreaded                 both cores on the free-threaded interpreter
#   make test-3.12-pure                    any session of noxfile.py that the tests have (nox --list)
#   make test-pythons                      the tests on 3.12 and 3.13 (pyenv) and on Debian forky's 3.14 and 3.15 (a folder that
#                                          debootstrap makes, as root): every core; an hour
#   make test-again [ARGS=--help]          the tests again and again on busy processors: finds those that fail now and then
#   make test-memory                       the core's tests under CPython's debug allocator and AddressSanitizer, leaks
#   make test-anywhere                     network, files and processes without epoll; the core compiled without Linux's headers
#   make test-aarch64                      the core compiled for aarch64, and its tests in emulation (Debian's qemu-user; as root)
#   make test-musl                         the musl wheel, built and tested without glibc (makes a CPython for it: ten minutes)
#   make test-web                          real web applications on gort serve (Flask, Django, FastAPI), and hostile clients
#   make test-tsan                         some of them under ThreadSanitizer (builds a CPython for it: half an hour)
#   make bench [ARGS=...]                  measure gort beside Go, asyncio, uvloop, trio, gevent, threads
#   make lint                              ruff, mypy and pyright
#   make docs                              the documentation as a site, in build/site
#   make freethreaded                      build a free-threaded CPython 3.13 (Debian), and gort for it
#   make build, make dev                   gort in .venv, from these sources; the same with the tools for the tests
#   make clean
#
# PYTHON=python3.12 chooses the interpreter (3.11 or later); it then has a virtual environment of its own.

PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
NOX := $(BIN)/nox --non-interactive
# The main interpreter's version, as noxfile.py has it in the names of its sessions.
MAIN = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
TESTS ?= tests
PYTEST_ARGS ?=
export PYTHON FT_PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run bench build dev docs test test-pure test-compiled test-pythons test-aarch64 test-musl lint freethreaded clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: gort needs Python 3.11 or later, which $(PYTHON) is not; PYTHON=/path/to/python3.11 names one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --quiet install --upgrade "pip>=25.1" "setuptools>=77" "Cython>=3.2"
	@touch $@

# Editable: the sources in src/ are what runs, with the compiled core beside them.
$(VENV)/.installed: WHAT := --editable .
$(VENV)/.dev: WHAT := --group dev --editable ".[xray]"
$(VENV)/.bench: WHAT := --editable ".[bench]"
$(VENV)/.nox: WHAT := "nox>=2026.10"
$(VENV)/.installed $(VENV)/.dev $(VENV)/.bench $(VENV)/.nox: $(VENV)/.made pyproject.toml setup.py
	$(BIN)/python -m pip --quiet install --no-build-isolation $(WHAT)
	@touch $@

# gort itself knows best whether its core is that of its sources (src/gort/_start/verify.py).
build: $(VENV)/.installed
	@$(BIN)/python -c 'import gort' 2>/dev/null || GORT_PURE= $(BIN)/python setup.py --quiet build_ext --inplace

dev: $(VENV)/.dev build

run: build
	@$(BIN)/gort run examples/digest.py $(DIR) $(ARGS)

bench: $(VENV)/.bench build
	@$(BIN)/gort bench $(ARGS)

docs: $(VENV)/.nox
	@$(NOX) --session docs

lint: $(VENV)/.nox
	@$(NOX) --session lint

# A session keeps two thirds of a processor busy, for many tests wait. So four go side by side on two. Any failure
# fails the whole; the last lines are the summary of the main interpreter's compiled core.
test: $(VENV)/.nox
	@rm -f .nox/*.log
	@$(NOX) --tags test --parallel 4 -- $(TESTS) $(PYTEST_ARGS); status=$$?; tail -n 15 .nox/$(MAIN)-compiled.log; exit $$status

test-%: $(VENV)/.nox
	@$(NOX) --session $* -- $(or $(ARGS),$(TESTS) $(PYTEST_ARGS))

# All tests of a core are several sessions (noxfile.py says why). What knows nothing of cores runs on the compiled one.
test-compiled: SESSIONS := once compiled compiled-apart
test-pure: SESSIONS := pure pure-apart
test-compiled test-pure: $(VENV)/.nox
	@$(NOX) --session $(addprefix $(MAIN)-,$(SESSIONS)) -- $(or $(ARGS),$(TESTS) $(PYTEST_ARGS))

test-pythons: $(VENV)/.nox
	@$(NOX) --tags pythons --parallel 4 -- $(TESTS) $(PYTEST_ARGS)
	@scripts/test-forky.sh $(or $(ARGS),$(TESTS) $(PYTEST_ARGS))

test-aarch64:
	@scripts/test-aarch64.sh $(ARGS)

test-musl:
	@scripts/test-musl.sh $(ARGS)

test-tsan: freethreaded

freethreaded: $(VENV)/.nox
	@scripts/build-freethreaded.sh
	@$(NOX) --session freethreaded-env

clean:
	rm -rf build dist .nox .venv .venv-* src/*.egg-info src/gort/_build_* .mypy_cache .ruff_cache .pytest_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete
