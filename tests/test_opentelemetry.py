"""Spans of OpenTelemetry follow goroutines: the real SDK keeps the current span in a contextvar, and a goroutine has a
copy of its creator's contextvars, on whichever thread it runs."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import gort
from support import parked


class Spans:
    """A tracer, and the spans that it has ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")

    def span(self, name: str) -> Any:
        return self.tracer.start_as_current_span(name)

    def parents(self) -> dict[str, str | None]:
        """The name of each span -> that of its parent."""
        ended = self.exporter.get_finished_spans()
        names = {self._id(each.context): each.name for each in ended}
        return {each.name: names[self._id(each.parent)] if each.parent else None for each in ended}

    @staticmethod
    def _id(context: Any) -> int:
        return int(context.span_id)

    def ended(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


@pytest.fixture
def spans() -> Spans:
    return Spans()


def test_a_span_is_the_parent_in_goroutines_that_are_started_in_it(spans: Spans, run: Any) -> None:
    async def leaf(name: str) -> None:
        with spans.span(name):
            await gort.gosched()

    def plain() -> None:
        with spans.span("plain"):
            pass

    async def member() -> None:
        with spans.span("member"):
            async with gort.Group() as group:
                group.go(leaf, "leaf")
            await gort.blocking(plain)

    async def main() -> None:
        async with gort.Group() as outside:
            with spans.span("request"):
                async with gort.Group() as group:
                    group.go(member)
                    group.go(plain_goroutine)
            outside.go(leaf, "later")

    def plain_goroutine() -> None:
        with spans.span("function"):
            pass

    run(main)
    assert spans.parents() == {
        "request": None,
        "member": "request",
        "function": "request",
        "leaf": "member",
        "plain": "member",
        "later": None,
    }
    assert len({each.context.trace_id for each in spans.ended() if each.context and each.name != "later"}) == 1


def test_goroutines_side_by_side_do_not_see_each_others_spans(spans: Spans, run: Any) -> None:
    """They take turns in the middle of their spans."""

    async def request(n: int, turn: gort.Chan[None], next: gort.Chan[None]) -> None:
        with spans.span(f"request {n}"):
            await turn.recv()
            with spans.span(f"query {n}"):
                await next.send(None)
                await turn.recv()
            if n != 3:
                await next.send(None)

    async def main() -> None:
        turns = [gort.Chan[None](1) for _ in range(4)]
        async with gort.Group() as group:
            for n in range(4):
                group.go(request, n, turns[n], turns[(n + 1) % 4])
            await parked(4, "chan receive")
            await turns[0].send(None)

    run(main)
    assert spans.parents() == {
        **{f"request {n}": None for n in range(4)},
        **{f"query {n}": f"request {n}" for n in range(4)},
    }


def test_a_span_goes_on_on_another_thread(spans: Spans) -> None:
    """A goroutine waits in its span, and is woken on another thread, because its own is blocked."""
    threads = []

    async def moves(wake: gort.Chan[None], over: threading.Event) -> None:
        with spans.span("moves"):
            threads.append(threading.get_ident())
            await wake.recv()
            threads.append(threading.get_ident())
            with spans.span("inside"):
                assert trace.get_current_span().is_recording()
            over.set()

    async def main() -> None:
        wake, over = gort.Chan[None](1), threading.Event()
        handle = gort.go(moves, wake, over)
        await parked(1, "chan receive")
        assert threads == [threading.get_ident()]
        await wake.send(None)
        over.wait()  # blocks this thread: another takes the P, and runs the goroutine
        del handle

    gort.run(main, procs=1)
    assert threads[0] != threads[1]
    assert spans.parents() == {"moves": None, "inside": "moves"}


def test_a_span_that_a_cancellation_ends_has_its_error(spans: Spans, run: Any) -> None:
    async def waits() -> None:
        with spans.span("waits"):
            await gort.Chan[None]().recv()

    async def main() -> None:
        with spans.span("request"):
            async with gort.Group() as group:
                group.go(waits)
                await parked(1, "chan receive")
                group.cancel()

    run(main)
    assert spans.parents() == {"request": None, "waits": "request"}
    [ended] = [each for each in spans.ended() if each.name == "waits"]
    assert ended.end_time is not None
