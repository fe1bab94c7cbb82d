"""gort's pytest plugin, run by pytest on small test files, in processes of their own."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.apart

ONE_EACH = """
import gort, pytest, time
pytestmark = pytest.mark.gort

@pytest.fixture
async def server():
    ch = gort.Chan()

    async def echo():
        async for value, reply in ch:
            await reply.send(value)

    async with gort.Group() as group:  # one goroutine, before and after the yield
        group.go(echo)
        yield ch
        ch.close()

@pytest.fixture
def plain(server):
    return server

@pytest.fixture
async def number():
    await gort.gosched()
    return 7

async def test_passes(plain, number):
    reply = gort.Chan(1)
    await plain.send((number, reply))
    assert await reply.recv() == 7

async def test_fails(number):
    assert number == 8

async def test_deadlock(server):
    await gort.Chan().recv()

async def test_panic():
    async def other():
        raise KeyError("other")

    gort.go(other)
    await gort.sleep(3600)

async def sleeper():
    await gort.sleep(3600)

async def test_left():
    gort.go(sleeper)

@pytest.mark.gort(leaks=True)
async def test_may_leave():
    gort.go(sleeper)

@pytest.mark.gort(timeout=0.05)
async def test_late():
    await gort.sleep(3600)

@pytest.mark.gort(timeout=0.05)
async def test_late_and_blocked():
    time.sleep(3)

@pytest.mark.gort(virtual=True)
async def test_virtual(number):
    start = time.monotonic()
    await gort.sleep(36000)
    assert time.monotonic() - start == 36000

@pytest.mark.gort(procs=3)
async def test_procs():
    assert gort.runtime.gomaxprocs() == 3

@pytest.mark.gort(seed=5, procs=1)
@pytest.mark.parametrize("run", [1, 2])
async def test_seed(run, drawn=[]):
    full = [gort.Chan(1) for _ in range(8)]
    for ch in full:
        ch.try_send(1)
    drawn.append((await gort.select(*[ch.recv() for ch in full]))[0])
    assert len(set(drawn)) == 1

def test_plain_function(number):
    assert number == 7

class TestClass:
    @pytest.fixture
    async def me(self):
        return self

    async def test_method(self, me):
        assert me is self

async def test_skips():
    pytest.skip("no reason")

@pytest.fixture
async def breaks():
    yield 1
    raise KeyError("teardown")

async def test_teardown(breaks):
    pass
"""

WIDE = """
import gort, pytest
log = []

@pytest.fixture(scope="session")
async def server():
    ch = gort.Chan()

    async def handle(value, reply):
        await reply.send(value)

    async def echo():
        async for value, reply in ch:
            gort.go(handle, value, reply)

    async with gort.Group() as group:
        group.go(echo)
        yield ch
        ch.close()
    log.append("closed")

@pytest.fixture(scope="module")
async def client(server):
    async def ask(value):
        reply = gort.Chan()
        await server.send((value, reply))
        return await reply.recv()

    yield ask
    assert await ask("last") == "last"
    print("CLIENT CLOSED")

@pytest.fixture
async def number():
    return 7

@pytest.mark.gort
async def test_one(client, number):
    assert await client(number) == 7

@pytest.mark.gort
async def test_two(client):
    assert await client(2) == 2

def test_not_gorts():
    async def main():
        await gort.sleep(3600)
        return 1

    assert gort.testing.run(main) == 1

@pytest.mark.gort
async def test_of_its_own(number):
    assert number == 7

@pytest.mark.gort
async def test_left(client):
    async def sleeper():
        await gort.sleep(3600)

    gort.go(sleeper)

@pytest.mark.gort
def test_plain_function(client):
    assert callable(client)
"""

DEAD = """
import gort, pytest
pytestmark = pytest.mark.gort

@pytest.fixture(scope="module")
async def ch():
    yield gort.Chan()

async def test_deadlock(ch):
    await ch.recv()

async def test_after(ch):
    pass

async def test_without():
    await gort.gosched()
"""

OTHERS = """
import asyncio, gort, pytest

@pytest.mark.asyncio
async def test_asyncio():
    await asyncio.sleep(0)
    asyncio.get_running_loop()

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_anyio(anyio_backend):
    await asyncio.sleep(0)
    asyncio.get_running_loop()

@pytest.fixture
async def number():
    await gort.gosched()
    yield 7

@pytest.mark.gort
async def test_gort(number):
    await gort.gosched()
    assert number == 7
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
"""


def run(pytester: pytest.Pytester, text: str, *args: str) -> pytest.RunResult:
    """pytest on a file with this text."""
    pytester.makepyfile(text)
    return pytester.runpytest_subprocess("-p", "gort_pytest", "-p", "no:cacheprovider", *args)


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skips a test where a plugin is not installed: they are in the group `plugins`."""
    missing = [name for name in modules if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def alone(*args: str) -> tuple[str, ...]:
    """Without the other plugins."""
    return (*args, *(word for name in ("asyncio", "anyio", "xdist", "pytest_cov") for word in ("-p", f"no:{name}")))


def test_tests_and_fixtures_run_on_gort(pytester: pytest.Pytester) -> None:
    result = run(pytester, ONE_EACH, *alone())
    result.assert_outcomes(passed=9, failed=6, skipped=1, errors=1)
    text = result.stdout.str()
    assert "assert 7 == 8" in text
    for title, dump in (
        ("test_deadlock", "fatal error: all goroutines are asleep - deadlock!*[[]chan receive]:*test_deadlock*"),
        ("test_panic", "panic: KeyError: 'other'*test_panic.other*created by *"),
        ("test_left", "a goroutine is left when the test has ended*[[]sleep]:*sleeper*created by *test_left*"),
        ("test_late", "not over after 0.05 s*[[]sleep]:*test_late*"),
        ("test_late_and_blocked", "not over after 0.05 s*[[]running]:*test_late_and_blocked*"),
    ):
        result.stdout.fnmatch_lines([f"*_ {title} _*", *(f"*{part}*" for part in dump.split("*") if part)])
    assert "_multicall" not in text.partition("test_late_and_blocked ")[0]  # pytest's own goroutine is in no dump
    result.stdout.fnmatch_lines(["*KeyError: 'teardown'*"])

    wrong = run(pytester, "import pytest\n@pytest.mark.gort(nonsense=1)\nasync def test_it():\n    pass\n", *alone())
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["*mark.gort takes timeout=, procs=, leaks=, seed=, virtual=*"])


@pytest.mark.parametrize("wrong", ["procs=0", "procs='2'", "seed=0", "seed='x'", "timeout=-1", "timeout='x'"])
def test_a_wrong_value_in_the_mark_is_told_before_any_test_runs(wrong: str, pytester: pytest.Pytester) -> None:
    text = f"import pytest\n@pytest.mark.gort({wrong})\nasync def test_it():\n    pass\n"
    result = run(pytester, text, *alone())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{wrong.partition('=')[0]}= of mark.gort*"])


BETWEEN = """
import gort, pytest, time
from gort._runtime.boot import main
pytestmark = pytest.mark.gort

@pytest.fixture
async def panics():
    async def other():
        await gort.sleep(0.05)
        raise KeyError("other")

    gort.go(other)
    yield

@pytest.fixture
def slow(panics):
    while any(s.fatal is None for s in main._running):
        time.sleep(0.001)

def test_plain(slow):
    pass

async def test_async(slow):
    pass
"""


def test_a_panic_while_no_async_test_runs_is_told(pytester: pytest.Pytester) -> None:
    """By the first thing of the test that needs the runtime: its body, or the end of the fixture."""
    result = run(pytester, BETWEEN, *alone())
    result.assert_outcomes(passed=1, failed=1, errors=1)
    panic = "panic: KeyError: 'other'"
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_plain*", panic, "* test_async *", panic])


def test_fixtures_of_every_scope(pytester: pytest.Pytester) -> None:
    """They live as long as pytest says, in one runtime; tests without them have runtimes of their own."""
    result = run(pytester, WIDE, *alone("-s"))
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*CLIENT CLOSED*", "*a goroutine is left when the test has ended*"])


def test_a_deadlock_ends_the_fixtures_of_wider_scope(pytester: pytest.Pytester) -> None:
    """The next test that needs one says so; the others go on."""
    result = run(pytester, DEAD, *alone())
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*all goroutines are asleep*", "*gort's runtime has ended in an earlier test*"])


def test_a_run_without_tests_of_gorts_does_not_import_gort(pytester: pytest.Pytester) -> None:
    result = run(pytester, "import sys\ndef test_plain():\n    assert 'gort' not in sys.modules\n", *alone())
    result.assert_outcomes(passed=1)


def test_mode_auto_takes_every_async_test(pytester: pytest.Pytester) -> None:
    text = "import gort\nasync def test_it():\n    await gort.gosched()\n"
    run(pytester, text, *alone("-o", "gort_mode=auto")).assert_outcomes(passed=1)
    assert run(pytester, text, *alone()).ret != 0
    assert run(pytester, text, *alone("-o", "gort_mode=wrong")).ret == pytest.ExitCode.USAGE_ERROR


@needs("pytest_asyncio", "anyio")
@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_beside_pytest_asyncio_and_anyio(mode: str, pytester: pytest.Pytester) -> None:
    settings = ("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function")
    run(pytester, OTHERS, *settings, "-p", "no:xdist").assert_outcomes(passed=3)


@needs("xdist", "pytest_cov")
def test_beside_xdist_and_coverage(pytester: pytest.Pytester) -> None:
    """A deadlock is found beside xdist's threads, and lines that goroutines have run are covered."""
    pytester.makepyfile(test_wide=WIDE, test_dead=DEAD)
    args = ("-n", "2", "--dist=loadfile", "--cov=.", "--cov-report=term-missing", "-p", "no:asyncio", "-p", "no:anyio")
    result = pytester.runpytest_subprocess("-p", "gort_pytest", "-p", "no:cacheprovider", *args)
    result.assert_outcomes(passed=6, failed=3)
    result.stdout.fnmatch_lines(["*all goroutines are asleep*"])
    (line,) = [line for line in result.stdout.lines if line.startswith("test_wide.py")]
    assert line.split()[2] == "0", line


LOST = """
import gort, pytest

@pytest.fixture
def start():
    return 0

@pytest.mark.gort
async def test_counts(start):
    total = start
    gate = gort.Chan(10)

    async def add():
        nonlocal total
        before = total
        await gate.send(None)
        total = before + 1

    async with gort.Group() as group:
        group.go(add)
        group.go(add)
    assert total == 2
"""


def test_explore_and_replay(pytester: pytest.Pytester) -> None:
    """The order that breaks a test is found, and its token repeats it."""
    run(pytester, LOST, *alone("--gort-replay=1:")).assert_outcomes(passed=1)
    found = run(pytester, LOST, *alone("--gort-explore=200"))
    found.assert_outcomes(failed=1)
    (token,) = set(re.findall(r"--gort-replay=(\S+)", found.stdout.str()))
    again = run(pytester, LOST, *alone(f"--gort-replay={token}"))
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*assert 1 == 2*"])
