#!/usr/bin/env bash
# The core's tests on aarch64, in emulation: qemu-user runs Debian's CPython of that architecture, and Debian's cross compiler
# makes the extensions.
#
#   scripts/test-aarch64.sh [ARGUMENTS OF PYTEST]   e.g. tests/test_chan.py; without arguments the tests of the core
#   scripts/test-aarch64.sh --make                  only makes the folder
#
# The folder is ${GORT_AARCH64:-/srv/gort-aarch64}. It holds that system, which debootstrap fetches if it is missing (a minute,
# 500 MB), and is kept. Needs Linux 6.7 and Debian's debootstrap, qemu-user-static, gcc-aarch64-linux-gnu and
# libc6-dev-arm64-cross. $PYTHON (python3) is the host's interpreter: it translates, and must be of the same minor version as
# Debian's ($GORT_AARCH64_SUITE, bookworm: 3.11).
#
# What it shows: that the core compiles for aarch64, and works there as far as one processor after the other goes. What it
# does not: qemu on x86-64 gives the guest's loads and stores the order of x86-64, which is stronger than aarch64's. A missing
# barrier shows on a real processor only; for that there is `make test-tsan`, which knows C's rules and not the machine's. And
# qemu has a thread of its own, which tests/test_deadlock_faults.py takes for a foreign one that may wake a goroutine.
#
# Rejected: to run Cython and gcc in emulation (ten times slower); to register qemu with the host's kernel (a user namespace
# has a binfmt_misc of its own, which vanishes with it).
set -euo pipefail
cd "$(dirname "$0")/.."

root=${GORT_AARCH64:-/srv/gort-aarch64}
suite=${GORT_AARCH64_SUITE:-bookworm}
python=${PYTHON:-python3}
core=(tests/test_{chan,select_any,bulk,sync,group,context,timers,mn,boot,cancel,wait,panic,never_stalled,threads,anywhere}.py
    tests/test_{stack_of_generators,scopes,memory_network}.py tests/net/test_conn.py)
# qemu does not hold a guest to its RLIMIT_AS.
core+=(--deselect tests/test_threads.py::test_a_real_limit)

say() { printf 'test-aarch64: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

for tool in debootstrap qemu-aarch64-static aarch64-linux-gnu-gcc; do
    command -v $tool >/dev/null || die "needs $tool: apt-get install debootstrap qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
done
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if [ ! -e "$root/made" ]; then
    [ "$(id -u)" = 0 ] || die "needs root, for debootstrap"
    # The mirror that this system uses for Debian itself (not its security archive, not third parties).
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sort -u | head -n 1)
    [ -n "$mirror" ] || die "found no Debian mirror among this system's apt sources; apt-get update first"
    say "making $root"
    # --foreign: only unpacked, for what packages run when they are configured is for aarch64. Python needs none of it.
    debootstrap --foreign --arch=arm64 --variant=minbase \
        --include="python$version,libpython$version-dev,openssl,procps" "$suite" "$root" "$mirror" >&2
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
    rm -f "$root"/var/cache/apt/archives/*.deb
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    touch "$root/made"
fi
[ -x "$root/usr/bin/python$version" ] || die "$root has no python$version: PYTHON names another, or remove the folder"
[ "${1:-}" != --make ] || exit 0

# The tests' own packages. pip fetches the wheels of another architecture as they are.
"$python" -m pip --quiet install --upgrade --target "$root/srv/tools" "Cython>=3.2" "setuptools>=77"
if [ ! -d "$root/srv/packages" ]; then
    mapfile -t needs < <("$python" -c 'import tomllib
p = tomllib.load(open("pyproject.toml", "rb"))
print("\n".join(p["dependency-groups"]["test"] + p["project"]["dependencies"]))')
    "$python" -m pip --quiet install --target "$root/srv/packages" --python-version "$version" --implementation cp \
        --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 --only-binary :all: "${needs[@]}"
fi

# The files that git knows, as they are now; of an earlier run only what has been translated.
mkdir -p "$root/srv/gort"
find "$root/srv/gort" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract -C "$root/srv/gort"

say "compiling for aarch64"
data=_sysconfigdata__aarch64-linux-gnu
install -D "$root/usr/lib/python$version/$data.py" "$root/srv/cross/$data.py"
(
    cd "$root/srv/gort"
    # sysconfig answers for the other architecture. Debian's pyconfig.h is below the architecture's own folder.
    export _PYTHON_SYSCONFIGDATA_NAME=$data _PYTHON_HOST_PLATFORM=linux-aarch64
    export PYTHONPATH="$root/srv/cross:$root/srv/tools" PYTHONDONTWRITEBYTECODE=1
    export CC="aarch64-linux-gnu-gcc -I$root/usr/include/python$version -I$root/usr/include"
    export LDSHARED="aarch64-linux-gnu-gcc -shared"
    GORT_PURE='' GORT_REQUIRE_COMPILED=1 "$python" setup.py --quiet build_ext --inplace
)

# In namespaces of its own: what is mounted and registered vanishes with them, however this ends.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
inside() {
    unshare --user --map-root-user --mount bash -euc '
        mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
        printf "%s" "$2" >/proc/sys/fs/binfmt_misc/register
        mount --rbind /proc "$1/proc"
        mount --rbind /dev "$1/dev"
        root=$1
        shift 2
        exec chroot "$root" "$@"' bash "$root" ":gort-aarch64:M::$magic:$mask:$(command -v qemu-aarch64-static):OCF" \
        /usr/bin/env -i HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH=/srv/gort/src:/srv/packages CI="${CI:-}" "$@"
}
inside "/usr/bin/python$version" -c 'import gort, platform
print("test-aarch64:", platform.machine(), platform.python_version(), "compiled" if gort.runtime.compiled else "UNCOMPILED")
assert platform.machine() == "aarch64" and gort.runtime.compiled'
[ $# != 0 ] || set -- "${core[@]}"
inside bash -c 'cd /srv/gort && exec "$@"' bash "/usr/bin/python$version" -m pytest -q -m "not lint and not once" "$@"
