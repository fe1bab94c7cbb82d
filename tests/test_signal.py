"""gort.signal: what arrives, where, and that every signal does afterwards what it did before.

Signals are sent to this very process. Where one would end it, or where Ctrl-C is what is looked at, a process of its own
runs the program.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import select
import signal as system
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gort
from gort import context, signal
from gort._runtime.watch import signals, sigqueue, sigwake
from support import PATIENCE_S, command, environment, parked, python, settles, until

Run = Callable[..., Any]
CAUGHT = (system.SIGINT, system.SIGQUIT, system.SIGTERM, system.SIGUSR1, system.SIGUSR2, system.SIGURG)


def hit(sig: int) -> None:
    os.kill(os.getpid(), sig)


def run_in_main_thread(main: Callable[[], Any]) -> Any:
    """gort.run whose main goroutine stays in the main thread."""

    async def stays() -> Any:
        gort.runtime.lock_os_thread()
        assert threading.current_thread() is threading.main_thread()
        return await main()

    return gort.run(stays, procs=1)


def wakeup_fd() -> int:
    fd = system.set_wakeup_fd(-1)
    system.set_wakeup_fd(fd)
    return fd


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Handlers, the wakeup descriptor and gort.signal's own tables are after each test what they were before."""
    handlers = {sig: system.getsignal(sig) for sig in system.valid_signals()}
    fd = wakeup_fd()
    yield
    assert {sig: system.getsignal(sig) for sig in system.valid_signals()} == handlers
    assert wakeup_fd() == fd
    assert (signal._targets, signal._stopping, signal._ignored, signal._users) == ({}, [], {}, set())
    assert (signals.before, sigqueue.wanted, sigqueue._queue) == ({}, set(), None)


# --- arriving ------------------------------------------------------------------------------------


def test_arrives_in_main_and_elsewhere(run: Run) -> None:
    """As signal.Signals, wherever the goroutine runs that asked for it."""

    async def waits(sig: int, ready: gort.Chan[None], out: gort.Chan[Any]) -> None:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, sig)
        await ready.send(None)
        await out.send(await ch.recv())
        signal.stop(ch)

    async def main() -> list[Any]:
        ready: gort.Chan[None] = gort.Chan()
        out: gort.Chan[Any] = gort.Chan(4)
        for sig in (system.SIGUSR1, system.SIGUSR1, system.SIGUSR2, system.SIGTERM):
            gort.go(waits, sig, ready, out)
        for _ in range(4):
            await ready.recv()
        for sig in (system.SIGUSR1, system.SIGUSR2, system.SIGTERM):
            hit(sig)
        return [await out.recv() for _ in range(4)]

    got = run(main)
    assert sorted(got) == [10, 10, 12, 15]
    assert all(isinstance(sig, signal.Signals) for sig in got)


def test_arrives_while_main_computes(run: Run) -> None:
    """Nobody awaits anything: the channel is told nevertheless, and so is a goroutine that waits for it."""

    async def main() -> bool:
        got: list[Any] = []
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGUSR1)

        async def receiver() -> None:
            got.append(await ch.recv())

        gort.go(receiver)
        await parked(1, "chan receive")
        hit(system.SIGUSR1)
        end = time.monotonic() + PATIENCE_S
        while not got and time.monotonic() < end:
            pass
        return bool(got)

    assert run(main)


class Lock:
    """A lock of the C library: no signal interrupts a thread that waits for it, and its thread has let go of the GIL."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None)
        self.lock = ctypes.create_string_buffer(256)  # zeros are PTHREAD_MUTEX_INITIALIZER; its size is at most 64
        self.acquire()

    def acquire(self) -> None:
        assert self.libc.pthread_mutex_lock(self.lock) == 0

    def release(self) -> None:
        assert self.libc.pthread_mutex_unlock(self.lock) == 0


def sleeps(thread_id: int) -> bool:
    """Whether the kernel has this thread wait for something."""
    state = Path(f"/proc/self/task/{thread_id}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S"


def test_arrives_while_the_main_thread_is_in_a_call(run: Run) -> None:
    """A call that no signal interrupts, in the thread where Python runs its handlers.  It ends when the signal has
    arrived."""
    events: list[str] = []

    def holds(lock: gort.Chan[Lock], main_thread: int) -> None:
        mine = Lock()
        lock.try_send(mine)
        while not sleeps(main_thread):
            time.sleep(0.001)
        hit(system.SIGUSR1)
        end = time.monotonic() + PATIENCE_S
        while "signal" not in events and time.monotonic() < end:
            time.sleep(0.001)
        mine.release()

    async def main() -> None:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGUSR1)

        async def receiver() -> None:
            await ch.recv()
            events.append("signal")

        gort.go(receiver)
        await parked(1, "chan receive")
        if threading.current_thread() is threading.main_thread():
            lock: gort.Chan[Lock] = gort.Chan(1)
            holder = threading.Thread(target=holds, args=(lock, threading.get_native_id()))
            holder.start()
            while not len(lock):
                time.sleep(0)  # no await: main stays in this thread
            held, _ = lock.try_recv()
            held.acquire()
            events.append("call")
            held.release()
            holder.join()
        else:
            hit(system.SIGUSR1)
        await until(lambda: "signal" in events)

    run(main)
    assert events in (["signal", "call"], ["signal"])


def test_arrives_while_every_p_is_blocked() -> None:
    """More goroutines sit in calls than there are Ps."""
    release = threading.Event()

    async def blocks() -> None:
        release.wait(PATIENCE_S)

    async def main() -> Any:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGUSR1)
        async with gort.Group() as group:
            for _ in range(3):
                group.go(blocks)
            await gort.gosched()
            hit(system.SIGUSR1)
            sig = await ch.recv()
            release.set()
        return sig

    assert gort.run(main, procs=1) == system.SIGUSR1


def test_a_signal_to_another_thread(run: Run) -> None:
    """raise_signal hits the calling thread, and the main thread sleeps on."""

    async def main() -> Any:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGUSR1)
        thread = threading.Thread(target=system.raise_signal, args=[system.SIGUSR1])
        thread.start()
        sig = await ch.recv()
        thread.join()
        return sig

    assert run(main) == system.SIGUSR1


def test_without_signals_all_that_can_be_caught(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch)
        wanted = sigqueue.wanted - {system.SIGALRM}  # the test's own time limit
        for sig in wanted:
            hit(sig)  # one at a time: the system drops a SIGCONT for a SIGTSTP that comes after it
            assert await ch.recv() == sig
        assert {system.SIGINT, system.SIGHUP, system.SIGCHLD, system.SIGTSTP, system.SIGRTMAX} <= wanted
        assert not {system.SIGKILL, system.SIGSTOP, system.SIGSEGV, system.SIGURG} & wanted

    run(main)


def test_many_signals_that_are_due_together() -> None:
    """Each handler interrupted the one before, on the small stack that faulthandler makes: a segmentation fault."""
    text = """
        import faulthandler, threading, signal as system

        import gort
        from gort import signal

        async def main():
            numbers = range(system.SIGRTMIN, system.SIGRTMAX + 1)
            ch = gort.Chan(len(numbers))
            signal.notify(ch, *numbers)
            system.pthread_sigmask(system.SIG_BLOCK, numbers)
            for number in numbers:
                system.pthread_kill(threading.get_ident(), number)
            system.pthread_sigmask(system.SIG_UNBLOCK, numbers)
            print({await ch.recv() for _ in numbers} == set(numbers))

        faulthandler.enable()
        gort.run(main, procs=1)
    """
    done = python(textwrap.dedent(text))
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_delivery_does_not_wait(run: Run) -> None:
    """A full channel loses signals; others, also those that come after it, are told."""

    async def main() -> None:
        full: gort.Chan[Any] = gort.Chan(1)
        nobody: gort.Chan[Any] = gort.Chan()
        other: gort.Chan[Any] = gort.Chan(10)
        for ch in (full, nobody, other):
            signal.notify(ch, system.SIGUSR1)
        for n in range(5):
            hit(system.SIGUSR1)
            await until(lambda n=n: len(other) == n + 1)  # type: ignore[misc]
        assert len(full) == 1

    run(main)


def test_stop_drains(run: Run) -> None:
    """A signal that came before stop is in the channel when stop returns; none comes after."""

    async def main() -> None:
        keeps: gort.Chan[Any] = gort.Chan(1000)
        signal.notify(keeps, system.SIGUSR1)
        for _ in range(200):
            ch: gort.Chan[Any] = gort.Chan(1)
            signal.notify(ch, system.SIGUSR1)
            system.raise_signal(system.SIGUSR1)
            signal.stop(ch)
            assert ch.try_recv() == (system.SIGUSR1, True)
            system.raise_signal(system.SIGUSR1)
            assert len(ch) == 0
        await until(lambda: len(keeps) == 400)

    run(main)


def test_many_change_their_minds(run: Run) -> None:
    """Goroutines that ask and stop while signals come in: every one gets what was sent between the two."""

    async def asks() -> None:
        for _ in range(30):
            ch: gort.Chan[Any] = gort.Chan(100)
            signal.notify(ch, system.SIGUSR1)
            system.raise_signal(system.SIGUSR1)
            await gort.gosched()
            signal.stop(ch)
            assert len(ch) >= 1

    async def main() -> None:
        async with gort.Group() as group:
            for _ in range(4):
                group.go(asks)

    run(main)


def test_reset_takes_every_channel() -> None:
    async def main() -> None:
        calls: list[int] = []
        before = system.signal(system.SIGUSR1, lambda n, f: calls.append(n))
        a: gort.Chan[Any] = gort.Chan(1)
        b: gort.Chan[Any] = gort.Chan(1)
        signal.notify(a, system.SIGUSR1)
        signal.notify(b, system.SIGUSR1, system.SIGUSR2)
        signal.reset(system.SIGUSR1)
        hit(system.SIGUSR1)
        hit(system.SIGUSR2)
        assert await b.recv() == system.SIGUSR2
        await until(lambda: calls == [system.SIGUSR1])
        assert len(a) == 0
        signal.reset()
        system.signal(system.SIGUSR1, before)

    run_in_main_thread(main)


def test_ignored_and_reset(run: Run) -> None:
    async def main() -> None:
        assert not signal.ignored(system.SIGUSR1)
        assert signal.ignored(system.SIGPIPE)  # the interpreter does that
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGUSR1)
        signal.ignore(system.SIGUSR1)
        assert signal.ignored(system.SIGUSR1)
        hit(system.SIGUSR1)
        signal.notify(ch, system.SIGUSR2)
        hit(system.SIGUSR2)
        assert await ch.recv() == system.SIGUSR2
        signal.reset(system.SIGUSR1)
        assert not signal.ignored(system.SIGUSR1)

    run(main)


def test_what_a_program_ignores_ends_with_it(run: Run) -> None:
    async def main() -> None:
        signal.ignore(system.SIGUSR1, system.SIGINT)

    run(main)
    assert not signal.ignored(system.SIGUSR1)
    assert system.getsignal(system.SIGINT) is system.default_int_handler


# --- contexts ------------------------------------------------------------------------------------


def test_context(run: Run) -> None:
    async def main() -> None:
        with signal.notify_context(context.background(), system.SIGUSR1) as ctx:
            child, _ = context.with_cancel(ctx)
            assert ctx.err() is None
            hit(system.SIGUSR1)
            await child.done().recv_ok()
            why = context.cause(child)
            assert isinstance(why, signal.SignalReceived)
            assert isinstance(why, context.Canceled)
            assert why.signal is system.SIGUSR1
            assert str(why) == "user defined signal 1 signal received"

    run(main)


def test_context_stopped_or_dropped(run: Run) -> None:
    """stop gives the signals back and cancels; a context that is dropped is still told, until the program ends."""

    async def main() -> None:
        ctx, stop = signal.notify_context(context.background(), system.SIGUSR1)
        stop()
        assert isinstance(ctx.err(), context.Canceled)
        assert not isinstance(context.cause(ctx), signal.SignalReceived)
        assert system.SIGUSR1 not in sigqueue.wanted
        signal.notify_context(context.background(), system.SIGUSR2)
        hit(system.SIGUSR2)
        await gort.sleep(0)

    run(main)


# --- threads -------------------------------------------------------------------------------------


def in_thread(fn: Callable[[], Any]) -> Any:
    """fn's result or exception, from a thread that is not the main one."""
    out: list[Any] = []

    def body() -> None:
        try:
            out.append(fn())
        except BaseException as exc:
            out.append(exc)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return out[0]


async def notified() -> Any:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, system.SIGUSR1)
    hit(system.SIGUSR1)
    return await ch.recv()


def test_a_program_in_another_thread() -> None:
    """Only the main thread may install handlers: where it runs no program, the error says so."""
    exc = in_thread(lambda: gort.run(notified))
    assert isinstance(exc, RuntimeError)
    assert "call gort.run in the main thread" in str(exc)
    assert settles(lambda: not any(t.name == "gort-signal" for t in threading.enumerate()))


def test_two_programs_one_of_them_in_the_main_thread(run: Run) -> None:
    """The other one's errands are done by the main thread, also where that sleeps."""

    async def main() -> Any:
        return await gort.blocking(in_thread, lambda: gort.run(notified))

    async def sleeps() -> Any:
        out: gort.Chan[Any] = gort.Chan(1)
        thread = threading.Thread(target=lambda: out.try_send(gort.run(notified)))
        thread.start()
        sig = await out.recv()
        thread.join()
        return sig

    assert run(main) == system.SIGUSR1
    assert run(sleeps) == system.SIGUSR1


def test_a_queue_that_ends_while_a_handler_asks_who_has_the_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it asks, the interpreter writes to a pipe that stands in.  The errand that gives the queue's descriptor up
    comes just then: it must not be put back afterwards, for the queue closes it."""
    plug, run_errands = sigwake.plug, signals.run_errands
    waits: list[int] = []  # how many errands have waited for the exchange to end

    def errands() -> None:
        run_errands()
        waits.append(len(signals._errands))

    def slowly(fd: int) -> int:
        old = plug(fd)
        monkeypatch.setattr(sigwake, "plug", plug)
        assert settles(lambda: any(waits) or not other.is_alive())
        return old

    async def notified_once() -> None:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGUSR1)
        monkeypatch.setattr(signals, "run_errands", errands)
        monkeypatch.setattr(sigwake, "plug", slowly)
        hit(system.SIGUSR1)
        await ch.recv()

    async def main() -> None:
        other.start()
        await gort.blocking(other.join)

    other = threading.Thread(target=gort.run, args=(notified_once,))
    run_in_main_thread(main)
    assert any(waits)


@pytest.mark.parametrize("owner", ["open", "closed"])
def test_a_handler_that_raises_while_we_ask_who_has_the_descriptor(owner: str) -> None:
    r, w = os.pipe()
    os.set_blocking(w, False)
    system.set_wakeup_fd(w)
    if owner == "closed":
        os.close(w)

    def raises(fd: int) -> bool:
        raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            sigwake.exchange(-1, raises, None)
        assert wakeup_fd() == (w if owner == "open" else -1)
        assert not sigwake.asking
    finally:
        system.set_wakeup_fd(-1)
        os.close(r)
        if owner == "open":
            os.close(w)


def test_a_descriptor_that_its_owner_has_closed_is_nobodys() -> None:
    r, w = os.pipe()
    os.set_blocking(w, False)
    system.set_wakeup_fd(w)
    os.close(w)
    try:
        sigwake.exchange(-1, lambda old: False, None)
        assert wakeup_fd() == -1
    finally:
        system.set_wakeup_fd(-1)
        os.close(r)


def test_asked_for_before_the_program() -> None:
    """In the main thread, outside of any program: it lasts until stop, over programs in this thread and in others."""
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, system.SIGUSR1, system.SIGINT)

    async def main() -> Any:
        hit(system.SIGUSR1)
        return await ch.recv()

    try:
        assert gort.run(main) == system.SIGUSR1
        assert in_thread(lambda: gort.run(main)) == system.SIGUSR1
        hit(system.SIGINT)
        assert gort.wait(ch.recv(), timeout=PATIENCE_S) == system.SIGINT
    finally:
        signal.stop(ch)


def test_the_main_thread_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sits in a call that no signal interrupts: notify gives up, and says what to do."""
    monkeypatch.setattr(signals, "PATIENCE_S", 0.1)
    errors: list[RuntimeError] = []

    async def asks() -> None:
        ch: gort.Chan[Any] = gort.Chan(1)
        while not errors:
            try:
                signal.notify(ch, system.SIGUSR1)
                signal.stop(ch)  # it came between two of its calls
            except RuntimeError as exc:
                errors.append(exc)

    async def main() -> None:
        gort.go(asks)
        while not errors:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)  # half a second, without the GIL

    run_in_main_thread(main)
    assert "gort.blocking" in str(errors[0])


def test_given_back_when_next_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the main thread cannot be reached to restore a handler, the signal that comes next does it."""
    calls: list[int] = []
    before = system.signal(system.SIGUSR1, lambda n, f: calls.append(n))
    ch: gort.Chan[Any] = gort.Chan(1)
    try:
        signal.notify(ch, system.SIGUSR1)
        with monkeypatch.context() as patch:
            patch.setattr(signals, "reachable", lambda: False)
            in_thread(lambda: signal.stop(ch))
        assert calls == []
        hit(system.SIGUSR1)
        assert calls == [system.SIGUSR1]
        assert len(ch) == 0
        hit(system.SIGUSR1)
        assert calls == [system.SIGUSR1] * 2
        signal.notify(ch, system.SIGUSR2)  # the thread and its pipe were kept, and go now
    finally:
        signal.stop(ch)
        system.signal(system.SIGUSR1, before)


def test_errands_while_the_program_is_told_of_their_signal() -> None:
    """SIGURG is what the runtime hits the main thread with; it goes on to work when a channel wants it too."""

    async def asks() -> Any:
        return await notified()

    async def main() -> None:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGURG)
        hit(system.SIGURG)
        assert await ch.recv() == system.SIGURG
        assert in_thread(lambda: gort.run(asks)) == system.SIGUSR1

    run_in_main_thread(main)


# --- noted, but not seen --------------------------------------------------------------------------


def by_another_thread(number: int) -> None:
    """The interpreter notes a signal on the thread that the system ran its handler on. Where that is another one, the
    call in which the main thread sits goes on, as it does when the signal comes just before the call."""
    threading.Thread(target=lambda: system.pthread_kill(threading.get_ident(), number)).start()


@pytest.mark.parametrize("told", [False, True], ids=["alone", "beside a channel"])
@pytest.mark.parametrize("how", ["plain", "blocking"])
def test_ctrl_c_does_not_wait_for_the_end_of_a_call(how: str, told: bool) -> None:
    async def main() -> None:
        if told:
            signal.notify(gort.Chan(1), system.SIGUSR1)
        threading.Timer(0.05, by_another_thread, [system.SIGINT]).start()
        if how == "plain":
            time.sleep(PATIENCE_S)
        else:
            await gort.blocking(time.sleep, PATIENCE_S)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_in_main_thread(main)
    assert time.monotonic() - start < PATIENCE_S / 2  # the call would take the whole; no machine is busy for minutes


def test_a_handler_of_the_users_own_does_not_wait_for_the_end_of_a_call() -> None:
    """The call ends when the handler has run."""
    r, w = os.pipe()
    old = system.signal(system.SIGUSR1, lambda *_: os.write(w, b"x"))

    async def main() -> bool:
        threading.Timer(0.05, by_another_thread, [system.SIGUSR1]).start()
        return bool(select.select([r], [], [], PATIENCE_S)[0])  # goes on after a signal: the handler raises nothing

    try:
        assert run_in_main_thread(main)
    finally:
        system.signal(system.SIGUSR1, old)
        os.close(r)
        os.close(w)


# --- others who use signals ----------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_wakeup_descriptor_of_somebody_else(when: str) -> None:
    """asyncio sets one, say. It stays, it is told, and so are we."""
    r, w = os.pipe()
    os.set_blocking(w, False)

    async def main() -> Any:
        ch: gort.Chan[Any] = gort.Chan(2)
        if when == "before":
            system.set_wakeup_fd(w)
        signal.notify(ch, system.SIGUSR1)
        if when == "meanwhile":
            system.set_wakeup_fd(w)
        hit(system.SIGUSR1)
        sig = await ch.recv()
        assert wakeup_fd() == w
        assert len(ch) == 0
        system.set_wakeup_fd(-1)
        hit(system.SIGUSR1)
        await ch.recv()
        hit(system.SIGUSR1)
        await ch.recv()
        assert len(ch) == 0
        return sig

    try:
        assert run_in_main_thread(main) == system.SIGUSR1
        assert os.read(r, 10) == bytes([system.SIGUSR1])
    finally:
        os.close(r)
        os.close(w)


@pytest.mark.parametrize("by", ["gort.run", "gort.signal"])
def test_a_signal_while_we_ask_for_the_wakeup_descriptor_reaches_its_owner(
    monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A program begins and ends while asyncio waits for a child, say: no second signal would tell of the child's end."""
    sent = 0
    put_back = sigwake.put_back

    def hit_and_put_back(fd: int) -> bool:
        nonlocal sent
        sent += 1
        hit(system.SIGUSR1)
        return put_back(fd)

    async def main() -> None:
        if by == "gort.signal":
            monkeypatch.setattr(sigwake, "put_back", hit_and_put_back)
            ch: gort.Chan[Any] = gort.Chan(1)
            signal.notify(ch, system.SIGUSR2)
            signal.stop(ch)
            monkeypatch.undo()

    r, w = os.pipe()
    os.set_blocking(w, False)
    os.set_blocking(r, False)
    old = system.signal(system.SIGUSR1, lambda *_: None)
    try:
        system.set_wakeup_fd(w)
        if by == "gort.run":
            monkeypatch.setattr(sigwake, "put_back", hit_and_put_back)
        run_in_main_thread(main)
        monkeypatch.undo()
        assert sent >= 1
        assert os.read(r, 100).count(system.SIGUSR1) == sent
    finally:
        system.set_wakeup_fd(-1)
        system.signal(system.SIGUSR1, old)
        os.close(r)
        os.close(w)


@pytest.mark.parametrize("owner", ["gort", "another"])
def test_a_signal_while_we_ask_for_the_wakeup_descriptor_is_told_once(
    monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    """We ask in the handler of each signal.  The handler of one that came in the middle took the pipe that stands in for
    that of other code, and told a second time what the interpreter had told."""
    plug = sigwake.plug
    sent = 0

    def plug_and_hit(fd: int) -> int:
        nonlocal sent
        old = plug(fd)
        if sent < 3:
            sent += 1
            hit(system.SIGUSR1)
        return old

    async def main() -> None:
        nonlocal sent
        ch: gort.Chan[Any] = gort.Chan(10)
        signal.notify(ch, system.SIGUSR1, system.SIGUSR2)
        if owner == "another":
            system.set_wakeup_fd(w)
        monkeypatch.setattr(sigwake, "plug", plug_and_hit)
        sent = 1
        hit(system.SIGUSR1)
        hit(system.SIGUSR2)  # told after all that came before
        told = [await ch.recv()]
        while told[-1] != system.SIGUSR2:
            told.append(await ch.recv())
        assert sent == told.count(system.SIGUSR1) == 3
        assert len(ch) == 0

    r, w = os.pipe()
    os.set_blocking(w, False)
    try:
        run_in_main_thread(main)
        if owner == "another":
            assert os.read(r, 10).count(system.SIGUSR1) == 3
    finally:
        if owner == "another":
            system.set_wakeup_fd(-1)
        os.close(r)
        os.close(w)


async def answer() -> int:
    return 42


def test_without_a_free_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program runs, and Ctrl-C does afterwards what it did before."""

    def no_pipe() -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(sigwake.os, "pipe", no_pipe)
    assert gort.run(answer) == 42


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_wakeup_descriptor_that_has_been_closed(when: str) -> None:
    """Somebody forgot it there: it stays away, and the program does not notice."""

    def leave() -> None:
        r, w = os.pipe()
        os.set_blocking(w, False)
        system.set_wakeup_fd(w)
        os.close(r)
        os.close(w)

    async def main() -> int:
        if when == "meanwhile":
            leave()
        return await answer()

    if when == "before":
        leave()
    try:
        for _ in range(2):
            assert run_in_main_thread(main) == 42
    finally:
        with contextlib.suppress(OSError, ValueError):
            system.set_wakeup_fd(-1)


def test_another_handler_of_sigurg_is_not_called_for_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    looks: list[None] = []
    look = signals.look

    def counted(s: Any) -> None:
        look(s)
        looks.append(None)

    monkeypatch.setattr(signals, "look", counted)

    async def main() -> None:
        system.signal(system.SIGURG, lambda *_: calls.append(1))
        hit(system.SIGUSR1)
        seen = len(looks)
        while len(looks) < seen + 5:  # sysmon has had its occasions to send SIGURG
            await gort.sleep(0.01)

    old = system.signal(system.SIGUSR1, lambda *_: None)
    try:
        run_in_main_thread(main)
    finally:
        system.signal(system.SIGUSR1, old)
        system.signal(system.SIGURG, system.SIG_DFL)
    assert calls == []


def test_a_call_that_no_signal_interrupts_is_not_kicked_for_ever() -> None:
    """SIGURG comes twice where it is seen, at most KICKS_MAX times where it is not."""
    kicks: list[int] = []
    interrupts: list[Any] = []

    async def main() -> None:
        interrupts.extend(signals._installed)
        hit(system.SIGUSR1)
        await until(lambda: interrupts[0].sent >= 2 and interrupts[0].kicks >= interrupts[0].enough, "two kicks seen")
        kicks.append(interrupts[0].sent)

    old = system.signal(system.SIGUSR1, lambda *_: None)
    try:
        run_in_main_thread(main)
    finally:
        system.signal(system.SIGUSR1, old)
    assert 2 <= kicks[0] <= 6
    interrupts[0].enough, interrupts[0].kicks = 10**9, 0
    interrupts[0].kicked = system.getsignal(system.SIGURG)  # reaches nobody, and would be sent
    interrupts[0].s.m0.ident = threading.get_ident()
    for _ in range(2000):
        interrupts[0].look()
    assert interrupts[0].sent == signals.KICKS_MAX


def test_descriptors_that_the_program_closes_without_knowing_of_them() -> None:
    """A daemon closes all that it has not opened: what it opens then is neither read nor closed by us."""
    done = python(
        """
import os, time, gort
from gort._runtime.watch import signals
looks, look = [], signals.look
def counted(s):
    look(s)
    looks.append(None)
signals.look = counted
def looked_again():
    seen = len(looks)
    while len(looks) < seen + 5:  # sysmon's thread has had its occasions to read or close something
        time.sleep(0.005)
async def main():
    os.closerange(3, 200)
    r, w = os.pipe()
    looked_again()
    os.write(w, b"hello")
    looked_again()
    print(os.read(r, 10), r, w)
    return r, w
r, w = gort.run(main, procs=1)
os.fstat(r), os.fstat(w)
print("whole")
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "whole"
    assert done.stdout.startswith("b'hello'")


def test_the_end_of_a_program_that_a_handler_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is done all the same: no handler and no descriptor stays (the fixtures look)."""
    once = [TimeoutError("a handler's")]
    plug = sigwake.plug

    def interrupted(fd: int) -> int:
        if fd == -1 and once:
            raise once.pop()
        return plug(fd)

    monkeypatch.setattr(sigwake, "plug", interrupted)
    with pytest.raises(TimeoutError):
        gort.run(answer)
    assert gort.run(answer) == 42


def test_a_handler_of_the_users_own_comes_back(run: Run) -> None:
    def mine(signum: int, frame: Any) -> None:
        raise AssertionError("must not be called")

    before = system.signal(system.SIGUSR1, mine)
    try:
        assert run(notified) == system.SIGUSR1
        assert system.getsignal(system.SIGUSR1) is mine
    finally:
        system.signal(system.SIGUSR1, before)


def test_a_forked_child_is_no_receiver() -> None:
    """Its signals do what they did before gort.run, and nothing of them arrives in the parent."""
    code = """
import os, signal as system, gort
from gort import signal
async def main():
    ch = gort.Chan(4)
    signal.notify(ch, system.SIGUSR1, system.SIGTERM, system.SIGINT)
    pid = os.fork()
    if pid == 0:
        try:
            assert system.getsignal(system.SIGINT) is system.default_int_handler
            assert system.getsignal(system.SIGTERM) == system.SIG_DFL
            assert system.set_wakeup_fd(-1) == -1
            os.kill(os.getpid(), system.SIGUSR1)
        finally:
            os._exit(9)
    status = os.waitpid(pid, 0)[1]
    os.kill(os.getpid(), system.SIGTERM)
    print(os.WTERMSIG(status) == system.SIGUSR1, (await ch.recv()).name, len(ch))
gort.run(main)
"""
    done = python("import warnings; warnings.simplefilter('ignore')\n" + code)
    assert (done.stdout, done.stderr) == ("True SIGTERM 0\n", "")


# --- Ctrl-C and the end --------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a program with `gort run`."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str) -> subprocess.Popen[str]:
        file = tmp_path / "program.py"
        file.write_text("import os, time, gort\nfrom gort import signal\nimport signal as system\n" + text)
        pipe = subprocess.PIPE
        process = subprocess.Popen(command("run", str(file)), stdout=pipe, stderr=pipe, text=True, env=environment())
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.mark.parametrize("wait", ["ch.recv()", "gort.blocking(blocks)", "computes()"])
def test_ctrl_c_goes_to_the_channel_until_stop(program: Start, wait: str) -> None:
    """Whatever main does; after stop it interrupts again."""
    process = program(
        "ch = gort.Chan(1)\n"
        "def blocks():\n    while not len(ch): time.sleep(0.01)\n"
        "async def computes():\n    while not len(ch): pass\n"
        "async def main():\n"
        "    signal.notify(ch, signal.SIGINT)\n"
        f"    print('ready', flush=True)\n    await {wait}\n    print('caught', flush=True)\n"
        "    signal.stop(ch)\n"
        "    print('ready', flush=True)\n    await gort.sleep(3600)\n"
    )
    assert line(process) == "ready"
    process.send_signal(system.SIGINT)
    assert line(process) == "caught"
    assert line(process) == "ready"
    process.send_signal(system.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (-system.SIGINT, "", "")


def test_sigterm_for_a_graceful_end(program: Start) -> None:
    process = program(
        "async def main():\n"
        "    with signal.notify_context(gort.context.background(), signal.SIGTERM) as ctx:\n"
        "        print('ready', flush=True)\n"
        "        await ctx.done().recv_ok()\n"
        "    print(gort.context.cause(ctx))\n"
    )
    assert line(process) == "ready"
    process.send_signal(system.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (0, "terminated signal received\n", "")


def test_sigquit_goes_to_the_channel_until_reset(program: Start) -> None:
    process = program(
        "async def main():\n"
        "    ch = gort.Chan(1)\n    signal.notify(ch, system.SIGQUIT)\n"
        "    print('ready', flush=True)\n    print((await ch.recv()).name, flush=True)\n"
        "    signal.reset(system.SIGQUIT)\n"
        "    async def tells():\n"
        "        while 'goroutine 1 [chan receive]:' not in gort.runtime.stack(all=True): await gort.sleep(0.001)\n"
        "        print('ready', flush=True)\n"
        "    gort.go(tells)\n    await ch.recv()\n"
    )
    assert line(process) == "ready"
    process.send_signal(system.SIGQUIT)
    assert line(process) == "SIGQUIT"
    assert line(process) == "ready"
    process.send_signal(system.SIGQUIT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "SIGQUIT: quit" in err
    assert "goroutine 1 [chan receive]:" in err


def test_ctrl_c_after_a_channel_that_was_there_before_gort_run() -> None:
    """reset inside the program: Ctrl-C is then the runtime's KeyboardInterrupt, at main's await."""
    code = """
import os, signal as system, gort
from gort import signal
ch = gort.Chan(1)
signal.notify(ch, signal.SIGINT)
async def main():
    signal.reset(signal.SIGINT)
    try:
        os.kill(os.getpid(), system.SIGINT)
        await gort.sleep(3600)
    except KeyboardInterrupt:
        print("interrupted")
gort.run(main)
print(system.getsignal(system.SIGINT) is system.default_int_handler)
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("interrupted\nTrue\n", "")


# --- mistakes ------------------------------------------------------------------------------------


def test_closed_channel_is_a_panic(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[Any] = gort.Chan(1)
        signal.notify(ch, system.SIGUSR1)
        ch.close()
        hit(system.SIGUSR1)
        await gort.sleep(PATIENCE_S)

    with pytest.raises(gort.Panic, match=r"SIGUSR1 .* gort\.signal\.stop\(ch\) before") as caught:
        run(main)
    # Go names its own os/signal there; nobody calls that by hand, so the user's line says more.
    line = main.__code__.co_firstlineno + 2
    assert f".main in goroutine 1\n\t{__file__}:{line}\n" in caught.value.dump.partition("created by ")[2]


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ((None, system.SIGTERM), TypeError, r"make one: ch = gort\.Chan"),
        ((system.SIGTERM,), TypeError, "ch is a gort.Chan, not a Signals"),
        ((gort.Chan(1), "SIGTERM"), TypeError, "'SIGTERM'"),
        ((gort.Chan(1), [system.SIGTERM]), TypeError, "one argument each, not a list"),
        ((gort.Chan(1), True), TypeError, "bool"),
        ((gort.Chan(1), 0), ValueError, "0 is no signal"),
        ((gort.Chan(1), 400), ValueError, "400 is no signal"),
        ((gort.Chan(1), system.SIGKILL), ValueError, "SIGKILL: leave it out"),
        ((gort.Chan(1), system.SIGTERM, system.SIGSTOP), ValueError, "SIGSTOP: leave it out"),
        ((gort.Chan(1), system.SIGSEGV), ValueError, "SIGSEGV is a fault"),
    ],
)
def test_notify_refuses(args: tuple[Any, ...], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        signal.notify(*args)


def test_the_others_refuse() -> None:
    with pytest.raises(ValueError, match="SIGKILL"):
        signal.ignore(system.SIGKILL)
    with pytest.raises(ValueError, match="SIGURG to itself"):
        signal.ignore(system.SIGURG)
    with pytest.raises(TypeError, match=r"stop.*not a str"):
        signal.stop("ch")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ignored.*'SIGHUP'"):
        signal.ignored("SIGHUP")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no signal"):
        signal.reset(999)
    with pytest.raises(TypeError, match="parent is a context, not a Signals"):
        signal.notify_context(system.SIGINT)  # type: ignore[arg-type]


def test_import_of_gort_leaves_it_out() -> None:
    done = python("import sys, gort; print('gort.signal' in sys.modules, gort.signal.__name__)")
    assert done.stdout == "False gort.signal\n", done.stderr
