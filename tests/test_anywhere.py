"""gort where things are missing that Linux has: the calls of signals and threads, /proc, epoll.

Each program runs in a process of its own, which takes them away before it imports gort. The poller on poll and select has
the rest of its tests in `make test-anywhere`: those of gort.net, gort.exec and gort.aio, with GODEBUG=netpoll=poll.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gort.runtime
from support import PATIENCE_S, ROOT, environment, program

# What only some systems have, taken away before gort is imported. NOTHING is what a system has that is none of Linux,
# with Python's own word for it; ctypes has to say no too, for there is no pthread_getattr_np.
NOTHING = """
import builtins, os, select, signal, sys, time, _signal

def take(where, *names):
    for name in names:
        if hasattr(where, name):
            delattr(where, name)

for module in (signal, _signal):
    take(module, "pthread_kill", "pthread_sigmask", "sigwait", "sigtimedwait", "siginterrupt", "pidfd_send_signal")
take(os, "sysconf", "sched_getaffinity", "sched_yield", "pidfd_open", "eventfd", "eventfd_read", "eventfd_write",
     "copy_file_range", "splice", "memfd_create", "uname")
take(time, "pthread_getcpuclockid")
take(select, "epoll")
sys.platform = "other"

def no_proc(call):
    def wrapper(path, *args, **kwargs):
        if isinstance(path, str) and path.startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "there is none here", path)
        return call(path, *args, **kwargs)
    return wrapper

builtins.open, os.open, os.listdir, os.stat = map(no_proc, (builtins.open, os.open, os.listdir, os.stat))
"""


# One connection, and what comes over it.
LOUDER = """
async def says_it_louder():
    ln = await gort.net.listen("tcp", "127.0.0.1:0")

    async def serve():
        async with await ln.accept() as conn:
            await conn.write((await conn.read()).upper())

    gort.go(serve)
    async with await gort.net.dial("tcp", str(ln.addr)) as conn:
        await conn.write(b"hello")
        print((await conn.read()).decode())
    ln.close()
"""


def bare(text: str, **env: str | None) -> subprocess.CompletedProcess[str]:
    """Runs a program where all that is missing."""
    code = NOTHING + "import gort\n" + textwrap.dedent(text)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, env=environment(**env)
    )


def good(done: subprocess.CompletedProcess[str], *lines: str) -> None:
    """The program has printed these lines, and nothing to stderr."""
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, list(lines), "")


@pytest.mark.parametrize("procs", ["1", "4"])
def test_channels_sync_groups_and_contexts(procs: str) -> None:
    done = bare(
        """
        import threading, time

        async def main():
            ch, mu, total = gort.Chan(2), gort.sync.Mutex(), []

            async def sends(n):
                for i in range(50):
                    await ch.send(n * i)

            async def receives():
                async for value in ch:
                    async with mu:
                        total.append(value)

            async with gort.Group() as receivers:
                for _ in range(3):
                    receivers.go(receives)
                async with gort.Group() as senders:
                    for n in range(4):
                        senders.go(sends, n)
                ch.close()
            print(sum(total))
            ctx, cancel = gort.context.with_timeout(gort.context.background(), 0.001)
            await ctx.done().recv_ok()
            print(ctx.err())
            cancel()
            with gort.move_on_after(0.001) as scope:
                await gort.sleep(3600)
            print(scope.cancelled_caught)
            print(await gort.blocking(threading.get_ident) > 0)
            ticks = []

            async def tick():
                while not over:
                    ticks.append(1)
                    await gort.gosched()

            over = []
            async with gort.Group() as group:
                group.go(tick)
                time.sleep(0.2)  # a call that blocks its thread: sysmon takes the P
                over.append(1)
            print(len(ticks) > 0)

        gort.run(main)
        """,
        GOMAXPROCS=procs,
    )
    good(
        done, str(sum(n * i for n in range(4) for i in range(50))), "context deadline exceeded", "True", "True", "True"
    )


def test_errors_of_programs() -> None:
    """A deadlock and a panic are told as ever."""
    done = bare("async def main():\n    await gort.Chan().recv()\ngort.run(main)")
    assert done.returncode != 0
    assert "all goroutines are asleep - deadlock!" in done.stderr
    done = bare(
        "async def main():\n    gort.go(fails)\n    await gort.sleep(60)\nasync def fails():\n    1 / 0\ngort.run(main)"
    )
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr


def test_the_network_files_and_processes() -> None:
    done = bare(
        LOUDER
        + textwrap.dedent("""
        import os, tempfile

        async def main():
            await says_it_louder()
            print((await gort.exec.output("echo", "a child")).decode().strip())
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "file")
                await gort.os.write_file(path, b"bytes")
                await gort.os.copy(path, path + "2")
                print((await gort.os.read_file(path + "2")).decode())

        gort.run(main)
        """)
    )
    good(done, "HELLO", "a child", "bytes")


def test_what_is_linux_only_says_so_in_one_line() -> None:
    done = bare("""
        for use in (lambda: gort.aio, lambda: gort.debug.start_cpu_profile("/dev/null")):
            try:
                use().run
            except (ImportError, RuntimeError) as e:
                print(type(e).__name__, str(e))
        """)
    good(
        done,
        "ImportError gort.aio needs epoll, whose descriptor gort's poller watches for a loop, and so Linux",
        "RuntimeError start_cpu_profile: only Linux tells the CPU time of threads",
    )


def test_ctrl_c_without_pthread_kill() -> None:
    """The main thread waits in the scheduler; the signal ends the program."""
    code = NOTHING + textwrap.dedent("""
        import gort

        async def main():
            print("begun", flush=True)
            await gort.sleep(3600)

        gort.run(main)
        """)
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in told


def test_an_interpreter_with_the_fewest_modules() -> None:
    """CPython that was built where there were no headers of libffi, OpenSSL, zlib and others."""
    done = program(
        LOUDER
        + textwrap.dedent("""
        for name in ("_ctypes", "_ssl", "zlib", "_bz2", "_lzma", "_sqlite3", "readline", "_curses", "_uuid"):
            sys.modules[name] = None

        async def main():
            usr1, asked = gort.Chan(1), gort.Chan(1)
            gort.signal.notify(usr1, signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR1)
            print((await usr1.recv()).name)
            gort.go(asked.send, await gort.blocking(len, "abc"))
            print(await asked.recv())
            await says_it_louder()
            async with gort.Group() as group:  # sysmon looks what the thread does that blocks
                ticks = group.go(tick)
                time.sleep(0.1)
            print(ticks.result())

        async def tick():
            await gort.gosched()
            return "ticked"

        import signal
        gort.run(main)
        """)
    )
    good(done, "SIGUSR1", "3", "HELLO", "ticked")


# ---- the poller on poll and select ------------------------------------------------------------------------------------

WHICH = """
from gort._runtime.core import runtime2
def poller():
    return type(runtime2.current_m().sched.netpoll).__name__
"""


@pytest.mark.parametrize(
    ("setting", "kind"), [("epoll", "Netpoll"), ("poll", "Levelpoll"), ("select", "Levelpoll"), ("7", "Netpoll")]
)
def test_the_setting(setting: str, kind: str) -> None:
    done = program(
        WHICH
        + textwrap.dedent("""
        async def main():
            ln = await gort.net.listen("tcp", "127.0.0.1:0")
            async with gort.Group() as group:
                waiter = group.go(ln.accept)
                while poller() == "NoneType":  # the first operation that waits makes it
                    await gort.sleep(0.001)
                waiter.cancel()
            print(poller())
            ln.close()
        gort.run(main)
        """),
        GODEBUG=f"netpoll={setting},lockrank=1",
    )
    good(done, kind)


@pytest.mark.parametrize("how", ["poll", "select"])
def test_an_operation_that_comes_while_a_thread_sleeps_in_the_call(how: str) -> None:
    """The call does not ask for that descriptor, so the sleep must be ended; and so it must be where a descriptor is
    closed: the kernel keeps it open until the call returns, and the peer would not learn of it. Both come from a thread
    that is none of the scheduler's, while no timer ends the sleep."""
    done = program(
        """
        import socket
        from gort._runtime.core import runtime2

        def outside(a, b, asleep, told):
            while not asleep.npolling:
                time.sleep(0.001)
            time.sleep(0.05)  # from npolling to the call
            threading.Thread(target=lambda: (time.sleep(0.1), b.send(b"x"))).start()
            told.append(gort.wait(a.read()))
            threading.Thread(target=lambda: (time.sleep(0.1), a.close())).start()
            try:
                gort.wait(a.read())
            except gort.net.Closed:
                told.append(b.recv(1))

        async def main():
            ours, theirs = socket.socketpair()
            conn, told, over = gort.net.from_socket(ours), [], gort.Chan()
            keeps, peer = map(gort.net.from_socket, socket.socketpair())

            async def holds():
                try:
                    await keeps.read()
                except gort.net.Closed:
                    pass

            gort.go(holds)  # the poller has something to wait for
            s = runtime2.current_m().sched
            thread = threading.Thread(target=lambda: (outside(conn, theirs, s, told), over.close()))
            thread.start()
            await over.recv_ok()
            thread.join()
            print(told)
            keeps.close(), peer.close(), theirs.close()

        gort.run(main)
        """,
        GODEBUG=f"netpoll={how},lockrank=1",
    )
    good(done, "[b'x', b'']")


def test_a_side_that_is_ready_but_whose_operation_waits_for_something_else_does_not_spin() -> None:
    """A socket can be written all the time, while the operation waits for another part of a file."""
    done = program(
        """
        import socket

        async def main():
            a, b = socket.socketpair()
            conn, asked, ready = gort.net.from_socket(a), [], []

            def send():
                asked.append(1)
                if not ready:
                    raise BlockingIOError

            with gort.move_on_after(0.3):
                await conn.call_op(send, True)
            print(0 < len(asked) < 1000)
            ready.append(1)
            await conn.call_op(send, True)
            conn.close()
            b.close()

        gort.run(main)
        """,
        GODEBUG="netpoll=poll,lockrank=1",
    )
    good(done, "True")


@pytest.mark.parametrize("how", ["poll", "select"])
def test_a_file_is_refused_as_epoll_refuses_it(how: str, tmp_path: Path) -> None:
    done = program(
        """
        import os, gort.net.conn
        from gort._runtime.poll.fd import FD

        async def main():
            file = FD(os.open(os.environ["FILE"], os.O_RDONLY))
            try:
                await file.read()
            except PermissionError as e:
                print(e.errno)
            file.shut()

        gort.run(main)
        """,
        GODEBUG=f"netpoll={how},lockrank=1",
        FILE=__file__,
    )
    good(done, "1")


def test_select_says_which_descriptors_it_has_no_room_for() -> None:
    done = program(
        """
        import os, resource, socket
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))

        async def main():
            a, b = socket.socketpair()
            os.dup2(a.fileno(), 1500)
            conn = gort.net.from_socket(socket.socket(fileno=1500))
            try:
                await conn.read()
            except OSError as e:
                print("select has no room for descriptor 1500" in str(e))
            conn.close(), a.close(), b.close()

        gort.run(main)
        """,
        GODEBUG="netpoll=select,lockrank=1",
    )
    good(done, "True")


@pytest.mark.parametrize("how", ["poll", "select"])
def test_a_descriptor_that_was_closed_behind_our_back(how: str) -> None:
    """Its operation learns of the error, and the others go on."""
    done = program(
        """
        import os, socket

        async def main():
            a, b = socket.socketpair()
            c, d = socket.socketpair()
            lost, kept = gort.net.from_socket(a), gort.net.from_socket(c)

            told = []

            async def reads(conn):
                try:
                    told.append(await conn.read())
                except OSError as e:
                    told.append(e.errno)

            async with gort.Group() as group:
                group.go(reads, lost)
                group.go(reads, kept)
                while gort.runtime.stack(all=True).count("[IO wait") < 2:  # else the poller's pipe gets the number
                    await gort.sleep(0.001)
                os.close(lost.fileno())
                d.send(b"x")
            print(b"x" in told, 9 in told)
            os.dup2(b.fileno(), lost.fileno())  # somebody must have the number, for the close below
            lost.close(), kept.close(), b.close(), d.close()

        gort.run(main)
        """,
        GODEBUG=f"netpoll={how},lockrank=1",
    )
    good(done, "True True")


@pytest.mark.once
@pytest.mark.skipif(not gort.runtime.compiled, reason="there is nothing to compile")
def test_the_c_of_the_network_compiles_without_epoll(tmp_path: Path) -> None:
    """As on a system that has neither sys/epoll.h nor sys/eventfd.h: the file must not ask for them."""
    import sysconfig

    headers = ROOT / "src" / "gort" / "_runtime" / "c"
    (tmp_path / "sys").mkdir()
    for name in ("epoll", "eventfd"):
        (tmp_path / "sys" / f"{name}.h").write_text("#error there is none here\n")
    source = '#include "gort_net.h"\nint gort_probe(void) { return NET_EPOLL + net_epoll_create(); }\n'
    command = [
        "cc", "-fsyntax-only", "-Werror", "-Wall", "-Wno-unused-function", "-DGORT_NO_EPOLL", f"-I{tmp_path}",
        f"-I{headers}", f"-I{sysconfig.get_path('include')}", "-x", "c", "-",
    ]  # fmt: skip
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
