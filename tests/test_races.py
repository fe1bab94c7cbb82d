"""gort.testing.watch: unsynchronised accesses are found in whichever schedule, and synchronised ones never are."""

from __future__ import annotations

import ast
import dataclasses
import gc
import sys
import types
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import gort
from gort import sync, testing
from gort.testing import DataRace, ScheduleFailure, explore, races, watch
from support import GIL, ROOT, dose

Program = Callable[[], Coroutine[Any, Any, Any]]


class Account:
    def __init__(self) -> None:
        self.balance = 0

    def add(self, n: int) -> None:
        self.balance += n


# ---- races ------------------------------------------------------------------------------------------------------------


async def no_lock() -> None:
    account = watch(Account(), "the account")

    async def add() -> None:
        account.add(1)

    async with gort.Group() as group:
        group.go(add)
        group.go(add)


async def lock_of_the_writer_only() -> None:
    account = watch(Account())
    mu = sync.Mutex()

    async def add() -> None:
        async with mu:
            account.add(1)

    async with gort.Group() as group:
        group.go(add)
        await gort.gosched()
        assert account.balance in (0, 1)


async def one_key_of_a_dict() -> None:
    pages = watch({}, "pages")

    async def fetch(n: int) -> None:
        if "/" not in pages:
            pages["/"] = n

    async with gort.Group() as group:
        group.go(fetch, 1)
        group.go(fetch, 2)


async def a_list_is_read_too_early() -> None:
    lines = watch([1])
    begun: gort.Chan[None] = gort.Chan(1)

    async def read() -> None:
        await begun.send(None)
        lines.append(2)

    async with gort.Group() as group:
        group.go(read)
        await begun.recv()
        assert len(lines) in (1, 2)


async def told_before_it_is_written() -> None:
    account = watch(Account())
    done: gort.Chan[None] = gort.Chan()

    async def write() -> None:
        done.close()
        account.balance = 7

    gort.go(write)
    await done.recv_ok()
    assert account.balance in (0, 7)
    await gort.gosched()


async def written_after_the_go_statement() -> None:
    account = watch(Account())
    over: gort.Chan[None] = gort.Chan(1)

    async def read() -> None:
        assert account.balance in (0, 1)
        await over.send(None)

    gort.go(read)
    account.balance = 1
    await over.recv()


RACES = {
    no_lock: "the account.balance",
    lock_of_the_writer_only: "a Account.balance",
    one_key_of_a_dict: "pages",
    a_list_is_read_too_early: "a list",
    told_before_it_is_written: "a Account.balance",
    written_after_the_go_statement: "a Account.balance",
}


@pytest.mark.parametrize("program", RACES, ids=lambda p: p.__name__)
def test_a_race_is_found_and_shown_with_both_places(program: Program) -> None:
    with pytest.raises(ScheduleFailure) as caught:
        explore(program, schedules=50)
    cause = caught.value.__cause__
    assert isinstance(cause, DataRace)
    assert f"data race on {RACES[program]}" in str(cause)
    assert str(cause).count("test_races.py:") == 2
    with pytest.raises(ScheduleFailure) as again:
        testing.replay(caught.value.token, program)
    assert str(again.value.__cause__) == str(cause)


# ---- none -------------------------------------------------------------------------------------------------------------


async def mutex() -> None:
    account = watch(Account())
    mu = sync.Mutex()

    async def add() -> None:
        async with mu:
            account.add(1)
        await mu.lock()
        account.add(1)
        mu.unlock()
        try:
            async with mu:
                account.add(1)
                raise ValueError
        except ValueError:
            pass

    async with gort.Group() as group:
        group.go(add)
        group.go(add)
    assert account.balance == 6


async def channels() -> None:
    """A value is handed on; a full channel of one is a lock; a close tells everybody."""
    account, lines = watch(Account()), watch([0])
    turn: gort.Chan[Account] = gort.Chan()
    token: gort.Chan[None] = gort.Chan(1)
    ready: gort.Chan[None] = gort.Chan()

    async def first() -> None:
        account.add(1)
        await turn.send(account)

    async def second() -> None:
        (await turn.recv()).add(1)
        lines.append(1)
        ready.close()

    async def third() -> None:
        await ready.recv_ok()
        assert len(lines) == 2
        await token.send(None)
        account.add(1)
        await token.recv()

    async with gort.Group() as group:
        for fn in (first, second, third, third):
            group.go(fn)
    assert account.balance == 4


async def wait_group_and_semaphore() -> None:
    account = watch(Account())
    wg, sem = sync.WaitGroup(), sync.Semaphore(1)

    async def add() -> None:
        async with sem:
            account.add(1)

    for _ in range(2):
        wg.go(add)
    await wg.wait()
    assert account.balance == 2


async def condition() -> None:
    account = watch(Account())
    cond = sync.Cond(sync.Mutex())

    async def wait() -> None:
        async with cond.mutex:  # type: ignore[union-attr]
            while account.balance == 0:
                await cond.wait()
            account.add(1)

    async def signal() -> None:
        async with cond.mutex:  # type: ignore[union-attr]
            account.add(1)
        cond.signal()

    async with gort.Group() as group:
        group.go(wait)
        group.go(signal)
    assert account.balance == 2


async def readers_and_writers() -> None:
    account = watch(Account())
    rw = sync.RWMutex()

    async def read() -> None:
        async with rw.reader():
            assert account.balance in (0, 1)

    async def write() -> None:
        async with rw:
            account.add(1)

    async with gort.Group() as group:
        for fn in (read, write, read):
            group.go(fn)


async def results_selects_and_timers() -> None:
    account, pages = watch(Account()), watch({"/": 0})
    over: gort.Chan[None] = gort.Chan()

    async def work() -> None:
        account.add(1)

    def late() -> None:
        pages["/"] += 1
        over.close()

    async with gort.Group() as group:
        handle = group.go(work)
        await handle
        assert account.balance == 1
    pages["/"] = 1
    gort.after_func(1, late)
    await gort.select(over.recv_ok(), gort.sleep(5))
    assert pages["/"] == 2


async def cancellations() -> None:
    account = watch(Account())
    ctx, cancel = gort.context.with_cancel(gort.context.background())

    async def wait() -> None:
        await ctx.done().recv_ok()
        account.add(1)

    async with gort.Group() as group:
        group.go(wait)
        account.add(1)
        cancel()
    assert account.balance == 2


RIGHT = [
    mutex, channels, wait_group_and_semaphore, condition, readers_and_writers, results_selects_and_timers, cancellations,
]  # fmt: skip


@pytest.mark.parametrize("program", RIGHT, ids=lambda p: p.__name__)
def test_what_is_synchronised_is_no_race_in_any_schedule(program: Program) -> None:
    explore(program, schedules=dose(1500))


class Watching(ast.NodeTransformer):
    """Watches every list and dict that a program makes by [] or {}."""

    def watched(self, node: Any) -> Any:
        self.generic_visit(node)
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return ast.Call(ast.Name("watch", ast.Load()), [node], [])
        return node

    visit_List = visit_Dict = visit_ListComp = visit_DictComp = watched

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return node  # list[int], in an annotation

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        node.value = self.visit(node.value) if node.value is not None else None
        return node


def example(name: str) -> Any:
    """The module of an example, with all that it makes watched."""
    file = ROOT / "examples" / f"{name}.py"
    tree = ast.fix_missing_locations(Watching().visit(ast.parse(file.read_text())))
    module = types.ModuleType(name)
    module.__dict__["watch"] = watch
    exec(compile(tree, str(file), "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("sieve", lambda module: module.primes(3)),
        ("worker_pool", lambda module: module.run_pool(2, 3, 10.0)),
        ("fanin", lambda module: module.main()),
    ],
)
def test_the_examples_have_no_races(
    name: str, run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example(name)
    monkeypatch.setattr(sys, "argv", [name, "0.03"])
    used: list[Any] = []
    access = races.Races.access

    def counted(self: Any, *args: Any) -> None:  # one frame more: only the text of a report would differ
        used.append(args)
        access(self, *args)

    monkeypatch.setattr(races.Races, "access", counted)

    async def program() -> None:
        await run(module)

    explore(program, schedules=dose(150), leaks=name == "sieve")
    assert used  # else nothing was watched


# ---- what may be watched ----------------------------------------------------------------------------------------------


def test_outside_of_schedules_it_does_nothing() -> None:
    pages: dict[str, int] = {}
    assert watch(pages) is pages
    account = Account()
    assert type(watch(account)) is Account


@pytest.mark.parametrize("wrong", [1, "text", (), object(), Account, len])
def test_what_cannot_be_watched_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"gort\.testing\.watch takes"):
        watch(wrong)


def test_what_a_once_has_done_is_no_race() -> None:
    async def main() -> None:
        pages = watch({})
        once = sync.Once()

        async def fill() -> None:
            pages["/"] = 1
            await gort.gosched()

        async def use() -> None:
            await once.do(fill)
            assert pages["/"] == 1

        async with gort.Group() as group:
            group.go(use)
            group.go(use)

    explore(main, schedules=300)


ACCOUNT = Account()


def test_what_outlives_a_schedule_is_as_it_was_and_what_does_not_is_freed() -> None:
    async def main() -> None:
        class Own:
            pass

        async def idle() -> None:
            await gort.gosched()

        assert watch(watch(ACCOUNT)) is ACCOUNT
        watch(Own()).n = 1
        async with gort.Group() as group:
            for _ in range(4):
                group.go(idle)

    explore(main, schedules=60)
    assert type(ACCOUNT) is Account
    gc.collect()
    if GIL:  # 3.13t: once a thread has been started, each class is immortal
        assert len(races.classes) <= 2


def test_a_watched_dataclass_is_equal_to_another() -> None:
    @dataclasses.dataclass
    class Point:
        x: int

    async def main() -> None:
        assert watch(Point(1)) == Point(1)

    explore(main, schedules=2)


def test_what_is_watched_behaves_as_before() -> None:
    async def program() -> None:
        pages = watch({"a": 1})
        lines = watch([3, 1])
        account = watch(Account())
        pages["b"] = 2
        assert pages == {"a": 1, "b": 2}
        assert sorted(pages) == ["a", "b"]
        assert isinstance(pages, dict)
        lines.append(2)
        lines.sort()
        assert lines == [1, 2, 3]
        account.add(2)
        assert account.balance == 2
        assert isinstance(account, Account)
        with pytest.raises(AttributeError):
            _ = account.nothing  # type: ignore[attr-defined]

    assert explore(program).complete
