"""The part of the pytest plugin that runs tests and fixtures.  gort_pytest.py has the options, and loads this.

pytest runs as a plain function in the main goroutine of a runtime (Host), on the thread that it had before.  There it
counts as a thread outside, so that what it calls may use gort.run too.  An async fixture or a test is a goroutine of that
runtime; pytest waits for it as gort.wait does, so a deadlock is found.

A runtime for each test: it begins before the test's fixtures and ends after them.  Where tests have async fixtures of a
wider scope, one more runtime is there for all those tests, from the first test to the last.  An async fixture has one
goroutine from its beginning to its end, so a group or a timeout may span its `yield`.

sysmon keeps the time limit of a test, since everything else may hang: when it is over, sysmon writes the dump and cancels
the test, and a second later the wait for it.

Rejected: a thread for the runtime (it would not be the main thread, and pytest's thread would hide each deadlock);
fixtures that are begun within the test (a plain fixture could not ask for the value of an async one).
"""

from __future__ import annotations

import inspect
import threading
from _collections_abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from _pytest.fixtures import resolve_fixture_function
from _pytest.runner import runtestprotocol

import gort
from gort._runtime.boot import main
from gort._runtime.core import handoff, newosproc, runtime2, traceback, tracing
from gort._runtime.core import seed as drawing
from gort._runtime.core.errors import Cancelled, Goexit
from gort._runtime.watch import signals
from gort.testing import clock
from gort.testing.bubble import make_bubble
from gort_pytest import is_async, is_ours

GRACE_NS = 1_000_000_000  # the time that a cancelled test has to end
MARK = ("timeout", "procs", "leaks", "seed", "virtual")


class OutOfTime(Cancelled):
    """Raised in a test whose time is over."""


class Host:
    """A runtime in which pytest runs, as a plain function."""

    def __init__(self) -> None:
        self.s: Any = None
        self.m: Any = None
        self.over: bool = False  # pytest has left it
        self.told: bool = False  # the error that has ended the runtime has been raised in a test
        self.fixtures: set[int] = set()  # the numbers of the goroutines of fixtures

    def run(self, fn: Callable[[], Any], procs: int | None, seed: int | None, virtual: bool) -> Any:
        """Boots the runtime, calls fn in it, and returns what that returns."""

        def prepare(s: Any) -> None:
            self.s = s
            s.hosting = True
            s.external = Outside(s)
            if seed is not None:
                drawing.reseed(s, seed)
                if s.gomaxprocs == 1:  # as with GODEBUG=seed
                    s.hooks |= tracing.HOOK_SEED
                    drawing.begin(s)
            if virtual:
                make_bubble(s)

        async def pytest_runs() -> Any:
            return await gort.blocking(inside)

        def inside() -> Any:
            self.m = runtime2.current_m()
            runtime2.bind_thread(None)
            try:
                return fn()
            finally:
                self.over = True
                runtime2.bind_thread(self.m)

        try:
            if not virtual:
                return main.start(pytest_runs, (), procs, None, prepare)
            with clock.redirected():
                return main.start(pytest_runs, (), procs, None, prepare)
        except (gort.Deadlock, gort.Panic):
            if not (self.told or self.over):  # a test has failed with it, or it is of goroutines that may be left
                raise

    @contextmanager
    def bound(self) -> Generator[None]:
        """While in it this thread is the main goroutine's again."""
        runtime2.bind_thread(self.m)
        try:
            yield
        finally:
            runtime2.bind_thread(None)

    def wait(self, done: gort.Chan[Any], task: Task) -> None:
        """Waits until the channel is closed.  Fails with the dump if the runtime ends meanwhile."""
        with self.bound():
            try:
                gort.wait(done.recv_ok())
            except OutOfTime:
                raise
            except RuntimeError:
                if not self.s.exiting:
                    raise
        if not task.ended:
            self.tell()

    def tell(self) -> None:
        """Fails the test with the deadlock or panic that has ended the runtime, unless a test has failed with it."""
        fatal = self.s.fatal
        if self.s.exiting and fatal is not None and not self.told:
            self.told = True
            raise_fatal(self.s, fatal)

    def ended(self) -> bool:
        """True when a deadlock or a panic has ended the runtime."""
        return bool(self.s.exiting)


class Outside:
    """In the place of External: whether something outside the runtime, which was not there when it began, may wake a
    goroutine.  pytest-xdist has threads of its own, which would hide each deadlock."""

    def __init__(self, s: Any) -> None:
        self.s = s
        self.threads: frozenset[int] = frozenset(threading._active)  # type: ignore[attr-defined]
        self.handlers: bool = signals.user_handlers()

    def __call__(self) -> bool:
        s = self.s
        if s.nexternal > 0 or (not self.handlers and signals.user_handlers()):
            return True
        for ident, thread in list(threading._active.items()):  # type: ignore[attr-defined]
            if ident not in self.threads and type(thread) is not newosproc.Thread and ident != s.sysmon.ident:
                return True
        return False


def raise_fatal(s: Any, fatal: BaseException) -> None:
    """Fails the test with the text of a deadlock or a panic."""
    if not isinstance(fatal, (gort.Deadlock, gort.Panic)):
        raise fatal
    text = fatal.dump
    if isinstance(fatal, gort.Deadlock):  # pytest's own goroutine is left out
        text = f"fatal error: {fatal}\n\n{traceback.dump(s, s.maing, group=True)}"
    pytest.fail(text or str(fatal), pytrace=False)


class Task:
    """A goroutine that runs a coroutine for pytest."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.g: Any = None
        self.goid: int = 0
        self.value: Any = None
        self.exc: BaseException | None = None
        self.ended: bool = False

    def start(self, fn: Callable[[Any], Any]) -> gort.Chan[None]:
        """Starts a goroutine that runs `await fn(self)`, and returns a channel that is closed when it has ended."""
        if self.host.ended():
            self.host.tell()
            pytest.fail(
                "gort's runtime has ended in an earlier test, and this test has an async fixture that lived in it"
            )
        with self.host.bound():
            done: gort.Chan[None] = gort.Chan()
            gort.go(self._run, fn, done)
        return done

    async def _run(self, fn: Callable[[Any], Any], done: gort.Chan[None]) -> None:
        self.g = runtime2.current_m().curg
        self.goid = self.g.goid
        try:
            self.value = await fn(self)
        except Goexit:
            raise
        except BaseException as e:
            self.exc = e
        finally:
            self.ended = True
            done.close()

    def result(self) -> Any:
        """What the coroutine has returned; raises what it has raised."""
        exc, self.exc = self.exc, None
        if exc is not None:
            try:
                raise exc
            finally:
                del exc
        return self.value


class Fixture(Task):
    """An async generator that is a fixture: one goroutine from the first value to the end."""

    def __init__(self, host: Host, generator: Any) -> None:
        super().__init__(host)
        self.generator: Any = generator
        self.yielded: Any = None

    def begin(self) -> Any:
        """The value that it yields."""
        with self.host.bound():
            self.there: gort.Chan[None] = gort.Chan()
            self.leave: gort.Chan[None] = gort.Chan()
        self.done: gort.Chan[None] = self.start(Fixture._lives)
        self.host.wait(self.there, self)
        if self.ended:
            self.result()
        self.host.fixtures.add(self.goid)
        return self.yielded

    async def _lives(self) -> Any:
        try:
            self.yielded = await anext(self.generator)
        except StopAsyncIteration:
            raise ValueError("an async fixture did not yield a value") from None
        finally:
            self.there.close()
        await self.leave.recv_ok()
        try:
            await anext(self.generator)
        except StopAsyncIteration:
            return None
        raise ValueError("an async fixture yielded more than one value")

    def finish(self) -> None:
        """Runs what follows its yield."""
        if self.ended or self.host.ended():
            self.host.tell()
            return  # the end of the runtime has closed it
        with self.host.bound():
            self.leave.close()
        self.host.wait(self.done, self)
        self.host.fixtures.discard(self.goid)
        self.result()


class Plugin:
    """The hooks."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.wide: Host | None = None  # for tests with async fixtures of a wider scope
        self.host: Host | None = None  # of the test that runs now

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> object:
        """Runs all tests within a runtime if an async fixture outlives its test."""
        if self.wide is not None or session.config.option.collectonly:
            return None
        if not any(is_ours(item) and has_wide_fixture(item) for item in session.items):
            return None
        self.wide = Host()
        self.wide.run(lambda: session.config.hook.pytest_runtestloop(session=session), None, None, False)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """Runs a test of gort's, with its fixtures, in a runtime."""
        if not is_ours(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)

        def run() -> None:
            runtestprotocol(item, nextitem=nextitem)

        try:
            options = options_of(item)
            if has_wide_fixture(item):
                self.host = self.wide
                run()
            elif self.config.getoption("gort_explore") or self.config.getoption("gort_replay"):
                run()
            else:
                self.host = Host()
                self.host.run(run, options["procs"], options["seed"], options["virtual"])
        finally:
            self.host = None
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Puts a plain function in the place of an async fixture of a test of gort's, while pytest sets it up."""
        real: Any = fixturedef.func
        generates = inspect.isasyncgenfunction(real)
        host = self.host
        if host is None or not (generates or is_async(real)) or getattr(real, "_force_asyncio_fixture", False):
            return (yield)
        fn: Any = resolve_fixture_function(fixturedef, request)

        def generator(**kwargs: Any) -> Generator[Any]:
            fixture = Fixture(host, fn(**kwargs))
            yield fixture.begin()
            fixture.finish()

        def function(**kwargs: Any) -> Any:
            async def call(task: Task) -> Any:
                return await fn(**kwargs)

            task = Task(host)
            host.wait(task.start(call), task)
            return task.result()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fixturedef, "func", generator if generates else function)
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> object:
        """Runs the test function."""
        if not is_ours(pyfuncitem) or not is_async(pyfuncitem.obj):
            return None
        kwargs = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        host = self.host
        if host is None:
            self.explore(pyfuncitem, kwargs)
            return True
        options = options_of(pyfuncitem)
        problem: list[str] = []
        task = Task(host)

        async def call(task: Task) -> Any:
            before = {g.goid for g in list(host.s.allgs)}
            try:
                await pyfuncitem.obj(**kwargs)
            finally:
                cancel_alarm(host.s)
            if not options["leaks"]:
                problem.extend(await left(host, before))

        def late() -> None:
            if task.ended:
                return
            if not problem:
                problem.append(
                    f"not over after {options['timeout']:g} s\n\n{traceback.dump(host.s, host.s.maing, group=True)}"
                )
                handoff.cancel(task.g, task.goid, OutOfTime())
                host.s.alarm = (runtime2.clock() + GRACE_NS, late)
            else:
                handoff.cancel(host.s.maing, host.s.maingoid, OutOfTime())

        done = task.start(call)
        if options["timeout"]:
            host.s.alarm = (runtime2.clock() + int(options["timeout"] * 1e9), late)
        try:
            host.wait(done, task)
            value_or_error(task, bool(problem))
        except OutOfTime:
            pass
        finally:
            cancel_alarm(host.s)
        if problem:
            pytest.fail(problem[0], pytrace=False)
        return True

    def explore(self, item: pytest.Function, kwargs: dict[str, Any]) -> None:
        """Runs the test function under many orders of its goroutines, or under the one that was asked for."""
        import gort.testing

        kit: Any = gort.testing

        async def test() -> None:
            await item.obj(**kwargs)

        leaks = options_of(item)["leaks"]
        token = self.config.getoption("gort_replay")
        if token:
            kit.replay(token, test, leaks=leaks)
        else:
            kit.explore(test, schedules=self.config.getoption("gort_explore"), leaks=leaks)


def value_or_error(task: Task, late: bool) -> None:
    """Raises what the test has raised, but not the cancellation of one whose time was over."""
    try:
        task.result()
    except Cancelled:
        if not late:
            raise


def cancel_alarm(s: Any) -> None:
    """The test has ended in time."""
    s.alarm = None


async def left(host: Host, before: set[int]) -> list[str]:
    """The text for goroutines that a test has left waiting; an empty list if there are none.

    Those that can still run may end first.  A goroutine that one of a fixture has started is the fixture's."""
    s, me = host.s, runtime2.current_m().curg
    end = runtime2.clock() + GRACE_NS
    while True:
        theirs = before | host.fixtures
        found = []
        for g in list(s.allgs):
            if g is me or g.system or g.goid == 0 or g.status in (runtime2._Gdead, runtime2._Gidle):
                continue
            if g.goid in theirs or g.parentgoid in host.fixtures:
                theirs.add(g.goid)
                continue
            found.append(g)
        if not found:
            return []
        if all(g.status == runtime2._Gwaiting for g in found) or runtime2.clock() > end:
            break
        await gort.gosched()
    frames = traceback.stacks(found)
    text = "\n".join(traceback.goroutine(g, stack) for g, stack in zip(found, frames, strict=True))
    for g in found:
        handoff.cancel(g, g.goid, Cancelled())  # a runtime that goes on must not keep what one test has left
    count = f"{len(found)} goroutines are" if len(found) > 1 else "a goroutine is"
    return [f"{count} left when the test has ended (mark.gort(leaks=True) allows it)\n\n{text}"]


def options_of(item: pytest.Item) -> dict[str, Any]:
    """The mark's arguments, and what holds where it does not say."""
    found: dict[str, Any] = {"procs": None, "leaks": False, "seed": None, "virtual": False}
    found["timeout"] = float(item.config.getini("gort_timeout"))
    for mark in reversed(list(item.iter_markers("gort"))):
        if mark.args or not set(mark.kwargs) <= set(MARK):
            raise pytest.UsageError(f"{item.nodeid}: mark.gort takes {', '.join(f'{name}=' for name in MARK)}")
        found.update(mark.kwargs)
    if wrong := mistake(found):
        raise pytest.UsageError(f"{item.nodeid}: {wrong}")
    if found["virtual"] and found["procs"] is None:
        found["procs"] = 1
    return found


def mistake(options: dict[str, Any]) -> str:
    """What is wrong with the values of the mark's arguments; "" if nothing is."""
    for name, least, most in (("procs", 1, 1 << 31), ("seed", 1, 1 << 63)):
        value = options[name]
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{name}= of mark.gort is an int, not {value!r}"
        if not least <= value < most:
            return f"{name}= of mark.gort must be at least {least} and below {most}, not {value}"
    timeout = options["timeout"]
    if timeout is None:
        options["timeout"] = 0.0
    elif isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout < 1e9:
        return f"timeout= of mark.gort is a number of seconds from 0 to 1e9, not {timeout!r}"
    return ""


def has_wide_fixture(item: pytest.Item) -> bool:
    """True if the test has an async fixture that outlives it."""
    for definitions in item._fixtureinfo.name2fixturedefs.values():  # type: ignore[attr-defined]
        for each in definitions:
            if each.scope != "function" and (is_async(each.func) or inspect.isasyncgenfunction(each.func)):
                return True
    return False
