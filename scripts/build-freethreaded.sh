#!/usr/bin/env bash
# Builds a free-threaded CPython 3.13 (python3.13t) from Debian's source package.
#
#   scripts/build-freethreaded.sh            into ${GORT_FT_PREFIX:-/opt/gort-python3.13t}
#   scripts/build-freethreaded.sh --check    only says whether a working one is there (exit status)
#   scripts/build-freethreaded.sh --tsan     one under ThreadSanitizer, into ${GORT_TSAN_PREFIX:-/opt/gort-python3.13t-tsan},
#                                            for scripts/test-tsan.sh; several times slower, for that alone
#
# Debian's own mirror is asked, by the address that this system's apt already uses, for the
# `trixie` suite's source package. That suite lives in an apt configuration of its own under the
# work directory, so the system's list of sources and its package lists stay as they are.
# A prefix that already holds a working python3.13t is left alone, so the script is cheap to call
# again. Set GORT_FT_REBUILD=1 to build all the same, GORT_FT_JOBS to use more or fewer jobs.
#
# Rejected: --enable-optimizations (profile-guided). It triples the build time, and what is
# compared on this interpreter is one program beside another on the same interpreter.
set -euo pipefail

prefix=${GORT_FT_PREFIX:-/opt/gort-python3.13t}
options=(CFLAGS=-O3)
run=()
if [ "${1:-}" = --tsan ]; then
    shift
    prefix=${GORT_TSAN_PREFIX:-/opt/gort-python3.13t-tsan}
    # PyMalloc's and mimalloc's blocks are not told apart by the sanitizer in any case: CPython switches them off itself.
    options=(--with-thread-sanitizer CFLAGS="-O2 -g1")
    # The sanitizer's shadow memory has fixed addresses, which random ones collide with.
    run=(setarch "$(uname -m)" -R)
    export TSAN_OPTIONS="report_bugs=0 ${TSAN_OPTIONS:-}"
fi
jobs=${GORT_FT_JOBS:-$(nproc 2>/dev/null || echo 2)}
suite=${GORT_FT_SUITE:-trixie}
python=$prefix/bin/python3.13t

say() { printf 'build-freethreaded: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

works() {
    [ -x "$python" ] && "${run[@]}" "$python" - <<'PY' >/dev/null 2>&1
import bz2, ctypes, lzma, sqlite3, ssl, sys, zlib
sys.exit(1 if sys._is_gil_enabled() else 0)
PY
}

if [ "${1:-}" = --check ]; then
    works || exit 1
    exit 0
fi
if [ "${GORT_FT_REBUILD:-0}" != 1 ] && works; then
    say "$python is there and works"
    exit 0
fi

command -v apt-get >/dev/null || die "needs apt-get (Debian or a relative); build CPython 3.13 with --disable-gil yourself and set GORT_FT_PREFIX to its prefix"
sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "needs root or sudo to install build dependencies"
    sudo=sudo
fi

# Build dependencies that are missing (headers of the modules that `works` imports).
need=()
for package in build-essential pkg-config dpkg-dev libssl-dev libffi-dev zlib1g-dev libsqlite3-dev \
               libbz2-dev liblzma-dev libreadline-dev; do
    dpkg -s "$package" >/dev/null 2>&1 || need+=("$package")
done
if [ ${#need[@]} -gt 0 ]; then
    say "installing ${need[*]}"
    $sudo apt-get -qq update >&2
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq -y --no-install-recommends install "${need[@]}" >&2
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/gort-ft.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# The mirror that this system uses for Debian itself (not its security archive, not third parties).
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sort -u | head -n 1)
if [ -z "$mirror" ]; then
    # No package lists yet: the same line is in the list of sources.
    mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>/dev/null |
             sed -nE 's/^[[:space:]]*(URIs:|deb(-src)?)[[:space:]]+(\[[^]]*\][[:space:]]*)?([a-z]+:\/\/[^[:space:]]*\/debian\/?)([[:space:]].*)?$/\4/p' |
             head -n 1)
fi
[ -n "$mirror" ] || die "found no Debian mirror among this system's apt sources"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keyring" ] || die "needs $keyring (package debian-archive-keyring) to verify the source package"

mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/src"
printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "${mirror%/}" "$suite" >"$work/apt/sources.list"
apt_options=(
    -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=-
    -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache"
    -o APT::Sandbox::User=root
)
say "fetching the source of python3.13 ($suite)"
apt-get "${apt_options[@]}" -qq update >&2
# Upstream's sources, without Debian's patches: those serve Debian's own layout (dist-packages, no ensurepip),
# which leaves a venv of an interpreter outside /usr without the packages that it installs.
{
    cd "$work/src" &&
    apt-get "${apt_options[@]}" -qq source --download-only --only-source python3.13 &&
    dpkg-source --skip-patches --extract ./*.dsc "$work/src/python3.13"
} >"$work/source.log" 2>&1 || { tail -n 30 "$work/source.log" >&2; die "apt-get source python3.13 failed"; }
tree=$work/src/python3.13
[ -x "$tree/configure" ] || die "the source package did not unpack"

say "building python3.13 with $jobs jobs into $prefix (about ten minutes on two cores)"
cd "$tree"
log=$work/build.log
{
    "${run[@]}" ./configure --prefix="$prefix" --disable-gil --disable-test-modules --with-ensurepip=no "${options[@]}" &&
    "${run[@]}" make -j"$jobs" &&
    $sudo "${run[@]}" make install
} >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "the build failed"; }

if [ ${#run[@]} -gt 0 ]; then
    # What CPython knows of its own races: test-tsan.sh leaves those out.
    $sudo mkdir -p "$prefix/share"
    $sudo cp "$tree/Tools/tsan/suppressions_free_threading.txt" "$prefix/share/"
fi
works || die "$python was built but does not work without the GIL"
"${run[@]}" "$python" -m venv "$work/venv" && "${run[@]}" "$work/venv/bin/pip" --version >/dev/null || die "$python cannot make a venv with pip"
say "$("$python" -VV) in $prefix"
