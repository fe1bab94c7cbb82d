"""The loops on which a test of what asyncio has, too, runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import gort.aio


@pytest.fixture(params=[asyncio.SelectorEventLoop, gort.aio.Loop], ids=["asyncio", "gort"])
def loop_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def on_loop(loop_class: Any) -> Callable[..., Any]:
    def on_loop(main: Coroutine[Any, Any, Any], debug: bool = False) -> Any:
        with asyncio.Runner(loop_factory=loop_class, debug=debug) as runner:
            return runner.run(main)

    return on_loop
