"""What only Dask can show of gort.cluster: `python scripts/cluster_engines.py dask` runs it, beside the tests that are
the same for all engines."""

from __future__ import annotations

import dask
import pytest

import gort
from gort import cluster


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In the place of conftest's: Dask keeps descriptors and threads of its own."""


def test_workers_in_this_process_are_refused() -> None:
    """The end of a node would be the end of this process."""

    async def main() -> None:
        with pytest.raises(ValueError, match="processes=False"):
            async with cluster.connect("dask", nodes=1, processes=False):
                raise AssertionError("it came up")

    with dask.config.set({"scheduler-address": None}):
        gort.run(main)
