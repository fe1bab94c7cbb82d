"""Makes the helpers beside the network tests importable, and certificates."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: Any) -> dict[str, Path]:
    """Self-signed certificates of two names."""
    from netkit import make_certificate

    folder = tmp_path_factory.mktemp("certs")
    return {name: make_certificate(folder, name) for name in ("localhost", "other.test")}
