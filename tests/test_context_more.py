"""gort.context: causes, after_func, parents of the user's own class, `with`, depth, and nothing left behind."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import gort
from gort import context
from support import until, wait_reasons

Run = Callable[..., Any]


class Own(context.Context):
    """A context of the user's own, around nothing: cancelled by hand."""

    def __init__(self) -> None:
        self.channel: gort.Chan[None] = gort.Chan()
        self.error: Exception | None = None

    def done(self) -> gort.Chan[None]:
        return self.channel

    def err(self) -> Exception | None:
        return self.error

    def cancel(self) -> None:
        self.error = context.Canceled()
        self.channel.close()


class Wrapped(context.Context):
    """A context of the user's own around one of ours."""

    def __init__(self, inner: context.Context) -> None:
        self.inner = inner

    def done(self) -> gort.Chan[None]:
        return self.inner.done()

    def err(self) -> Exception | None:
        return self.inner.err()

    def deadline(self) -> float | None:
        return self.inner.deadline()

    def value(self, key: object) -> Any:
        return "wrapped" if key == "who" else self.inner.value(key)


def test_the_first_cause_stays_and_goes_down_the_tree() -> None:
    """Outside of any runtime: cancelling needs none."""
    root, cancel = context.with_cancel_cause(context.background())
    child, cancel_child = context.with_cancel_cause(root)
    grandchild, _ = context.with_cancel(context.with_value(child, "k", 1))
    first, second = ValueError("first"), ValueError("second")
    assert context.cause(grandchild) is None
    cancel(first)
    cancel(second)
    cancel_child(second)
    for ctx in (root, child, grandchild):
        assert context.cause(ctx) is first
        assert isinstance(ctx.err(), context.Canceled)
        assert ctx.done().closed


def test_a_childs_cause_does_not_go_up() -> None:
    root, _ = context.with_cancel_cause(context.background())
    _, cancel_child = context.with_cancel_cause(root)
    cancel_child(ValueError("mine"))
    assert root.err() is None
    assert context.cause(root) is None
    assert not root.done().closed


def test_without_a_cause_it_is_the_error() -> None:
    ctx, cancel = context.with_cancel_cause(context.background())
    cancel()
    assert context.cause(ctx) is ctx.err()
    assert str(ctx.err()) == "context canceled"
    assert context.cause(context.background()) is None


def test_a_deadlines_cause(run: Run) -> None:
    why = RuntimeError("too slow")

    async def main() -> None:
        ctx, _ = context.with_timeout(context.background(), 0.001, cause=why)
        await ctx.done().recv_ok()
        assert isinstance(ctx.err(), context.DeadlineExceeded)
        assert context.cause(ctx) is why
        late, _ = context.with_timeout(context.background(), 0, cause=why)
        assert context.cause(late) is why
        early, cancel = context.with_timeout(context.background(), 3600, cause=why)
        cancel()
        assert isinstance(context.cause(early), context.Canceled)

    run(main)


def test_with_cancels_at_the_end() -> None:
    with context.with_cancel(context.background()) as ctx:
        assert ctx.err() is None
    assert isinstance(ctx.err(), context.Canceled)
    ctx2, cancel = context.with_cancel(context.background())
    with pytest.raises(ZeroDivisionError), cancel:
        raise ZeroDivisionError
    assert isinstance(ctx2.err(), context.Canceled)


def test_deadlines(run: Run) -> None:
    async def main() -> None:
        now = time.monotonic()
        ctx, cancel = context.with_deadline(context.background(), now + 100)
        assert ctx.deadline() == now + 100
        assert context.with_value(ctx, "k", 1).deadline() == now + 100
        shorter, cancel_shorter = context.with_timeout(ctx, 1)
        deadline = shorter.deadline()
        assert deadline is not None
        assert now + 1 <= deadline <= time.monotonic() + 1
        longer, cancel_longer = context.with_timeout(ctx, 1000)
        assert longer.deadline() == now + 100
        assert context.without_cancel(ctx).deadline() is None
        endless, cancel_endless = context.with_timeout(context.background(), math.inf)
        assert endless.deadline() is None
        wall, cancel_wall = context.with_deadline(ctx, datetime.now(UTC) + timedelta(seconds=10))
        deadline = wall.deadline()
        assert deadline is not None
        assert now + 9 <= deadline <= time.monotonic() + 11  # a second for what the system's clock is set by meanwhile
        past, _ = context.with_deadline(ctx, datetime.now() - timedelta(seconds=1))
        assert isinstance(past.err(), TimeoutError)
        for stop in (cancel, cancel_shorter, cancel_longer, cancel_endless, cancel_wall):
            stop()

    run(main)


def test_a_time_of_the_wrong_clock_is_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"time\.time\(\)"):
            context.with_deadline(context.background(), time.time() + 1)

    run(main)


def test_wrong_arguments() -> None:
    root = context.background()
    with pytest.raises(TypeError, match="duration"):
        context.with_timeout(root, "1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NaN"):
        context.with_timeout(root, math.nan)
    with pytest.raises(TypeError, match="key is None"):
        context.with_value(root, None, 1)
    with pytest.raises(TypeError, match="list"):
        context.with_value(root, [1], 1)
    _, cancel = context.with_cancel_cause(root)
    with pytest.raises(TypeError, match="exception"):
        cancel("because")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        context.after_func(root, 5)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"gort\.run"):
        context.with_timeout(root, 1)
    with pytest.raises(RuntimeError, match=r"gort\.run"):
        context.after_func(root, print)


def test_a_refused_timeout_leaves_its_parent() -> None:
    """Outside a runtime there are no timers: the half-made child is taken out again."""
    parent, cancel = context.with_cancel(context.background())
    with pytest.raises(RuntimeError):
        context.with_timeout(parent, 1)
    assert not parent._children  # type: ignore[attr-defined]
    cancel()


def test_after_func(run: Run) -> None:
    """fn starts once, in a goroutine, plain or async; stop() says whether it came first."""

    async def main() -> None:
        called: list[str] = []

        async def note(what: str) -> None:
            await gort.gosched()
            called.append(what)

        ctx, cancel = context.with_cancel(context.background())
        stop_a = context.after_func(ctx, note, "async")
        stop_b = context.after_func(ctx, called.append, "plain")
        stop_c = context.after_func(ctx, note, "stopped")
        assert stop_c()
        assert not stop_c()
        assert called == []
        cancel()
        await until(lambda: len(called) == 2)
        assert not stop_a()
        assert not stop_b()
        context.after_func(ctx, called.append, "late")
        await until(lambda: len(called) == 3)
        assert sorted(called) == ["async", "late", "plain"]
        never = context.after_func(context.background(), note, "never")
        assert never()

    run(main)


def test_cancel_from_a_thread(run: Run) -> None:
    """A thread outside the runtime cancels; goroutines wake and an after_func starts."""

    async def main() -> None:
        ctx, cancel = context.with_cancel(context.background())
        called: gort.Chan[int] = gort.Chan(1)
        context.after_func(ctx, called.try_send, 1)
        thread = threading.Thread(target=cancel)
        thread.start()
        await ctx.done().recv_ok()
        assert await called.recv() == 1
        thread.join()

    run(main)


def test_many_threads_cancel_at_once(run: Run) -> None:
    """One cause wins, and everything sees that one."""

    async def main() -> None:
        for _ in range(50):
            ctx, cancel = context.with_cancel_cause(context.background())
            children = [context.with_cancel(ctx).ctx for _ in range(5)]
            barrier = threading.Barrier(4)

            def race(cancel: context.CancelCauseFunc = cancel, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                cancel(ValueError())

            threads = [threading.Thread(target=race) for _ in range(4)]
            for t in threads:
                t.start()
            for child in children:
                await child.done().recv_ok()
                assert context.cause(child) is context.cause(ctx)
            for t in threads:
                t.join()

    run(main)


def test_parents_of_another_class(run: Run) -> None:
    async def main() -> None:
        own = Own()
        child, _ = context.with_cancel(own)
        own.cancel()
        await child.done().recv_ok()
        assert child.err() is own.err()
        late, _ = context.with_cancel(own)
        assert late.err() is own.err()

        inner, cancel = context.with_cancel_cause(context.with_value(context.background(), "k", 1))
        wrapped = Wrapped(inner)
        before = gort.runtime.num_goroutine()
        child, _ = context.with_cancel(wrapped)
        assert gort.runtime.num_goroutine() == before  # found through the wrapper: no goroutine watches
        assert (child.value("who"), child.value("k"), child.value("x")) == ("wrapped", 1, None)
        why = ValueError()
        cancel(why)
        assert context.cause(child) is why

    run(main)


def test_the_watcher_of_a_foreign_parent_ends_with_the_child(run: Run) -> None:
    async def main() -> None:
        before = gort.runtime.num_goroutine()
        _, cancel = context.with_cancel(Own())
        assert gort.runtime.num_goroutine() == before + 1
        cancel()
        await until(lambda: gort.runtime.num_goroutine() == before)

    run(main)


def test_a_foreign_parent_without_an_error_is_told() -> None:
    own = Own()
    own.channel.close()
    with pytest.raises(RuntimeError, match=r"err\(\) must be set first"):
        context.with_cancel(own)


def test_without_cancel() -> None:
    root, cancel = context.with_cancel_cause(context.with_value(context.background(), "k", 1))
    kept = context.without_cancel(root)
    child, cancel_child = context.with_cancel(kept)
    cancel(ValueError())
    assert kept.err() is None
    assert context.cause(kept) is None
    assert not kept.done().closed
    assert child.err() is None
    assert kept.value("k") == 1
    cancel_child()
    assert isinstance(child.err(), context.Canceled)


def test_ten_thousand_deep() -> None:
    """Values, deadlines, cancellation and names go through any number of contexts."""
    root, cancel = context.with_cancel(context.with_value(context.background(), "k", 1))
    ctx = root
    for i in range(5_000):
        ctx = context.with_value(context.with_cancel(ctx).ctx, i, i)
    assert ctx.value("k") == 1
    assert ctx.deadline() is None
    assert repr(ctx).startswith("context.background.with_value('k').with_cancel.")
    cancel()
    assert isinstance(ctx.err(), context.Canceled)
    assert ctx.done().closed


def test_nothing_is_left(run: Run) -> None:
    """Cancelled contexts are in no parent's table, have no timer, and are freed without the collector."""

    async def main() -> None:
        root, cancel_root = context.with_cancel(context.background())
        dropped = []
        gc.disable()
        try:
            for _ in range(100):
                with context.with_timeout(root, 3600) as ctx:
                    with context.with_cancel(context.with_value(ctx, "k", 1)) as child:
                        stop = context.after_func(child, print)
                        stop()
                    dropped += [weakref.ref(ctx), weakref.ref(child)]
            del ctx, child, stop
            assert not root._children  # type: ignore[attr-defined]
            assert [r for r in dropped if r() is not None] == []
        finally:
            gc.enable()
        cancel_root()

    run(main)


def test_expired_contexts_leave_their_parent(run: Run) -> None:
    async def main() -> None:
        root, cancel = context.with_cancel(context.background())
        ctx, _ = context.with_timeout(root, 0.001)
        await ctx.done().recv_ok()
        await until(lambda: not root._children)  # type: ignore[attr-defined]
        assert root.err() is None
        cancel()

    run(main)


def test_done_is_one_channel_and_err_comes_first() -> None:
    ctx, cancel = context.with_cancel(context.background())
    done = ctx.done()
    assert done is ctx.done()
    assert context.with_value(ctx, "k", 1).done() is done
    cancel()
    assert ctx.done() is done
    assert ctx.err() is ctx.err()
    assert not context.background().done().closed
    assert context.background() is context.background()
    assert repr(context.todo()) == "context.todo"


# ---- done() is receive-only, as Go's <-chan struct{} ------------------------------------------------------------------


@pytest.mark.parametrize("which", ["never", "open", "cancelled before it was asked for", "cancelled"])
def test_the_channel_of_a_context_is_receive_only(run: Run, which: str) -> None:
    async def main() -> None:
        ctx, cancel = context.with_cancel(context.background())
        if which == "never":
            ctx = context.background()  # type: ignore[assignment]
        if which == "cancelled before it was asked for":
            cancel()
        ch = ctx.done()
        if which == "cancelled":
            cancel()
        for attempt in (
            lambda: ch.try_send(None),
            ch.close,
            lambda: ch.send_many([None]),
            lambda: gort.select(ch.send(None)),
            lambda: gort.select(ch.send(None), gort.sleep(1)),
        ):
            with pytest.raises(
                TypeError, match=r"the channel of a context: it is receive-only; .* cancels the context"
            ):
                await attempt()  # type: ignore[misc]
        with pytest.raises(TypeError, match="cannot send to the channel of a context"):
            await ch.send(None)
        assert ctx.done() is ch
        assert ch.closed is which.startswith("cancelled")
        assert ch.try_recv() == (None, False)

    run(main)


def test_the_channel_of_a_context_is_received_from_in_every_way(run: Run) -> None:
    async def waits(how: str, ctx: context.Context) -> Any:
        done = ctx.done()
        if how == "recv_ok":
            return await done.recv_ok()
        if how == "for":
            return [x async for x in done]
        if how == "recv_many":
            return await done.recv_many(3)
        if how == "select":
            return await gort.select(done.recv(), gort.Chan[None]().recv())
        if how == "timer":
            return await gort.select(done.recv(), gort.after(3600).recv())
        if how == "thread":
            return await gort.blocking(gort.wait, done.recv_ok())
        return await gort.select(done=done.recv(), never=gort.sleep(3600))

    ways = ["recv_ok", "for", "recv_many", "select", "timer", "thread", "named"]

    async def main() -> list[Any]:
        ctx, cancel = context.with_cancel(context.background())
        async with gort.Group() as group:
            hs = [group.go(waits, how, ctx) for how in ways]
            # The dump of the one in the thread does not say that it waits.
            await until(lambda: sum(wait_reasons().values()) - wait_reasons()["running"] >= len(ways))
            cancel()
        return [h.result() for h in hs]

    assert run(main) == [
        (None, False),
        [],
        [],
        (0, None, False),
        (0, None, False),
        (None, False),
        ("done", None, False),
    ]


def test_a_context_that_nobody_cancels_is_a_deadlock(run: Run) -> None:
    """What its channel has in place of a timer never fires."""

    async def main() -> None:
        ctx, cancel = context.with_cancel(context.background())
        try:
            await ctx.done().recv_ok()
        finally:
            cancel()

    with pytest.raises(gort.Deadlock):
        run(main)
