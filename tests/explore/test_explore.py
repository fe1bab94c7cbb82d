"""Every interleaving that counts: the scheduler's own threads, run in chosen orders, and the mistakes that only one order
shows.

Each scenario runs under DEFAULT schedules with few interruptions, fewest first, as many random ones, and some that can
be interrupted at every line.  Each planted bug must be found within FIND schedules.

GORT_EXPLORE_SCHEDULES=20000   so many schedules per scenario and strategy, instead of DEFAULT
GORT_EXPLORE_SEED=2            other random ones
GORT_EXPLORE_REPLAY=token      repeats one schedule and shows it; nothing else runs
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

import gort
from support import GIL, environment, python, settles

if gort.runtime.compiled:
    pytest.skip("the compiled core's locks are in C: its threads cannot be scheduled", allow_module_level=True)

from explore import control, standins, strategy
from explore.bugs import BUGS, Bug
from explore.explorer import Explorer, Failed, replay
from explore.scenarios import SCENARIOS, Scenario

# Without the GIL a switch between threads costs several times as much, and the schedules are the same.
DEFAULT = 10 if GIL else 3
FIND = 1200  # schedules within which a planted bug must be found; most need less than a hundred
SCHEDULES = int(os.environ.get("GORT_EXPLORE_SCHEDULES", DEFAULT))
SEED = int(os.environ.get("GORT_EXPLORE_SEED", "1"))
TOKEN = os.environ.get("GORT_EXPLORE_REPLAY", "")

pytestmark = [pytest.mark.timeout(900 + SCHEDULES), pytest.mark.apart]
exploring = pytest.mark.skipif(bool(TOKEN), reason="GORT_EXPLORE_REPLAY repeats one schedule")


@pytest.mark.skipif(not TOKEN, reason="GORT_EXPLORE_REPLAY names no schedule")
def test_replay() -> None:
    """The schedule of a token, and nothing else."""
    replay(TOKEN)


def explored(name: str, body: Callable[[Explorer], None], grain: str) -> None:
    explorer = Explorer(SCENARIOS[name], grain, seed=SEED)
    with explorer.ready():
        body(explorer)
    print(f"{name}, {grain}: {explorer.report}")


@exploring
@pytest.mark.parametrize("name", SCENARIOS)
def test_few_interruptions(name: str) -> None:
    """Fewest first: none, one anywhere, then two."""
    explored(name, lambda e: e.systematic(2, SCHEDULES), "locks")


@exploring
@pytest.mark.parametrize("name", SCENARIOS)
def test_random_orders(name: str) -> None:
    """Random walks and random priorities."""
    explored(name, lambda e: e.randomly(SCHEDULES), "locks")


@exploring
@pytest.mark.parametrize("name", SCENARIOS)
def test_random_orders_of_lines(name: str) -> None:
    """The same with an interruption possible before every line of the runtime, inside critical sections too."""
    explored(name, lambda e: e.randomly(SCHEDULES // 5), "lines")


@exploring
@pytest.mark.skipif(not GIL and SCHEDULES == DEFAULT, reason="finds the same with the GIL, several times faster")
@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_finds_the_planted_bug(bug: Bug) -> None:
    """In each scenario that shows it; and the token that is printed repeats it, and is clean without the bug."""
    for name in bug.scenarios:
        explorer = Explorer(SCENARIOS[name], bug.grain, bug)
        with explorer.ready(), pytest.raises(Failed) as found:
            explorer.find(FIND)
        print(f"{bug.name} in {name}: schedule {found.value.schedules}, {found.value.failure.kind}")
        with pytest.raises(Failed) as again:
            replay(found.value.token)
        assert str(again.value.failure) == str(found.value.failure)


# ---- the explorer itself ----------------------------------------------------------------------------------------------


def explorer_of(body: Callable[[], None]) -> Explorer:
    return Explorer(Scenario("own", body, ()))


def two_locks_crosswise() -> None:
    a, b = standins.Lock(), standins.Lock()

    def other() -> None:
        with b, a:
            pass

    t = standins.Thread(target=other)
    t.start()
    with a, b:
        pass
    t.join()


def lost_update() -> None:
    lock = standins.Lock()
    n = 0

    def add() -> None:
        nonlocal n
        with lock:
            seen = n
        with lock:
            n = seen + 1

    threads = [standins.Thread(target=add) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert n == 2


def sleeps_for_ever() -> None:
    gate = standins.Event()
    t = standins.Thread(target=lambda: [standins.sleep(0.001) for _ in range(10_000)])
    t.start()
    gate.wait()


def ranks_crosswise() -> None:
    a, b = standins.Lock(60, "sched"), standins.Lock(70, "p")
    with b, a:
        pass


@exploring
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (two_locks_crosswise, "deadlock"),
        (lost_update, "AssertionError"),
        (sleeps_for_ever, "hang"),
        (ranks_crosswise, "lock order"),
    ],
)
def test_finds_what_is_wrong_with_plain_threads(body: Callable[[], None], kind: str) -> None:
    """Systematically: within two interruptions."""
    explorer = explorer_of(body)
    with explorer.ready(), pytest.raises(Failed) as found:
        explorer.systematic(2, 2000)
    assert found.value.failure.kind == kind


@exploring
def test_every_schedule_once() -> None:
    """Three threads of two steps each, in every order: counted by hand."""
    orders: list[str] = []

    def body() -> None:
        order: list[str] = []

        def step(name: str) -> None:
            order.append(name)

        threads = [standins.Thread(target=step, args=(name,)) for name in "ab"]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        orders.append("".join(order))

    explorer = explorer_of(body)
    with explorer.ready():
        explorer.systematic(3, 1000)
    assert set(orders) == {"ab", "ba"}
    assert len(explorer.report.complete) == 4, "all schedules with three interruptions are few"


@exploring
@pytest.mark.parametrize("grain", ["locks", "lines"])
def test_same_choices_same_schedule(grain: str) -> None:
    """Point for point: nothing that differs from run to run has a say."""
    for name in ("select_two_senders", "echo", "sysmon_takes_ps", "context_timeout"):
        explorer = Explorer(SCENARIOS[name], grain)
        with explorer.ready():
            first, second = (explorer.once(strategy.Random(5), 5, record=True) for _ in range(2))
        assert first.failure is None
        assert first.record == second.record
        assert first.choices == second.choices
        deviations = first.deviations()
        assert deviations
        assert strategy.from_text(strategy.to_text(deviations)) == deviations


@exploring
def test_replay_in_another_process() -> None:
    """What is printed for a failure is enough."""
    explorer = Explorer(SCENARIOS["last_look"], "locks", BUGS["no_second_look"])
    with explorer.ready(), pytest.raises(Failed) as found:
        explorer.find(FIND)
    code = f"import sys, pytest; sys.exit(pytest.main([{__file__!r}, '-q', '-p', 'no:cacheprovider']))"
    done = python(code, env=environment(GORT_EXPLORE_REPLAY=found.value.token))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "deadlock: no thread can go on" in done.stdout
    assert "1 failed" in done.stdout


@exploring
def test_unknown_tokens() -> None:
    """They are told from schedules that fail."""
    for token in ("nonsense", "ping_pong:locks:1", "no_such:locks:1:-", "ping_pong+no_such:locks:1:-"):
        with pytest.raises(ValueError, match="a token is scenario"):
            replay(token)
    with pytest.raises(ValueError, match="the code has changed"):
        replay("ping_pong:locks:1:1=7")


@exploring
def test_a_wait_that_is_not_under_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told where the thread waits, instead of hanging with it."""
    monkeypatch.setattr(control, "STUCK_S", 0.5)
    gate = threading.Lock()
    gate.acquire()
    explorer = explorer_of(lambda: gate.acquire() and None)
    with explorer.ready(), pytest.raises(RuntimeError, match=r"in the operating system(.|\n)*test_explore.py"):
        explorer.systematic(0, 1)
    gate.release()
    assert settles(lambda: len(explorer.pool) == 1)
    control.close_pool(explorer.pool)


@exploring
def test_nothing_is_left() -> None:
    """Failed schedules are unwound: no thread stays, and the runtime stands on the real modules again."""
    before = threading.active_count()
    explorer = Explorer(SCENARIOS["foreign_send"], "locks", BUGS["idle_p_not_woken"])
    with explorer.ready(), pytest.raises(Failed):
        explorer.find(FIND)
    assert threading.active_count() == before

    async def main() -> float:
        await gort.sleep(0.001)
        return 1.0

    assert gort.run(main) == 1.0
