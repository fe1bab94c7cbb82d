#!/usr/bin/env bash
# Runs the core's tests with the compiled core under tools that watch memory.
#
#   scripts/test-sanitized.sh asan     AddressSanitizer (gcc), any CPython
#   scripts/test-sanitized.sh debug    CPython's debug allocator and development mode; a debug build of CPython as well,
#                                      with its assertions and counts of references, where ${GORT_DEBUG_PYTHON} names one
#   scripts/test-sanitized.sh tsan     ThreadSanitizer, on the free-threaded CPython of build-freethreaded.sh --tsan
#
# What follows the first word is given to pytest in place of the core's tests. PYTHON names the interpreter, which needs
# pytest and Cython; for tsan that is a free-threaded 3.13, which builds, while the sanitized one runs.
#
# The instrumented core is built from a copy of the sources under build/, so that the extensions beside the sources, and
# what others run from them, stay as they are.
#
# Rejected: valgrind. It takes some fifty times as long, knows nothing of pymalloc's blocks without suppressions for each
# version of CPython, and finds nothing that AddressSanitizer with PYTHONMALLOC=malloc does not.
set -euo pipefail

cd "$(dirname "$0")/.."
mode=${1:-}
shift || true
python=${PYTHON:-python3}
tests=("$@")
core=(tests/test_chan.py tests/test_cancel.py tests/test_sync.py tests/test_group.py tests/test_timers.py
      tests/test_panic.py tests/test_wait.py tests/test_mn.py tests/test_context.py tests/test_bad_input.py
      tests/test_model.py tests/test_python.py tests/net/test_conn.py tests/memory)
[ ${#tests[@]} -gt 0 ] || tests=("${core[@]}")

say() { printf 'test-sanitized: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# instrument NAME CFLAGS LDFLAGS INTERPRETER: the instrumented core, in build/NAME, which becomes the current directory.
instrument() {
    folder=build/$1
    mkdir -p "$folder"
    cp -a -u src tests setup.py pyproject.toml README.md "$folder/"
    find "$folder/src" -name '*.so' -delete
    say "building the core for $1 in $folder"
    (cd "$folder" && GORT_PURE='' GORT_REQUIRE_COMPILED=1 GORT_CFLAGS="$2" GORT_LDFLAGS="$3" \
        "$4" setup.py --quiet build_ext --inplace) >"$folder.log" 2>&1 ||
        { tail -n 30 "$folder.log" >&2; die "the build failed: $folder.log"; }
    cd "$folder"
    export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} GORT_PURE='' PYTHONDONTWRITEBYTECODE=1
    export GORT_TEST_TIMEOUT=${GORT_TEST_TIMEOUT:-3600}
}

case $mode in
asan)
    runtime=$(gcc -print-file-name=libasan.so)
    [ -e "$runtime" ] || die "gcc has no libasan here: install its development package (Debian: build-essential)"
    instrument asan "-g -O1 -fno-omit-frame-pointer -fsanitize=address" "-fsanitize=address" "$python"
    # pymalloc hands out pieces of its own arenas: with malloc each object is watched. Leaks are tests/memory's affair,
    # and it is left out: CPython keeps a good deal until the end, and freed memory is kept back to find its users.
    tests=("${tests[@]/#tests\/memory/}")
    export PYTHONMALLOC=malloc ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
    LD_PRELOAD=$runtime exec "$python" -m pytest -q -p no:cacheprovider ${tests[@]}
    ;;
debug)
    say "development mode and debug allocator: $("$python" -V), the core as it is built beside the sources"
    PYTHONPATH=src GORT_PURE='' PYTHONMALLOC=debug "$python" -X dev -m pytest -q -p no:cacheprovider "${tests[@]}"
    if [ -n "${GORT_DEBUG_PYTHON:-}" ]; then
        say "a debug build: $("$GORT_DEBUG_PYTHON" -V)"
        packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH}
        instrument debug "-g -O1 -UNDEBUG" "" "$GORT_DEBUG_PYTHON"
        "$GORT_DEBUG_PYTHON" -X dev -m pytest -q -p no:cacheprovider "${tests[@]}"
    else
        say "no debug build of CPython: GORT_DEBUG_PYTHON names one of the same version (Debian: python3.11-dbg)"
    fi
    ;;
tsan)
    sanitized=${GORT_TSAN_PREFIX:-/opt/gort-python3.13t-tsan}
    [ -x "$sanitized/bin/python3.13t" ] || die "no $sanitized/bin/python3.13t: scripts/build-freethreaded.sh --tsan builds it"
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    known=$PWD/scripts/tsan-by-design.txt
    mkdir -p build
    cat "$sanitized/share/suppressions_free_threading.txt" "$known" >build/tsan-suppressions.txt
    export TSAN_OPTIONS="suppressions=$PWD/build/tsan-suppressions.txt history_size=7 ${TSAN_OPTIONS:-}"
    # An instrumented extension cannot be imported by the interpreter that builds it, nor need it be.
    instrument tsan "-g -O1 -fsanitize=thread" "-fsanitize=thread" "$python"
    export PYTHONPATH=$PWD/tsan-site:$PYTHONPATH:$packages
    # The symbols of what is loaded after the first report are not found, and so neither are the races that are meant.
    mkdir -p tsan-site
    printf 'import gort._runtime.poll.fd, gort._runtime.wait.select, gort._runtime.wait.timechan\n' >tsan-site/sitecustomize.py
    if [ "${tests[*]}" = "${core[*]}" ]; then
        tests=(tests/test_chan.py tests/test_cancel.py tests/test_sync.py tests/test_timers.py tests/stress/test_stress.py)
    fi
    # -s: reports go to stderr as they come. The shadow memory has fixed addresses, which random ones collide with.
    # -W: pytest warns that gort, which has a plugin for it, is imported already; the settings make an error of that.
    exec setarch "$(uname -m)" -R "$sanitized/bin/python3.13t" -m pytest -q -s -p no:cacheprovider \
        -W ignore::pytest.PytestAssertRewriteWarning "${tests[@]}"
    ;;
*)
    sed -n '4,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
