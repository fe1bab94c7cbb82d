"""What gort.cluster writes, and how little it does for a call: frames, functions that go by name, results.

No processes here: a Peer that starts goroutines on itself, or the functions of wire.py alone.
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

import clusterkit as kit
import gort
from gort._runtime.core import runtime2
from gort.cluster import wire
from gort.cluster.call import running_key
from gort.cluster.client import Cluster
from gort.cluster.link import Link, Outbox
from gort.cluster.peer import Peer
from support import until
from test_cluster_faults import alone

wire.use("cloudpickle")


# ---- frames -----------------------------------------------------------------------------------------------------------


class Pieces:
    """A connection that brings bytes in pieces of `size`."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size

    async def read(self, n: int) -> bytes:
        part, self.data = self.data[: min(n, self.size)], self.data[min(n, self.size) :]
        return part

    async def readinto(self, view: memoryview) -> int:
        part = await self.read(len(view))
        view[: len(part)] = part
        return len(part)


async def batches(conn: Any) -> list[Any]:
    """As Link._read."""
    out: list[Any] = []
    while data := await conn.read(wire.READ_SIZE):
        at = 0
        while at < len(data):
            batch, at = wire.whole(data, at)
            if batch is None:
                batch, data, at = await wire.rest(conn, data, at, lambda: None)
            out.append(batch)
    return out


def written(batch: list[Any]) -> bytes:
    encoded = wire.encode(batch)
    return encoded if isinstance(encoded, bytes) else b"".join(bytes(part) for part in encoded)


SMALL: list[Any] = [("go", 1, ("m", "f", (1, "x"))), ("beat",)]
LARGE: list[Any] = [("done", 2, True, wire.Sealed(bytes(range(256)) * 300)), ("done", 3, True, "y" * wire.SMALL_FRAME)]


def opened(batch: list[Any]) -> list[Any]:
    """The same batch, with what is sealed as bytes."""
    return [tuple(bytes(x.data) if type(x) is wire.Sealed else x for x in message) for message in batch]


@pytest.mark.once
@pytest.mark.parametrize("size", [1, 11, 12, 13, 100, 4096, 1 << 20])
def test_frames_come_in_pieces_of_any_size(size: int) -> None:
    sent = [SMALL, LARGE, SMALL, SMALL] if size > 1 else [SMALL, SMALL]
    data = b"".join(map(written, sent))

    async def main() -> None:
        got = await batches(Pieces(data, size))
        assert [opened(batch) for batch in got] == [opened(batch) for batch in sent]

    gort.run(main)


@pytest.mark.once
@pytest.mark.parametrize("cut", [1, 12, 20, -1])
def test_a_connection_that_ends_within_a_frame_is_broken(cut: int) -> None:
    async def main() -> None:
        with pytest.raises(EOFError):
            await batches(
                Pieces((written(SMALL) + written(LARGE))[: len(written(SMALL)) + cut if cut > 0 else cut], 64)
            )

    gort.run(main)


@pytest.mark.once
def test_a_small_frame_is_one_write() -> None:
    assert type(wire.encode(SMALL)) is bytes
    assert len(wire.encode(LARGE)) == 3  # head, pickle, and what lies behind it


def test_what_is_posted_while_the_writer_ends_its_round_is_written() -> None:
    """Between its last look and its saying so, another thread posts, and does not wake it."""
    posted: list[Any] = []

    class Late(Outbox):
        """Posts when the writer says that it has ended its round."""

        kicked = False

        @property  # type: ignore[override]
        def _kicked(self) -> bool:
            return self.kicked

        @_kicked.setter
        def _kicked(self, value: bool) -> None:
            if not value and len(posted) == 1:
                posted.append(("late",))
                self.post(("late",))  # it sees that the writer has been told
            self.kicked = value

    link = Late(Peer("s", b"", "n0", 6.0, ()), "n1")
    posted.append(("first",))
    link.post(("first",))
    assert link._batch() == [("first",)]
    assert link._batch() == [("late",)]
    assert link._batch() is None
    assert link.quiet()


def test_a_reader_passes_on_what_its_frame_has_led_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what a channel's home has to say to its own process wakes no goroutine, and comes in order."""
    got: list[Any] = []

    def takes(peer: Peer, link: Any, message: Any) -> None:
        got.append(message[1])
        if message[1] == 1:
            peer.loop.post(("takes", 3))  # goes behind what is there

    monkeypatch.setitem(Peer.verbs, "takes", takes)

    async def body(peer: Peer, c: Cluster) -> None:
        loop = peer.loop
        await until(loop.quiet)
        assert loop.hold()
        assert not loop.hold()
        for i in (1, 2):
            loop.post(("takes", i))
        assert len(loop._kick) == 0
        assert not loop.quiet()
        assert got == []
        loop.release()
        assert got == [1, 2, 3]
        assert loop.quiet()
        loop.post(("takes", 4))  # by somebody else: the goroutine does it
        assert not loop.hold()
        await until(lambda: got == [1, 2, 3, 4])
        await until(loop.quiet)

    alone(body, procs=1)  # with more, another thread may have passed 4 on before the look


def test_an_error_in_what_a_process_tells_itself_is_no_fault_of_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the program, as in the goroutine whose work the link's reader does."""

    def fails(peer: Peer, link: Any, message: Any) -> None:
        raise MemoryError

    monkeypatch.setitem(Peer.verbs, "fails", fails)

    async def body(peer: Peer, c: Cluster) -> None:
        assert peer.loop.hold()
        peer.loop.post(("fails",))
        peer.loop.release()
        await gort.Chan[None]().recv()

    with pytest.raises(gort.Panic) as panic:
        alone(body)
    assert type(panic.value.__cause__) is MemoryError


# ---- functions that go by name ----------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_function_with_small_arguments_goes_by_name() -> None:
    sealed = wire.seal_call(kit.add, (1, 2), {}, {})
    assert sealed == (kit.__name__, "add", (1, 2))
    assert wire.here(sealed) is kit.add
    assert wire.unseal_call(sealed) == (kit.add, (1, 2), {}, {})


@pytest.mark.once
@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "context"),
    [
        (kit.add, ([],), {}, {}),  # could change
        (kit.add, (1,), {"b": 2}, {}),
        (kit.add, (1, 2), {}, {"clusterkit:WHO": "me"}),
        (lambda: None, (), {}, {}),
        (len, ("abc",), {}, {}),
    ],
)
def test_all_else_goes_as_a_value(fn: Any, args: Any, kwargs: Any, context: Any) -> None:
    sealed = wire.seal_call(fn, args, kwargs, context)
    assert type(sealed) is bytes
    assert wire.here(sealed) is None
    assert wire.unseal_call(sealed)[1:] == (args, kwargs, context)


@pytest.mark.once
def test_a_function_that_its_module_does_not_have_under_its_name_goes_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a decorator has wrapped, one of __main__, and one of a module that is to go by value."""
    add = kit.add
    with monkeypatch.context() as patch:
        patch.setattr(kit, "add", kit.slow_double)
        assert type(wire.seal_call(add, (1,), {}, {})) is bytes
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "add", add, raising=False)
        patch.setattr(add, "__module__", "__main__")
        assert type(wire.seal_call(add, (1,), {}, {})) is bytes
    cloudpickle.register_pickle_by_value(kit)
    try:
        assert type(wire.seal_call(add, (1,), {}, {})) is bytes
    finally:
        cloudpickle.unregister_pickle_by_value(kit)


@pytest.mark.once
def test_a_module_that_another_goroutine_imports_now_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function may be there already, and not what it uses: only the import, which waits, may give it out."""
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("half_imported", None))  # type: ignore[arg-type]
    module.f = kit.add  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "half_imported", module)
    sealed = ("half_imported", "f", ())
    assert wire.here(sealed) is kit.add
    module.__spec__._initializing = True  # type: ignore[union-attr]
    assert wire.here(sealed) is None


@pytest.mark.once
def test_who_looks_for_a_function_runs_nothing_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(ModuleType):
        """A module that imports itself at the first look."""

        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("code of the user's")

    monkeypatch.setitem(sys.modules, "lazy_module", Lazy("lazy_module"))
    assert wire.here(("lazy_module", "f", ())) is None
    assert wire.here(("a_module_that_is_not_there", "f", ())) is None
    assert wire.here((kit.__name__, "plain", (1,))) is None  # not an async one: it runs in the goroutine


# ---- results ----------------------------------------------------------------------------------------------------------


class Where:
    """Says, when it is pickled, whether a goroutine pickles it."""

    pickled: list[bool] = []

    def __reduce__(self) -> Any:
        Where.pickled.append(runtime2.current_m().curg is not None)
        return Where, ()


async def gives(what: str) -> Any:
    if what == "error":
        raise LookupError(Where())
    if what == "lambda":
        return lambda: what
    if what == "exit":
        gort.runtime.goexit()
    if what == "wait":
        await gort.sleep(600)
    return {"int": 1, "text": "x", "list": [1], "where": Where(), "socket": sys.stderr}[what]


def test_results_of_every_kind() -> None:
    """What a user's class does when it is pickled is done by a goroutine, and not by the scheduler."""

    async def body(peer: Peer, c: Cluster) -> None:
        async def of(what: str) -> Any:
            return await c.go(gives, what, on="driver")

        assert [await of("int"), await of("text"), await of("list")] == [1, "x", [1]]
        assert type(await of("where")) is Where
        assert (await of("lambda"))() == "lambda"
        with pytest.raises(LookupError) as caught:
            await of("error")
        assert "in gives" in str(caught.value.__cause__)
        with pytest.raises((TypeError, pickle.PicklingError)):
            await of("socket")
        with pytest.raises(gort.cluster.RemoteError, match="goexit"):
            await of("exit")
        h = c.go(gives, "wait", on="driver")
        await gort.gosched()
        h.cancel()
        with pytest.raises(gort.Cancelled):
            await h
        with pytest.raises(TypeError, match="argument"):
            await c.go(gives, on="driver")
        assert Where.pickled
        assert all(Where.pickled)
        await until(lambda: not peer.running)  # what has told its result is taken out after that

    Where.pickled.clear()
    alone(body)


def test_who_begins_to_wait_while_it_ends_is_woken() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        h = c.go(gives, "int", on="driver")
        assert h._ended is None  # made for the first who waits

        class Guard:
            """A lock under which another thread tells the end: between the look at it and the wait for it."""

            def __enter__(self) -> None:
                peer.calls.pop(h.number)
                h.over(True, 7)

            def __exit__(self, *_: object) -> None:
                pass

        peer.waiting = Guard()  # type: ignore[assignment]
        async with gort.timeout(10):
            assert await h == 7
        assert h.end() is h._ended
        index, value, ok = await gort.select(h)
        assert (index, value, ok) == (0, 7, True)

    alone(body)


def test_a_channel_is_one_object_however_often_it_comes() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        ch = c.Chan(4)
        assert pickle.loads(pickle.dumps(ch)) is ch
        assert not hasattr(ch, "__dict__")

    alone(body)


def test_goroutines_of_two_callers_with_the_same_number() -> None:
    """Each caller numbers its own.  There may be a million of them, so what each takes is small."""

    async def body(peer: Peer, c: Cluster) -> None:
        first, second = Link(peer, "n1"), Link(peer, "n2")
        for link in (first, second):
            Peer.verbs["go"](peer, link, ("go", 7, wire.seal_call(gives, ("wait",), {}, {})))
        mine, other = (peer.running[running_key(link, 7)] for link in (first, second))
        assert not hasattr(mine, "__dict__")
        assert mine.number == other.number == 7
        await gort.gosched()
        Peer.verbs["cancel"](peer, first, ("cancel", 7))
        await until(lambda: len(peer.running) == 1)
        assert first._out.pop() == ("done", 7, False, ("cancelled",))
        assert not second._out
        second.end("its process ended")  # cancels what it has started
        await until(lambda: not peer.running)

    alone(body)


class Meta(type):
    """Its classes are compared and hashed by code of the user's."""

    ran: list[str]

    def __eq__(cls, other: object) -> bool:
        Meta.ran.append("__eq__")
        return cls is other

    def __hash__(cls) -> int:
        Meta.ran.append("__hash__")
        return id(cls)


class OfMeta(metaclass=Meta):
    pass


def test_whether_a_value_is_plain_runs_nothing_of_the_users() -> None:
    """The scheduler asks, on whose stack that must not run (Running.finished)."""
    Meta.ran = []
    assert not wire.plain(OfMeta())
    assert not wire.plain((1, OfMeta()))
    assert Meta.ran == []
    for value in (1, 1.5, True, None, 1j, "a", (1, "a", None, 1j, 2.5, False), ()):
        assert wire.plain(value)
    for value in (b"a", [1], "a" * 2000, (1, "a" * 2000), (1,) * 9, (1, (2,))):
        assert not wire.plain(value)
