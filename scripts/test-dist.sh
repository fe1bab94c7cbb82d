#!/usr/bin/env bash
# The sdist and the pure wheel, as a release has them, and the proof that they are whole.
#
#   scripts/test-dist.sh [FOLDER]     leaves both in the folder (default: none is left)
#
# From the sdist alone, in an environment with nothing of ours, pip builds a wheel with the compiled core, which runs. The pure
# wheel (py3-none-any) is what pip takes where no other fits. twine checks what PyPI would show.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
target=
if [ -n "${1:-}" ]; then mkdir -p "$1"; target=$(cd "$1" && pwd); fi
work=$(mktemp -d "${TMPDIR:-/tmp}/gort-dist.XXXXXX")
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH

"$python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip --quiet install build twine
# From a copy: nothing of a build in place gets into it.
mkdir "$work/tree"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract -C "$work/tree"
cd "$work/tree"
"$work/tools/bin/python" -m build --sdist --outdir "$work/dist" .
GORT_PURE=1 "$work/tools/bin/python" -m build --wheel --outdir "$work/dist" .
"$work/tools/bin/python" -m twine check --strict "$work"/dist/*
cd "$work"
compgen -G 'dist/gort-*-py3-none-any.whl' >/dev/null || { ls dist; echo "test-dist: the pure wheel has a platform's name" >&2; exit 1; }

program='import gort, sys
async def main():
    ch = gort.Chan(1)
    await ch.send("runs")
    print(await ch.recv(), gort.runtime.compiled)
gort.run(main)'
check() { # NAME, WHAT TO INSTALL, WHETHER COMPILED
    "$python" -m venv "$work/$1"
    GORT_REQUIRE_COMPILED=$([ "$3" = True ] && echo 1 || true) "$work/$1/bin/python" -m pip --quiet install "$2"
    got=$("$work/$1/bin/python" -c "$program")
    [ "$got" = "runs $3" ] || { echo "test-dist: $1: $got" >&2; exit 1; }
    echo "test-dist: $1: $got"
}
check from-sdist dist/gort-*.tar.gz True
check pure dist/gort-*-py3-none-any.whl False
if [ -n "$target" ]; then cp dist/* "$target"; fi
