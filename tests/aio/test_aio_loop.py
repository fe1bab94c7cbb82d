"""gort.aio.Loop is asyncio's loop, driven by a goroutine: what asyncio programs do, and what is gort's own: threads,
deadlocks, Ctrl-C, the end of a program."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import gort
import gort.aio
from gort import runtime
from gort._runtime.core import debugvars
from gort._runtime.poll.fd import FD
from support import PATIENCE_S, environment, parked, python

Run = Callable[..., Any]


def asyncio_run(main: Coroutine[Any, Any, Any], **kwargs: Any) -> Any:
    """asyncio.run(main, loop_factory=gort.aio.Loop), on 3.11 too."""
    with asyncio.Runner(loop_factory=gort.aio.Loop, **kwargs) as runner:
        return runner.run(main)


async def streams() -> bytes:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
    return line


async def unix_streams() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s")

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(3))
            writer.close()

        async with await asyncio.start_unix_server(handle, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"abc")
            got = await reader.read()
            writer.close()
        return got


async def datagrams() -> bytes:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            got.set_result(data)

    loop = asyncio.get_running_loop()
    there, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
    here, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=there.get_extra_info("sockname")
    )
    here.sendto(b"datagram")
    try:
        return await got
    finally:
        here.close()
        there.close()


async def sock_calls() -> bytes:
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        await loop.sock_sendall(a, b"raw")
        return await loop.sock_recv(b, 10)


async def pipes() -> bytes:
    loop = asyncio.get_running_loop()
    r, w = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(r, "rb"))
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(w, "wb"))
    writer.write(b"piped\n")
    writer.close()
    try:
        return await reader.read()
    finally:
        transport.close()


async def sends_a_file() -> bytes:
    loop = asyncio.get_running_loop()
    got = asyncio.StreamReader()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.feed_data(await reader.read())
        got.feed_eof()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        with tempfile.TemporaryFile() as file:
            file.write(b"of the file")
            file.flush()
            await loop.sendfile(transport, file)
        transport.close()
        return await got.read()


async def a_subprocess() -> bytes:
    p = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(input() * 2)", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = await p.communicate(b"ab\n")
    return out


async def names() -> bool:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    return found[0][4] == ("127.0.0.1", 80)


async def a_signal() -> bool:
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        await came.wait()
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)
    return True


PROGRAMS = {
    streams: b"HELLO\n",
    unix_streams: b"abc",
    datagrams: b"datagram",
    sock_calls: b"raw",
    pipes: b"piped\n",
    sends_a_file: b"of the file",
    a_subprocess: b"abab\n",
    names: True,
    a_signal: True,
}


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_as_the_loop_of_asyncio_run(program: Callable[[], Coroutine[Any, Any, object]], debug: bool) -> None:
    assert asyncio_run(program(), debug=debug) == PROGRAMS[program]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_in_a_goroutine(run: Run, program: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """With gort.aio.run, in the main goroutine, which is on the main thread."""
    assert run(in_a_loop(program)) == PROGRAMS[program]


def in_a_loop(program: Callable[[], Coroutine[Any, Any, object]]) -> Callable[[], Coroutine[Any, Any, object]]:
    async def main() -> object:
        return await gort.aio.run(program())

    return main


def test_many_loops_beside_each_other_and_beside_goroutines(run: Run) -> None:
    ticks = 0

    async def one(n: int) -> int:
        while ticks < 20:  # goroutines go on, and so does this loop
            await asyncio.sleep(0)
            await asyncio.sleep(0.0001)
        return n

    async def in_a_loop(n: int) -> int:
        return await gort.aio.run(one(n))

    async def main() -> list[int]:
        async def ticker() -> None:
            nonlocal ticks
            while True:
                await gort.sleep(0.0001)
                ticks += 1

        gort.go(ticker)
        async with gort.Group() as group:
            handles = [group.go(in_a_loop, n) for n in range(8)]
        return [h.result() for h in handles]

    assert run(main) == list(range(8))


def test_a_loop_keeps_its_thread(run: Run) -> None:
    begun = []

    async def one() -> set[int]:
        seen = set()
        begun.append(1)
        rounds = 50
        while rounds or len(begun) < 4:  # a loop that ends early would leave its thread to another
            seen.add(threading.get_ident())
            await asyncio.sleep(0.0001)
            rounds = max(0, rounds - 1)
        return seen

    async def in_a_loop() -> set[int]:
        return await gort.aio.run(one())

    async def main() -> list[set[int]]:
        async with gort.Group() as group:
            handles = [group.go(in_a_loop) for _ in range(4)]
        return [h.result() for h in handles]

    seen = run(main)
    assert [len(s) for s in seen] == [1] * 4
    assert len(set.union(*seen)) == 4


def test_outside_a_goroutine_it_runs_in_its_callers_thread() -> None:
    async def where() -> int:
        return threading.get_ident()

    seen: list[tuple[int, int]] = []

    def program() -> None:
        seen.append((asyncio_run(where()), threading.get_ident()))

    for _ in range(5):
        thread = threading.Thread(target=program)
        thread.start()
        thread.join()
    program()
    assert [a == b for a, b in seen] == [True] * 6


def test_a_callback_that_blocks_stalls_its_own_loop_alone(run: Run) -> None:
    free = threading.Event()

    async def rude() -> None:
        assert free.wait(PATIENCE_S)

    async def polite() -> None:
        for _ in range(10):
            await asyncio.sleep(0.001)
        free.set()

    async def main() -> None:
        async with gort.Group() as group:
            group.go(gort.aio.run, rude())
            group.go(gort.aio.run, polite())

    run(main)


def test_to_thread_has_no_cap() -> None:
    """More calls at once than asyncio's executor has threads, each waiting for the last."""
    n = 3 * min(32, (os.cpu_count() or 1) + 4)
    all_there = threading.Barrier(n)

    async def main() -> int:
        await asyncio.gather(*(asyncio.to_thread(all_there.wait, PATIENCE_S) for _ in range(n)))
        return n

    assert asyncio_run(main()) == n


def test_to_thread_raises_and_keeps_its_context() -> None:
    from contextvars import ContextVar

    var: ContextVar[int] = ContextVar("var")

    def fails() -> None:
        raise KeyError(var.get())

    async def main() -> None:
        var.set(7)
        with pytest.raises(KeyError, match="7"):
            await asyncio.to_thread(fails)

    asyncio_run(main())


def test_what_still_runs_in_a_thread_is_awaited_at_the_end() -> None:
    """As asyncio.run does, whether the call has begun or not."""
    over = []
    begun = threading.Event()

    def slow() -> None:
        begun.set()
        time.sleep(0.05)
        over.append(True)

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(slow))
        await asyncio.sleep(0)
        assert not task.done()

    asyncio_run(main())
    assert begun.is_set()
    assert over == [True]


@pytest.mark.parametrize("kind", ["async", "plain", "blocking"])
def test_asyncio_run_inside_a_goroutine(run: Run, kind: str) -> None:
    async def program() -> bytes:
        return await streams()

    def nested() -> bytes:
        return asyncio_run(program())  # type: ignore[no-any-return]

    async def main() -> bytes:
        if kind == "async":
            return nested()
        if kind == "blocking":
            return await gort.blocking(nested)
        async with gort.Group() as group:
            h = group.go(nested)
        return h.result()

    assert run(main) == b"HELLO\n"


def test_others_go_on_while_asyncio_run_blocks_a_goroutine(run: Run) -> None:
    ch = gort.Chan[int]()

    async def program() -> list[int]:
        return [v async for v in ch]

    async def feed() -> None:
        for i in range(10):
            await ch.send(i)
        ch.close()

    async def main() -> list[int]:
        gort.go(feed)
        return asyncio_run(program())  # type: ignore[no-any-return]

    assert run(main) == list(range(10))


def test_a_loop_runs_again_and_again() -> None:
    """In one runtime after another, and in several."""
    loop = gort.aio.Loop()
    try:

        async def sleeps(n: int) -> int:
            await asyncio.sleep(0.001)
            return n

        assert [loop.run_until_complete(sleeps(n)) for n in range(3)] == [0, 1, 2]

        async def main() -> int:
            task = loop.create_task(sleeps(7))
            task.add_done_callback(lambda t: loop.stop())
            await loop.drive()
            return task.result()

        assert gort.run(main) == 7
        assert loop.run_until_complete(sleeps(3)) == 3
    finally:
        loop.close()


def test_callbacks_from_threads_and_goroutines(run: Run) -> None:
    async def program() -> int:
        loop = asyncio.get_running_loop()
        n = 0
        done = asyncio.Event()

        def add() -> None:
            nonlocal n
            n += 1
            if n == 400:
                done.set()

        def thread() -> None:
            for _ in range(100):
                loop.call_soon_threadsafe(add)

        async def goroutine() -> None:
            for _ in range(100):
                loop.call_soon_threadsafe(add)
                await gort.gosched()

        threads = [threading.Thread(target=thread) for _ in range(2)]
        for t in threads:
            t.start()
        for _ in range(2):
            gort.go(goroutine)
        await done.wait()
        await asyncio.to_thread(lambda: [t.join() for t in threads])
        return n

    async def main() -> int:
        return await gort.aio.run(program())

    assert run(main) == 400


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_a_signal_handler_runs_at_once(debug: bool) -> None:
    """In a task, a callback and a protocol.  The uncompiled core made it wait until the loop had nothing to do: no
    handler could end a task that computes, and uvicorn, which raises again the signal that stops it, got none."""
    seen: list[int] = []
    missed: list[str] = []

    def strike(where: str) -> None:
        before = len(seen)
        signal.raise_signal(signal.SIGUSR1)
        if len(seen) != before + 1:
            missed.append(where)

    class Reads(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            strike("data_received")

        def eof_received(self) -> None:
            strike("eof_received")
            ended.set()

    class Buffers(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> bytearray:
            strike("get_buffer")
            return bytearray(9)

        def buffer_updated(self, nbytes: int) -> None:
            strike("buffer_updated")

        def eof_received(self) -> None:
            ended.set()

    ended = asyncio.Event()

    async def main() -> None:
        strike("task")
        asyncio.get_running_loop().call_soon(strike, "call_soon")
        for protocol in (Reads, Buffers):
            ended.clear()
            ours, theirs = socket.socketpair()
            with theirs:
                transport, _ = await asyncio.get_running_loop().create_connection(protocol, sock=ours)
                theirs.send(b"something")
                theirs.shutdown(socket.SHUT_WR)
                await ended.wait()
                transport.close()

    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        asyncio_run(main(), debug=debug)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert missed == []


@pytest.mark.skipif(runtime.compiled, reason="the compiled core has no frames there")
def test_no_handler_runs_between_a_loop_and_its_callback() -> None:
    """Else the loop would lose the callback that was to run, or those after it, when the handler raises."""
    from gort._runtime.watch import sigdefer

    allowed: dict[str, bool] = {}

    async def main() -> None:
        frame = sys._getframe(0)
        while frame.f_code.co_name != "drive":
            allowed[frame.f_code.co_name] = sigdefer.may_run(frame)
            assert frame.f_back is not None
            frame = frame.f_back

    asyncio_run(main())
    assert allowed.pop("main")
    assert {"run_handle", "run_ready", "run_once"} <= allowed.keys()
    assert not any(allowed.values())


def test_debug_mode_says_where_a_handle_was_made() -> None:
    """The program's line is the last one of the stack, on the uncompiled core too, which has a frame of its own there."""

    def last(handle: Any, line: int) -> None:
        made = handle._source_traceback[-1]
        assert (made.filename, made.lineno) == (__file__, line)
        handle.cancel()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        here = sys._getframe().f_lineno
        last(loop.call_soon(print), here + 1)
        last(loop.call_soon_threadsafe(print), here + 2)
        last(loop.call_later(9, print), here + 3)
        last(loop.call_at(loop.time() + 9, print), here + 4)

    asyncio_run(main(), debug=True)


def test_a_traceback_that_is_kept_keeps_no_handle() -> None:
    """A frame that has ended lives as long as a traceback through what it has called: in a callback that hands its error
    to a future, a handle there would close a circle, and none of it would go before a collection."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def fail(future: asyncio.Future[None]) -> None:
            try:
                raise ValueError
            except ValueError as e:
                future.set_exception(e)
            finally:
                del future  # as asyncio does: this frame is kept, too

        future = loop.create_future()
        gone = weakref.ref(future)
        loop.call_soon(fail, future)
        with pytest.raises(ValueError) as caught:
            await future
        del future
        await asyncio.sleep(0)  # the handle that has woken this task is over, too
        assert gone() is None
        assert type(caught.value) is ValueError

    gc.disable()
    try:
        asyncio_run(main())
    finally:
        gc.enable()


def test_a_slow_callback_is_reported_in_debug_mode(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.01
        await asyncio.sleep(0)
        time.sleep(0.02)
        await asyncio.sleep(0)

    asyncio_run(main(), debug=True)
    assert re.search(r"took \d+\.\d+ seconds", caplog.text)


def test_a_slow_task_is_reported_that_gort_has_resumed(caplog: pytest.LogCaptureFixture) -> None:
    async def slow(ch: gort.Chan[int]) -> int:
        n = await ch.recv()
        time.sleep(0.15)
        return n

    async def main() -> int:
        ch = gort.Chan[int]()
        task = asyncio.ensure_future(slow(ch))
        await asyncio.sleep(0)
        await ch.send(3)
        return await task

    assert asyncio_run(main(), debug=True) == 3
    assert any("slow(" in r.getMessage() and "took" in r.getMessage() for r in caplog.records)


@pytest.mark.parametrize("kind", ["socket", "pipe"])
def test_no_read_asks_for_more_than_malloc_keeps(kind: str) -> None:
    """All that was sent comes, in pieces of at most 64 KiB: a larger buffer would be mapped and unmapped for each."""
    pieces: list[bytes] = []

    class Reads(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.over = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            pieces.append(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.over.set_result(None)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        if kind == "socket":
            here, there = socket.socketpair()
            with there:
                there.setblocking(False)
                sent = there.send(bytes(150_000))
            _, protocol = await loop.create_connection(Reads, sock=here)
        else:
            read, write = os.pipe()
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 17)
            sent = os.write(write, bytes(100_000))
            os.close(write)
            _, protocol = await loop.connect_read_pipe(Reads, os.fdopen(read, "rb"))
        await protocol.over
        return sent

    sent = asyncio_run(main())
    assert sent > 1 << 16
    assert sum(map(len, pieces)) == sent
    assert max(map(len, pieces)) == 1 << 16


def test_a_unix_datagram_may_be_longer() -> None:
    """It would be cut off: reads of those ask for as much as asyncio's."""
    got: list[int] = []

    class Reads(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.over = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, addr: object) -> None:
            got.append(len(data))
            self.over.set_result(None)

    async def main() -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        here.setblocking(False)
        with there:
            there.send(bytes(100_000))
            transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Reads, sock=here)
            await protocol.over
            transport.close()

    asyncio_run(main())
    assert got == [100_000]


def test_a_deadlock_is_found(run: Run) -> None:
    """A loop that waits for nothing but another goroutine's callback, which will not come."""

    async def never() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await gort.aio.run(never())

    with pytest.raises(gort.Deadlock):
        run(main)


def test_a_timer_or_a_server_is_no_deadlock(run: Run) -> None:
    async def program() -> bool:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        async with server:
            await asyncio.wait_for(asyncio.shield(asyncio.sleep(0.01)), PATIENCE_S)
        return True

    async def main() -> bool:
        return await gort.aio.run(program())

    assert run(main)


def test_the_end_of_gort_run_ends_a_loop(run: Run) -> None:
    """Its tasks are cancelled, and their `finally` blocks run."""
    ended = []

    async def task() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")

    async def program() -> None:
        other = asyncio.create_task(task())
        try:
            await other
        finally:
            ended.append("program")

    async def other() -> None:
        await gort.aio.run(program())

    async def main() -> None:
        gort.go(other)
        await parked(1, "chan receive")

    run(main)
    assert ended == ["task", "program"]


def test_an_exception_of_the_program_is_raised(run: Run) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("mine")

    async def main() -> None:
        await gort.aio.run(fails())

    with pytest.raises(ValueError, match="mine"):
        run(main)
    with pytest.raises(ValueError, match="mine"):
        asyncio_run(fails())


def test_cancelling_the_goroutine_cancels_the_program(run: Run) -> None:
    seen: list[object] = []
    begun = gort.Chan[None](1)

    async def program() -> None:
        begun.try_send(None)
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)  # the clean-up may wait
            seen.append("cleaned up")
            raise

    async def main() -> None:
        async def cancels() -> None:
            await begun.recv()
            scope.cancel()

        async with gort.move_on_after(None) as scope:
            gort.go(cancels)
            await gort.aio.run(program())
        seen.append(scope.cancelled_caught)

    run(main)
    assert seen == ["cleaned up", True]


def test_mistakes() -> None:
    async def program() -> None:
        with pytest.raises(RuntimeError, match="in a running event loop: await the coroutine"):
            await gort.aio.run(asyncio.sleep(0))

    async def main() -> None:
        with pytest.raises(ValueError, match="a coroutine was expected"):
            await gort.aio.run(program)  # type: ignore[arg-type]
        await gort.aio.run(program())

    gort.run(main)
    with pytest.raises(RuntimeError, match="outside a goroutine: use asyncio"):
        gort.aio.run(asyncio.sleep(0)).send(None)


CTRL_C = """
import asyncio, os, signal, sys, gort.aio

async def main():
    try:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        await asyncio.sleep(60)
    finally:
        print("cleaned up", flush=True)

try:
    with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
        runner.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c() -> None:
    """asyncio's own handling: the task is cancelled, then KeyboardInterrupt is raised."""
    done = python(CTRL_C, "SIGINT")
    assert (done.stdout, done.returncode) == ("cleaned up\ninterrupted\n", 0), done.stderr


def test_sigterm() -> None:
    done = python(CTRL_C, "SIGTERM")
    assert (done.stdout, done.returncode) == ("", -signal.SIGTERM), done.stderr


def test_import_gort_does_not_import_asyncio() -> None:
    code = "import sys, gort; print('asyncio' in sys.modules)"
    assert python(code).stdout == "False\n"


def test_a_child_has_a_loop_of_its_own() -> None:
    """os.fork while a loop runs."""
    code = """
        import asyncio, os, gort.aio
        async def child():
            await asyncio.sleep(0.001)
            return 7
        async def main():
            pid = os.fork()
            if pid == 0:
                asyncio.events._set_running_loop(None)
                with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
                    os._exit(runner.run(child()))
            await asyncio.sleep(0.001)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
            runner.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), check=False,
    )  # fmt: skip
    assert done.stdout == "7\n", done.stderr


ELSEWHERE = -1


def sleeps_in(thread: int) -> int | None:
    """The epoll in which a thread sleeps, ELSEWHERE if that is poll or select, None if it does something else."""
    call = Path(f"/proc/self/task/{thread}/syscall").read_text().split()
    number = int(call[0]) if call[0].isdigit() else -1
    x86 = platform.machine() == "x86_64"
    if number in ((232, 281, 441) if x86 else (22, 441)):  # epoll_wait, _pwait, _pwait2
        return int(call[1], 16)
    return ELSEWHERE if number in ((7, 271, 23, 270) if x86 else (73, 72)) else None  # poll, ppoll, select, pselect6


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells in what a thread sleeps")
def test_a_loop_that_waits_alone_sleeps_in_its_own_epoll() -> None:
    """Its thread takes the events itself, and is woken there: by another thread, and by an operation of gort's that
    begins to wait.  From then on it sleeps where that operation is seen, too.  Uncompiled, and on poll and select, it
    sleeps in the runtime's poller all the time."""
    in_its_own = runtime.compiled and debugvars.parse()["netpoll"] == debugvars.NETPOLL_EPOLL
    r, w = os.pipe()
    os.set_blocking(r, False)
    pipe = FD(r)
    slept: list[int | None] = []

    def look(thread: int, loop: gort.aio.Loop, done: Callable[[], object]) -> None:
        def until(ok: Callable[[int | None], bool]) -> None:
            looks = 0
            while not ok(place := sleeps_in(thread)):
                looks += 1
                if (
                    looks % 100 == 0
                ):  # sysmon may have taken its P: then another thread waits there, until the next event
                    loop.call_soon_threadsafe(int)
                time.sleep(0.001)
            slept.append(place)

        until(lambda place: place is not None)
        loop.call_soon_threadsafe(slept.append, None)
        until(lambda place: place is not None and slept[-1] is None)
        reader = threading.Thread(target=lambda: slept.append(len(gort.wait(pipe.read(1)))))
        reader.start()
        until(lambda place: place not in (None, slept[0]) or not in_its_own)
        os.write(w, b"x")
        reader.join()
        loop.call_soon_threadsafe(done)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, gort.aio.Loop)
        here, there = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)  # it waits for a descriptor
        done = loop.create_future()
        args = (threading.get_native_id(), loop, lambda: done.set_result(None))
        looks = threading.Thread(target=look, args=args)
        looks.start()
        await done
        looks.join()
        transport.close()
        there.close()
        return loop._own.fileno()

    own = asyncio_run(main())
    pipe.shut()
    os.close(w)
    first, none, again, elsewhere, read = slept
    assert none is None
    assert read == 1
    if in_its_own:
        assert first == again == own != elsewhere
    else:
        assert own not in (first, again, elsewhere)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what an epoll watches")
def test_a_child_leaves_the_epoll_of_its_parents_loop_alone() -> None:
    """Parent and child have the same one: what a child that leaves the loop takes out of it would not wake the parent's
    thread any more."""
    code = """
        import asyncio, os, sys, gort.aio
        from pathlib import Path
        def watched(loop):
            lines = Path(f"/proc/self/fdinfo/{loop._own.fileno()}").read_text().splitlines()
            return sorted(line.split()[1] for line in lines if line.startswith("tfd"))
        async def main():
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.001)  # it has slept in its epoll
            before = watched(loop)
            pid = os.fork()
            if pid == 0:
                sys.exit()
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            print(watched(loop) == before)
        parent = os.getpid()
        with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
            try:
                runner.run(main())
            finally:
                if os.getpid() != parent:
                    os._exit(7)
    """
    done = python("import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(code))
    assert done.stdout == "True\n", done.stderr


def test_what_wakes_the_poller_wakes_no_loop() -> None:
    """A thread outside the runtime wakes goroutines, and a loop that waits for a descriptor goes on waiting."""
    rounds = 50

    class Counting(gort.aio.Loop):
        turns = 0

        def _advance(self, m: Any) -> Any:
            self.turns += 1
            return super()._advance(m)

    async def serve(ready: gort.Chan[Any]) -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
        stop = loop.create_future()
        await ready.send((loop, lambda: loop.call_soon_threadsafe(stop.set_result, None)))
        await stop
        transport.close()
        there.close()

    async def main() -> int:
        ready: gort.Chan[Any] = gort.Chan()
        there: gort.Chan[int] = gort.Chan()
        back: gort.Chan[int] = gort.Chan()
        over: gort.Chan[int] = gort.Chan(1)

        async def echo() -> None:
            async for v in there:
                await back.send(v)

        def outside() -> None:
            for i in range(rounds):
                gort.wait(there.send(i))
                gort.wait(back.recv())
                if i == rounds // 5:  # by now the loop waits
                    before = loop.turns
            gort.wait(over.send(loop.turns - before))

        async with gort.Group() as group:
            group.go(gort.aio.run, serve(ready), loop_factory=Counting)
            loop, stop = await ready.recv()
            gort.go(echo)
            thread = threading.Thread(target=outside)
            thread.start()
            turns = await over.recv()
            thread.join()
            there.close()
            stop()
        return turns

    assert gort.run(main) < rounds // 10
