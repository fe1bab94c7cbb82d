"""gort.context beyond what the fidelity programs compare with Go: what Python adds, misuse, no timers
left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import context
from support import until

Run = Callable[..., Any]


def test_cancel_reaches_every_descendant(run: Run) -> None:
    """A tree of a thousand contexts, cancelled at the root."""

    async def main() -> int:
        root, cancel = context.with_cancel(context.background())
        tree = [root]
        for i in range(999):
            child, _ = context.with_cancel(tree[i // 2])
            tree.append(child)
        woken: list[int] = []

        async def waiter(i: int) -> None:
            done = tree[i].done()
            assert done is not None
            await done.recv_ok()
            woken.append(i)

        async with gort.Group() as group:
            for i in range(1000):
                group.go(waiter, i)
            await gort.gosched()
            cancel()
        return len(woken)

    assert run(main) == 1000


def test_timeout_is_not_early(run: Run) -> None:
    async def main() -> float:
        start = time.monotonic()
        ctx, cancel = context.with_timeout(context.background(), 0.03)
        done = ctx.done()
        assert done is not None
        await done.recv_ok()
        cancel()
        return time.monotonic() - start

    assert run(main) >= 0.03


def test_cancel_in_time_leaves_no_timer(run: Run) -> None:
    """Ten thousand timeouts that did not happen do not keep the program from seeing its deadlock."""

    async def main() -> None:
        for _ in range(10_000):
            _, cancel = context.with_timeout(context.background(), 3600)
            cancel()
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Deadlock):
        run(main)


def test_error_types(run: Run) -> None:
    """What err() gives can be told apart without reading its text."""

    async def main() -> None:
        ctx, cancel = context.with_cancel(context.background())
        cancel()
        late, stop = context.with_timeout(context.background(), -1)
        assert isinstance(ctx.err(), BaseException)
        assert isinstance(late.err(), TimeoutError)
        assert not isinstance(ctx.err(), TimeoutError)
        stop()

    run(main)


def test_values_are_found_by_identity_or_equality_up_the_tree(run: Run) -> None:
    async def main() -> None:
        key = object()
        ctx = context.with_value(context.with_value(context.background(), key, 1), "other", 2)
        assert ctx.value(key) == 1
        assert ctx.value("other") == 2
        assert ctx.value(object()) is None

    run(main)


@pytest.mark.parametrize("parent", [None, 5])
def test_parent_must_be_a_context(run: Run, parent: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"(?i)context|parent"):
            context.with_cancel(parent)

    run(main)


def test_deadline_of_a_worker_pool(run: Run) -> None:
    """Workers stop at the deadline, wherever they are."""

    async def main() -> bool:
        ctx, cancel = context.with_timeout(context.background(), 0.05)
        done = ctx.done()
        assert done is not None
        work: gort.Chan[int] = gort.Chan()
        stopped: list[int] = []

        async def worker(i: int) -> None:
            while True:
                case, _, _ = await gort.select(done.recv(), work.recv())
                if case == 0:
                    stopped.append(i)
                    return

        async with gort.Group() as group:
            for i in range(5):
                group.go(worker, i)
            await until(lambda: len(stopped) == 5)
        cancel()
        return ctx.err() is not None

    assert run(main)
