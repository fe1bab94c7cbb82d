#!/usr/bin/env bash
# The tests on Debian forky's CPython 3.14 and 3.15, both cores, in a folder outside the repository that holds that system.
#
#   scripts/test-forky.sh [ARGUMENTS OF PYTEST]     e.g. tests/test_chan.py; without arguments all tests
#   scripts/test-forky.sh --make                    only makes the folder
#
# The folder is ${GORT_FORKY:-/srv/forky}. debootstrap makes it if it holds no python3.15 (a few minutes, 700 MB), and it is
# kept, with an environment for each interpreter. It needs root, for chroot. GORT_FORKY_VERSIONS="3.15" names fewer
# interpreters, and GORT_FORKY_CORES=pure (or compiled) one core: on a busy machine, one run at a time.
#
# Rejected: to build these interpreters here, as build-freethreaded.sh does: half an hour for each, and they would not be what
# a distribution ships.
set -euo pipefail
cd "$(dirname "$0")/.."

root=${GORT_FORKY:-/srv/forky}
suite=forky
read -ra versions <<<"${GORT_FORKY_VERSIONS:-3.14 3.15}"
read -ra cores <<<"${GORT_FORKY_CORES:-compiled pure}"

say() { printf 'test-forky: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root, for debootstrap and chroot"
for core in "${cores[@]}"; do
    case $core in compiled | pure) ;; *) die "GORT_FORKY_CORES: $core is neither compiled nor pure" ;; esac
done

make_root() {
    command -v debootstrap >/dev/null || die "needs debootstrap (apt-get install debootstrap)"
    local mirror script packages
    # The mirror that this system uses for Debian itself (not its security archive, not third parties).
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sort -u | head -n 1)
    [ -n "$mirror" ] || die "found no Debian mirror among this system's apt sources; apt-get update first"
    # An older debootstrap does not know the suite by name. All of Debian's later suites have the same script.
    script=/usr/share/debootstrap/scripts/$suite
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
    packages=ca-certificates,gcc,libc6-dev,openssl,procps
    for version in "${versions[@]}"; do packages+=,python$version-dev,python$version-venv; done
    say "making $root"
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" "$script" >&2
}

for version in "${versions[@]}"; do
    [ -x "$root/usr/bin/python$version" ] && continue
    make_root
    break
done
# pip there asks whom pip here asks, and trusts whom it trusts. (`pip config get` reads one file of several, which may be the
# user's own, and no environment.)
cert=$(python3 -m pip config list 2>/dev/null | sed -n "s/^\(:env:\|global\)\.cert='\(.*\)'\$/\2/p" | head -n 1 || true)
for file in /etc/resolv.conf /etc/pip.conf "$cert"; do
    if [ -f "$file" ]; then install -D -m 644 "$file" "$root$file"; fi
done
[ "${1:-}" != --make ] || exit 0

# The files that git knows, as they are now: what a clean clone would have.
rm -rf "$root/srv/gort"
mkdir -p "$root/srv/gort"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract -C "$root/srv/gort"

# In a mount namespace of its own: /proc and /dev vanish with it, however this ends.
inside() {
    unshare --mount --propagation private bash -c '
        mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "$@"' bash "$root" \
        /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PIP_ROOT_USER_ACTION=ignore \
        PIP_DISABLE_PIP_VERSION_CHECK=1 ${cert:+PIP_CERT="$cert"} CI="${CI:-}" "$@"
}

# hypothesis is compiled, and not for every interpreter; there an older one will do.
built=()
failed=()
for version in "${versions[@]}"; do
    say "python$version: build"
    if inside bash -euo pipefail -c '
        cd /srv/gort
        [ -x "$2/bin/python" ] || "$1" -m venv "$2"
        "$2/bin/python" -m pip --quiet install "pip>=25.1"
        "$2/bin/python" -m pip --quiet install --only-binary hypothesis --group build --group test
        GORT_REQUIRE_COMPILED=1 "$2/bin/python" -m pip --quiet install --no-build-isolation --force-reinstall .
        ' bash "python$version" "/var/cache/gort/$version-env"; then built+=("$version"); else failed+=("$version: build"); fi
done

# src is on no path there: what is tested is what was installed. A run keeps two thirds of a processor busy, for many tests
# wait; so all go side by side (noxfile.py does the same). A log for each, for they end in any order.
logs=$(mktemp -d "${TMPDIR:-/tmp}/gort-forky.XXXXXX")
trap 'rm -rf "$logs"' EXIT
run_tests() { # VERSION, CORE, ARGUMENTS OF PYTEST
    local version=$1 core=$2 status=0 pure=
    shift 2
    [ "$core" = compiled ] || pure=1
    inside bash -c 'cd /srv/gort; export GORT_PURE="$1"; shift; exec "$@"' bash "$pure" \
        "/var/cache/gort/$version-env/bin/python" -m pytest -q -m "not lint and not once" "$@" \
        >"$logs/$version-$core" 2>&1 || status=$?
    say "python$version, $core: status $status"
    cat "$logs/$version-$core"
    return $status
}
declare -A running=()
for version in "${built[@]}"; do
    for core in "${cores[@]}"; do
        run_tests "$version" "$core" "${@:-tests}" &
        running["$version, $core"]=$!
    done
done
for name in "${!running[@]}"; do
    wait "${running[$name]}" || failed+=("$name")
done
[ ${#failed[@]} = 0 ] || die "failed: ${failed[*]/%/;}"
