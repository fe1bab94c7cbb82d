"""Faults of gort.exec that users of other libraries reported, each with the right value."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from netkit import descriptors, go_result

import gort
import gort.exec
from gort.exec import PIPE
from support import lives, parked, settles, until

# A child whose own child holds its pipes and would live on.  It writes that one's number into the file $0.
HOLDER = 'sleep 1000 & echo hi; echo $! > "$0.new"; mv "$0.new" "$0"; '


@pytest.fixture
def grandchild(tmp_path: Path) -> Iterator[Path]:
    """The file for the grandchild's number; whatever it names is killed at the end."""
    file = tmp_path / "pid"
    yield file
    if file.exists():
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.mark.parametrize("group", [False, True])
def test_n4_the_end_of_a_context_does_not_wait_for_grandchildren(run: Any, grandchild: Path, group: bool) -> None:
    async def main() -> None:
        ctx, cancel = gort.context.with_cancel(gort.context.background())
        options = {"process_group": 0} if group else {}

        async def go() -> None:
            await gort.exec.run("sh", "-c", HOLDER + "wait", grandchild, ctx=ctx, **options)

        out = go_result(go)
        await until(grandchild.exists)
        cancel()
        assert isinstance(await out.recv(), gort.context.Canceled)
        pid = int(grandchild.read_text())
        if group:
            assert settles(lambda: not lives(pid))
        else:
            assert lives(pid)

    run(main)


def test_n4_wait_delay_ends_the_wait_for_pipes_that_others_hold(run: Any, grandchild: Path) -> None:
    async def main() -> None:
        with pytest.raises(gort.exec.WaitDelayExceeded, match="another process holds it") as caught:
            await gort.exec.run("sh", "-c", HOLDER, grandchild, wait_delay=0.02)
        assert caught.value.stdout == b"hi\n"
        with pytest.raises(gort.exec.ExitError, match="exit status 3") as failed:
            await gort.exec.run("sh", "-c", "sleep 1000 & echo $!; exit 3", wait_delay=0.02)
        os.kill(int(failed.value.stdout), signal.SIGKILL)
        assert await gort.exec.run("echo", "hi", wait_delay=1000) == (0, b"hi\n", b"")

    run(main)


def test_n4_a_cancellation_kills_the_group(run: Any, grandchild: Path) -> None:
    async def main() -> None:
        async with gort.Group() as g:
            h = g.go(gort.exec.run, "sh", "-c", HOLDER + "wait", grandchild, start_new_session=True)
            await until(grandchild.exists)
            h.cancel()
        assert settles(lambda: not lives(int(grandchild.read_text())))

    run(main)


def test_n4_signals_for_the_group(run: Any, grandchild: Path) -> None:
    async def main() -> None:
        async with await gort.exec.start("sh", "-c", HOLDER + "wait", grandchild, process_group=0, stdout=PIPE) as cmd:
            await until(grandchild.exists)
            assert cmd.terminate(group=True)
            assert await cmd.stdout.read_all() == b"hi\n"  # both have ended
            assert await cmd.wait() == -signal.SIGTERM
            assert not cmd.kill(group=True)
        async with await gort.exec.start("sleep", "1000") as alone:
            with pytest.raises(ValueError, match="process_group=0"):
                alone.kill(group=True)

    run(main)


def test_n4_a_context_that_is_over_starts_nothing(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        ctx, cancel = gort.context.with_cancel(gort.context.background())
        cancel()
        with pytest.raises(gort.context.Canceled):
            await gort.exec.run("touch", tmp_path / "made", ctx=ctx)
        assert not (tmp_path / "made").exists()

    run(main)


def test_n4_a_waiter_gets_the_status_when_another_leaves_the_block(run: Any) -> None:
    async def main() -> None:
        before = descriptors()
        for _ in range(20):
            async with await gort.exec.start("sleep", "1000") as cmd:
                waits = [go_result(cmd.wait) for _ in range(3)]
                await parked(1, "IO wait")
            assert cmd.returncode == -signal.SIGKILL
            assert [await w.recv() for w in waits] == [-signal.SIGKILL] * 3
        await until(lambda: descriptors() <= before + 2)

    run(main)


def test_n4_pipelines(run: Any) -> None:
    async def main() -> None:
        data = b"line\n" * 200_000
        a = await gort.exec.start("cat", stdin=PIPE, stdout=PIPE)
        b = await gort.exec.start("cat", stdin=a.stdout, stdout=PIPE)
        c = await gort.exec.start("wc", "-l", stdin=b.stdout, stdout=PIPE)
        async with a, b, c:
            assert a.stdout.closed
            assert a.stdout.fileno() == -1
            await a.stdin.write(data)
            a.stdin.close()
            assert int(await c.stdout.read_all()) == 200_000
            assert [await cmd.wait() for cmd in (a, b, c)] == [0, 0, 0]
        # The last one ends early: the first one gets SIGPIPE, because this program holds no end of the pipe any more.
        a = await gort.exec.start("yes", stdout=PIPE)
        b = await gort.exec.start("head", "-n", "1", stdin=a.stdout, stdout=PIPE)
        async with a, b:
            assert await b.stdout.read_all() == b"y\n"
            assert await a.wait() == -signal.SIGPIPE

    run(main)


def test_n4_a_connection_moves_to_a_child(run: Any) -> None:
    async def main() -> None:
        from netkit import pair

        async with pair() as (a, b):
            async with await gort.exec.start("cat", stdin=b, stdout=PIPE) as cmd:
                assert b.closed
                assert await a.write(b"to the child") is None
                a.close_write()
                assert await cmd.stdout.read_all() == b"to the child"
                assert await cmd.wait() == 0

    run(main)


def test_n4_a_start_that_fails_leaves_no_descriptor(run: Any) -> None:
    async def main() -> None:
        before = descriptors()
        async with await gort.exec.start("yes", stdout=PIPE) as a:
            with pytest.raises(FileNotFoundError):
                await gort.exec.start("/no/such/program", stdin=a.stdout, stdout=PIPE, stderr=PIPE)
            assert await a.wait() == -signal.SIGPIPE
        async with await gort.exec.start("cat", stdin=PIPE, stdout=PIPE) as busy:
            out = go_result(busy.stdout.read)
            await parked(1, "IO wait")
            with pytest.raises(RuntimeError, match="a goroutine uses"):
                await gort.exec.start("cat", stdin=busy.stdout, stdout=PIPE)
            await busy.stdin.write(b"x")
            assert await out.recv() == b"x"
        await until(lambda: descriptors() <= before + 2)

    run(main)


def test_n4_text_and_the_type_of_the_input(run1: Any) -> None:
    async def main() -> None:
        assert await gort.exec.output("cat", input="äöü\n", text=True, encoding="utf-8") == "äöü\n"
        assert await gort.exec.output("printf", "a\\r\\nb\\r", text=True) == "a\nb\n"
        assert await gort.exec.run("cat", input="ä", encoding="latin-1") == (0, "ä", "")
        assert await gort.exec.output("printf", "\\377", encoding="ascii", errors="replace") == "\ufffd"
        with pytest.raises(UnicodeDecodeError):
            await gort.exec.output("printf", "\\377", encoding="utf-8")
        with pytest.raises(gort.exec.ExitError, match="exit status 1: no") as failed:
            await gort.exec.run("sh", "-c", "echo no >&2; exit 1", text=True)
        assert failed.value.stderr == "no\n"
        for wrong, options in (("str", {}), (b"bytes", {"text": True}), (3, {})):
            with pytest.raises(TypeError, match="input takes"):
                await gort.exec.run("cat", input=wrong, **options)
        for name in ("text", "universal_newlines", "encoding", "errors"):
            with pytest.raises(TypeError, match="run and output take"):
                await gort.exec.start("cat", **{name: "utf-8"})
        async with await gort.exec.start("cat", stdin=PIPE, stdout=PIPE) as cmd:
            with pytest.raises(TypeError, match="input takes"):
                await cmd.communicate("str")

    run1(main)


def test_n6_a_status_that_the_system_has_not_kept_is_no_success(run: Any) -> None:
    async def main() -> None:
        gort.signal.ignore(signal.SIGCHLD)
        try:
            for program in ("false", "true"):
                with pytest.raises(ChildProcessError, match=f"wait for {program}: no child process") as caught:
                    await gort.exec.run(program)
                assert caught.value.errno == errno.ECHILD
            async with await gort.exec.start("false") as cmd:
                for _ in range(2):
                    with pytest.raises(ChildProcessError):
                        await cmd.wait()
                assert (cmd.done, cmd.returncode, cmd.kill()) == (True, None, False)
            async with await gort.exec.start("sleep", "1000") as cmd:
                pass
            assert cmd.done
        finally:
            gort.signal.reset(signal.SIGCHLD)
        with pytest.raises(gort.exec.ExitError):
            await gort.exec.run("false")

    run(main)


@pytest.mark.parametrize("ignored", [False, True])
def test_n6_without_pidfd_a_thread_waits(run: Any, monkeypatch: Any, ignored: bool) -> None:
    def pidfd_open(_pid: int, _flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "no pidfd here")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)

    async def main() -> None:
        if ignored:
            gort.signal.ignore(signal.SIGCHLD)
            try:
                with pytest.raises(ChildProcessError):
                    await gort.exec.run("true")
            finally:
                gort.signal.reset(signal.SIGCHLD)
            return
        assert await gort.exec.output("echo", "hi") == b"hi\n"
        status, _, _ = await gort.exec.run("false", check=False)
        assert status == 1
        async with await gort.exec.start("sleep", "1000") as cmd:
            async with gort.Group() as g:  # a cancelled wait is let go
                h = g.go(cmd.wait)
                await parked(1, "chan receive")
                h.cancel()
            assert isinstance(h.exception(), gort.Cancelled)
            assert cmd.kill()
            assert await cmd.wait() == -signal.SIGKILL

    run(main)


# A program that says in the file "$0" that it is ready, and ends with the status "$1" when it is told to.
OBEDIENT = 'trap "exit $1" TERM; : > "$0"; while :; do sleep 0.01; done'


async def cancelled_run(file: Path, status: int, cancel: Any, script: str = OBEDIENT, **options: Any) -> Any:
    """Runs a program, and ends its context once it is ready; what run gives or raises."""
    ctx, end = gort.context.with_cancel(gort.context.background())

    async def go() -> Any:
        return await gort.exec.run("sh", "-c", script, file, str(status), ctx=ctx, cancel=cancel, **options)

    out = go_result(go)
    await until(file.exists)
    end()
    result = await out.recv()
    file.unlink()
    return result


def test_cancel_asks_in_the_place_of_the_kill(run: Any, tmp_path: Path) -> None:
    """What real Go does is in tests/fidelity; here is what Python adds."""
    file = tmp_path / "ready"
    called: list[Any] = []

    async def ask(cmd: Any) -> None:
        called.append(cmd)
        await gort.sleep(0)
        cmd.terminate()

    def fail(cmd: Any) -> None:
        cmd.terminate()
        raise ValueError("no such thing")

    async def main() -> None:
        assert isinstance(await cancelled_run(file, 0, gort.exec.Cmd.terminate), gort.context.Canceled)
        assert isinstance(await cancelled_run(file, 0, ask), gort.context.Canceled)
        assert [type(cmd) for cmd in called] == [gort.exec.Cmd]
        failed = await cancelled_run(file, 3, ask)
        assert isinstance(failed, gort.exec.ExitError)
        assert failed.returncode == 3
        assert isinstance(failed.__cause__, gort.context.Canceled)
        assert await cancelled_run(file, 3, ask, check=False) == (3, b"", b"")
        for status in (0, 3):
            result = await cancelled_run(file, status, fail, check=False)
            assert isinstance(result, ValueError)
        failed = await cancelled_run(file, 3, fail)
        assert isinstance(failed, gort.exec.ExitError)
        assert isinstance(failed.__cause__, ValueError)
        with pytest.raises(TypeError, match="cancel is a function of the Cmd"):
            await gort.exec.run("true", cancel="terminate")  # type: ignore[call-overload]

    run(main)


@pytest.mark.parametrize("cancel", [None, lambda cmd: None, lambda cmd: gort.sleep(1000)])
def test_who_takes_no_notice_is_killed_after_wait_delay(run: Any, grandchild: Path, cancel: Any) -> None:
    """With the group that it leads, and even while cancel itself waits for something."""
    stubborn = "trap '' TERM; " + HOLDER + "wait"

    async def main() -> None:
        ctx, end = gort.context.with_cancel(gort.context.background())

        async def go() -> Any:
            options: dict[str, Any] = {"ctx": ctx, "cancel": cancel, "wait_delay": 0.05, "process_group": 0}
            return await gort.exec.run("sh", "-c", stubborn, grandchild, **options)

        out = go_result(go)
        await until(grandchild.exists)
        end()
        assert isinstance(await out.recv(), gort.context.Canceled)
        assert settles(lambda: not lives(int(grandchild.read_text())))

    run(main)


def test_cancel_may_end_the_input(run: Any, tmp_path: Path) -> None:
    """The program is stopped while its input is being written; then it reads what is there, and ends well."""

    async def end_input(cmd: Any) -> None:
        await until(lambda: Path(f"/proc/{cmd.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        cmd.stdin.close()
        cmd.signal(signal.SIGCONT)

    async def main() -> None:
        script = ': > "$0"; kill -STOP $$; cat > /dev/null'
        file = tmp_path / "ready"
        assert isinstance(
            await cancelled_run(file, 0, end_input, script, input=b"x" * (1 << 20)), gort.context.Canceled
        )

    run(main)
