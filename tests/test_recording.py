"""What the page records on demand, and what it knows of channels and locks: profiles of some seconds, flame graphs,
traces, the flight recorder; how much goes through each object.

What does not live here: the same in a browser (test_page.py), the profiles themselves (test_profiles.py).
"""

from __future__ import annotations

import http.client
import io
import json
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import gort
from gort import debug, runtime, trace
from gort._runtime.core import runtime2
from gort._runtime.see import looks, objects, record, watcher
from gort._runtime.see.request import Refused
from gort._runtime.watch import profiles
from gort._runtime.watch.pprof import Profile
from support import GIL, PATIENCE_S, freed, parked, until
from test_see import asks

Run = Callable[..., Any]


@pytest.fixture
def page() -> Iterator[debug.Page]:
    found = debug.serve()
    yield found
    found.close()


def during(page: debug.Page, path: str, work: Callable[[], Awaitable[None]], method: str = "GET") -> Any:
    """What the page answers while goroutines do some work again and again."""

    async def main() -> Any:
        async def repeat() -> None:
            while True:
                await work()

        async with gort.Group() as group:
            group.go(repeat)
            answer = await gort.blocking(lambda: asks(page, path, method))
            group.cancel()
        return answer

    return gort.run(main, procs=1)


def recorded(page: debug.Page, path: str, work: Callable[[], Awaitable[None]], enough: Callable[[str], bool]) -> str:
    """What the page has recorded of the work, when it is enough: a busy machine may let the work stand still for a while,
    and then more seconds are asked for."""
    for lasts in (0.2, 1, 5, 25):
        status, _, body = during(page, f"{path}&seconds={lasts}", work)
        assert status == 200, body
        if enough(body):
            break
    return str(body)


# ---- flame graphs -----------------------------------------------------------------------------------------------------


def test_a_flame_graph_adds_up_what_has_the_same_callers() -> None:
    profile = Profile([("samples", "count"), ("cpu", "nanoseconds")], ("cpu", "nanoseconds"), 1)
    a, b, c = ("m.a", "/m.py", 1), ("m.b", "/m.py", 5), ("m.c", "/m.py", 9)
    profile.add([b, a], [1, 300])
    profile.add([b, a], [1, 100], (("goroutine", 7, ""),))
    profile.add([c, a], [1, 500])
    profile.add([a], [1, 100])
    profile.add([("m.tiny", "/m.py", 11)], [1, 0])
    found = record.flame(profile)
    assert (found["unit"], found["total"]) == ("nanoseconds", 1000)
    tree = ["m.a", "/m.py", 1, 1000, [["m.c", "/m.py", 9, 500, []], ["m.b", "/m.py", 5, 400, []]]]
    assert found["root"] == ["all", "", 0, 1000, [tree]]


def test_an_endless_recursion_is_cut() -> None:
    profile = Profile([("goroutine", "count")], ("goroutine", "count"), 1)
    profile.add([("m.f", "/m.py", n) for n in range(5000)], [1])
    at, depth = record.flame(profile)["root"], 0
    while at[4]:
        at, depth = at[4][0], depth + 1
    assert depth == record.DEPTH_MAX
    json.dumps(at)


def test_who_lets_others_wait_is_recorded_for_some_seconds(page: debug.Page) -> None:
    """The program has not switched the profile on: it is off again afterwards."""
    mu = gort.sync.Mutex()

    async def holds() -> None:
        async with mu:
            await gort.sleep(0.005)

    async def work() -> None:
        async with gort.Group() as group:
            group.go(holds)
            group.go(holds)

    for kind in ("mutex", "block"):
        body = recorded(page, f"/flame?kind={kind}", work, lambda body: json.loads(body)["total"] > 10_000_000)
        found = json.loads(body)
        assert found["unit"] == "nanoseconds"
        assert found["total"] > 10_000_000
        assert "holds" in body
    assert profiles.block_rate() == 0
    assert debug.set_mutex_profile_fraction(-1) == 0


def test_what_the_program_has_switched_on_stays_on(page: debug.Page) -> None:
    async def work() -> None:
        await gort.sleep(0.01)

    debug.set_block_profile_rate(50)
    debug.set_mutex_profile_fraction(7)
    try:
        for kind in ("mutex", "block"):
            assert during(page, f"/flame?kind={kind}&seconds=0.1", work)[0] == 200
        assert profiles.block_rate() == 50
        assert debug.set_mutex_profile_fraction(-1) == 7
    finally:
        debug.set_block_profile_rate(0)
        debug.set_mutex_profile_fraction(0)


async def contended() -> None:
    """Two hold a lock, so one waits for a moment."""
    mu = gort.sync.Mutex()
    first: list[None] = []

    async def holds() -> None:
        async with mu:
            if not first:
                first.append(None)
                await parked(1, "sync.Mutex.Lock")  # a busy machine may be late with the second
                await gort.sleep(0.005)

    async with gort.Group() as group:
        group.go(holds)
        group.go(holds)


def waits_of(kind: str) -> dict[Any, Any]:
    """What the program's own profile has: stack -> values."""
    found = record.program_waits(kind == "mutex")
    return {tuple(name for name, *_ in stack): values for stack, values in found.stacks()}


@pytest.mark.parametrize("kind", ["mutex", "block"])
def test_what_the_program_switches_on_meanwhile_stays_on(kind: str, run: Run) -> None:
    """Also with the rate that the page has; and only what is counted from then on is in the program's profile."""
    mutexes = kind == "mutex"
    same = record.MUTEX_FRACTION if mutexes else record.WAIT_RATE_NS

    def set_rate(rate: int) -> int:
        return debug.set_mutex_profile_fraction(rate) if mutexes else record.set_rate(False, rate)

    async def main() -> list[Any]:
        before = waits_of(kind)
        record.begin(mutexes)
        await contended()
        found: list[Any] = [waits_of(kind) == before, record.rate(mutexes), set_rate(0), record._now(mutexes) > 0]
        await contended()
        found.append(set_rate(same))
        found.append(waits_of(kind) == before)
        await contended()
        record.end(mutexes)
        found += [record.rate(mutexes), waits_of(kind) != before, set_rate(0), record._now(mutexes)]
        return found

    assert run(main) == [True, 0, 0, True, 0, True, same, True, same, 0]


@pytest.mark.parametrize("kind", ["mutex", "block"])
def test_what_the_page_has_recorded_is_not_in_the_programs_profile(page: debug.Page, kind: str) -> None:
    before = waits_of(kind)
    assert "holds" in recorded(page, f"/flame?kind={kind}", contended, lambda body: "holds" in body)
    assert waits_of(kind) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_go_on_with_what_the_page_records(page: debug.Page) -> None:
    assert page.port
    for mutexes in (False, True):
        record.begin(mutexes)
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if record._now(False) == record._now(True) == 0 and not record._begun else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        for mutexes in (False, True):
            record.end(mutexes)


@pytest.mark.parametrize("value", ["0", "61", "nan", "x", "-1", "1e400"])
def test_a_time_that_is_none_is_refused(page: debug.Page, value: str) -> None:
    for path in ("/profile?kind=cpu", "/flame?kind=block", "/trace?x=1"):
        assert asks(page, f"{path}&seconds={value}")[0] == 400


def test_what_waiting_goroutines_keep_is_drawn_in_bytes(page: debug.Page, run: Run) -> None:
    async def wait(ch: gort.Chan[None]) -> None:
        kept = b"x" * 1_000_000
        await ch.recv_ok()
        assert kept

    async def main() -> Any:
        ch = gort.Chan[None]()
        gort.go(wait, ch)
        await parked(1, "chan receive")
        answer = await gort.blocking(asks, page, "/flame?kind=frames")
        ch.close()
        return answer

    status, _, body = run(main)
    if not runtime.compiled:
        assert status == 503
        return
    found = json.loads(body)
    assert found["unit"] == "bytes"
    assert found["total"] == pytest.approx(1_000_000, rel=0.1)
    assert found["root"][4][0][0].endswith("wait")


def test_there_is_no_profile_of_another_kind(page: debug.Page) -> None:
    assert asks(page, "/flame?kind=../../etc/passwd")[0] == 404


def test_one_at_a_time(page: debug.Page) -> None:
    with record.alone("trace", "a trace"):
        assert asks(page, "/trace?seconds=0.1")[::2] == (503, "a trace is being made already\n")
    with record.alone("block", "a block profile"):
        assert asks(page, "/profile?kind=block&seconds=0.1")[0] == 503


# ---- traces -----------------------------------------------------------------------------------------------------------


def raw(page: debug.Page, path: str, method: str = "GET") -> tuple[int, bytes]:
    """An answer that is no text."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
    connection.request(method, f"{path}{'&' if '?' in path else '?'}token={page.token}")
    found = connection.getresponse()
    content = found.read()
    connection.close()
    return found.status, content


def test_a_trace_is_of_the_seconds_that_follow(page: debug.Page, run: Run) -> None:
    async def main() -> tuple[Any, Any, bool]:
        async def beat() -> None:
            while True:
                await gort.sleep(0.01)

        async with gort.Group() as group:
            group.go(beat)
            for lasts in (0.2, 1, 5, 25):
                found = await gort.blocking(raw, page, f"/trace?seconds={lasts}")
                if b"beat" in found[1]:
                    break
            own = io.BytesIO()
            trace.start(own)
            refused = await gort.blocking(raw, page, "/trace?seconds=0.1")
            still = trace.is_enabled()
            trace.stop()
            group.cancel()
        return found, refused, still

    found, refused, still = run(main)
    assert found[0] == 200
    assert found[1].startswith(b"go 1.")
    assert b"beat" in found[1]
    assert refused[0] == 503
    assert b"already" in refused[1]
    assert still
    assert not trace.is_enabled()


def test_the_pages_trace_gives_way_to_the_programs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's stop() leaves the page's trace, its start() ends it, and the page does not end the program's."""
    begun, goes_on = threading.Event(), threading.Event()

    class Clock:
        @staticmethod
        def sleep(lasts: float) -> None:
            begun.set()
            assert goes_on.wait(PATIENCE_S)

    def pages() -> str:
        with pytest.raises(Refused) as e:
            record.trace(1.0)
        return str(e.value)

    async def main() -> list[Any]:
        own = io.BytesIO()
        async with gort.Group() as group:
            answer = group.go(gort.blocking, pages)
            await gort.blocking(begun.wait, PATIENCE_S)
            trace.stop()
            found: list[Any] = [trace.is_enabled()]
            with pytest.raises(TypeError):
                trace.start(5)  # type: ignore[arg-type]
            found.append(trace.is_enabled())
            trace.start(own)
            with pytest.raises(RuntimeError, match="already"):
                trace.start(io.BytesIO())
            goes_on.set()
        found.append(trace.is_enabled())
        trace.stop()
        return [*found, own.getvalue()[:5], trace.is_enabled(), await answer]

    monkeypatch.setattr(record, "time", Clock)
    *found, said = run(main)
    assert found == [True, True, True, b"go 1.", False]
    assert "the program has begun a trace of its own" in said


def test_the_pages_flight_recorder_gives_way_to_the_programs(page: debug.Page, run: Run) -> None:
    async def main() -> list[Any]:
        begun = await gort.blocking(raw, page, "/flight?on=1", "POST")
        recorder = trace.FlightRecorder()
        recorder.start()
        with pytest.raises(RuntimeError, match="on already"):
            trace.FlightRecorder().start()
        whose = await gort.blocking(raw, page, "/flight?on=1", "POST")
        ended = await gort.blocking(raw, page, "/flight?on=0", "POST")
        on = recorder.enabled
        own = io.BytesIO()
        recorder.write_to(own)
        recorder.stop()
        return [begun[1], whose[1], ended[1], on, own.getvalue()[:5], trace.is_enabled()]

    program = b'{"flight": "program"}'
    assert run(main) == [b'{"flight": "page"}', program, program, True, b"go 1.", False]


def test_the_flight_recorder_ends_when_nobody_watches(page: debug.Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "IDLE_S", PATIENCE_S)

    async def main() -> tuple[Any, ...]:
        none = await gort.blocking(raw, page, "/flight")
        begun = await gort.blocking(raw, page, "/flight?on=1", "POST")
        on = trace.is_enabled()
        for _ in range(10):
            await gort.gosched()
        written = await gort.blocking(raw, page, "/flight")
        monkeypatch.setattr(watcher, "IDLE_S", 0.3)  # not before: on a busy machine that may pass between two requests
        end = time.monotonic() + PATIENCE_S
        while trace.is_enabled() and time.monotonic() < end:
            await gort.sleep(0.05)
        return none, begun, on, written

    none, begun, on, written = gort.run(main, procs=1)
    assert none == (503, b"no flight recorder is on\n")
    assert begun == (200, b'{"flight": "page"}')
    assert on
    assert written[0] == 200
    assert written[1].startswith(b"go 1.")
    assert not trace.is_enabled()


def test_the_programs_own_flight_recorder_is_saved_and_left_on(page: debug.Page, run: Run) -> None:
    async def main() -> tuple[Any, ...]:
        recorder = trace.FlightRecorder()
        recorder.start()
        begun = await gort.blocking(raw, page, "/flight?on=1", "POST")
        ended = await gort.blocking(raw, page, "/flight?on=0", "POST")
        written = await gort.blocking(raw, page, "/flight")
        on = recorder.enabled
        recorder.stop()
        return begun, ended, written[0], on

    whose = b'{"flight": "program"}'
    assert run(main) == ((200, whose), (200, whose), 200, True)


def test_only_the_page_itself_may_begin_the_flight_recorder(page: debug.Page) -> None:
    """With POST, and not from another site."""
    assert asks(page, "/flight?on=1")[0] == 503  # GET saves, and there is nothing
    assert asks(page, "/flight?on=1", method="POST", Origin="http://evil.example")[0] == 403
    assert asks(page, "/flight?on=1", method="POST", Sec_Fetch_Site="cross-site")[0] == 403
    for path in ("/", "/trace", "/profile", "/look"):
        assert asks(page, path, method="POST")[0] == 405
    assert not trace.is_enabled()


# ---- channels and locks -----------------------------------------------------------------------------------------------


def test_a_channel_counts_what_is_received_in_every_way(run: Run) -> None:
    async def takes(ch: gort.Chan[int], n: int) -> None:
        for _ in range(n):
            await ch.recv()

    async def main() -> list[Any]:
        found = []
        full, none = gort.Chan[int](4), gort.Chan[int]()
        await full.send_many([1, 2, 3])
        found.append(objects.counters(full))
        await full.recv()
        full.try_recv()
        await gort.select(full.recv())
        found.append(objects.counters(full))
        async with gort.Group() as group:
            group.go(takes, full, 2)  # a value is handed to who waits
            await parked(1, "chan receive")
            await full.send(1)
            await full.send_many([2, 3])
        await full.recv_many(9)
        found.append(objects.counters(full))
        async with gort.Group() as group:
            group.go(none.send_many, list(range(5)))
            await parked(1, "chan send")
            await none.recv()
            assert len(await none.recv_many(9)) == 4
        found.append(objects.counters(none))
        return found

    assert run(main) == [(0, 3, 4), (3, 0, 4), (6, 0, 4), (5, 0, 0)]


def test_a_lock_counts_how_often_it_is_taken(run: Run) -> None:
    async def main() -> list[Any]:
        mu, rw, sem = gort.sync.Mutex(), gort.sync.RWMutex(), gort.sync.Semaphore(2)

        async def some() -> None:
            async with mu:
                await gort.gosched()
            async with rw:
                await gort.gosched()
            async with rw.reader():
                await gort.gosched()
            async with sem:
                await gort.gosched()

        async with gort.Group() as group:
            for _ in range(7):
                group.go(some)
        assert mu.try_lock()
        assert rw.try_lock()
        rw.unlock()
        assert rw.try_rlock()
        assert sem.try_acquire()
        return [objects.counters(each) for each in (mu, rw, sem)]

    assert run(main) == [(8, 0, -1), (16, 0, -1), (8, 0, -1)]


def test_rates_are_of_two_looks_and_go_on_while_nobody_waits(run: Run) -> None:
    async def wait(ch: gort.Chan[int]) -> None:
        await ch.recv()

    async def main() -> list[Any]:
        s = runtime2.current_m().sched
        known = objects.Known()
        ch = gort.Chan[int](8)
        async with gort.Group() as group:
            group.go(wait, ch)
            await parked(1, "chan receive")
            before = time.monotonic()
            first = looks.look(s, None, known)
            after = time.monotonic()
            await ch.send(0)
        for n in range(300):
            await ch.send(n)
            if n % 2:
                await ch.recv_many(2)
        ch.try_send(1)
        least = time.monotonic() - after
        second = looks.look(s, None, known)
        most = time.monotonic() - before
        gone = weakref.ref(ch)
        del ch
        await until(lambda: freed(gone))
        third = looks.look(s, None, known)
        return [first["objects"], second["objects"], (least, most), third["objects"]]

    first, second, (least, most), third = run(main)
    assert (first[0]["waiters"], first[0]["rates"], first[0]["size"]) == (1, {}, 8)
    [item] = second
    assert (item["waiters"], item["length"], item["size"]) == (0, 1, 8)
    assert item["text"].endswith(", 1 of 8 values")
    assert 301 / most * 0.999 <= item["rates"]["received"] <= 301 / least * 1.001  # the moment of a look is within it
    assert item["rates"]["sent"] / item["rates"]["received"] == pytest.approx(302 / 301)
    assert third == []


def test_what_nobody_has_waited_for_is_forgotten(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "KEPT_NS", 0)

    async def wait(mu: gort.sync.Mutex) -> None:
        async with mu:
            pass

    async def main() -> tuple[Any, Any]:
        s = runtime2.current_m().sched
        known = objects.Known()
        mu = gort.sync.Mutex()
        async with gort.Group() as group:
            await mu.lock()
            group.go(wait, mu)
            await parked(1, "sync.Mutex.Lock")
            first = looks.look(s, None, known)["objects"]
            mu.unlock()
        return first, (looks.look(s, None, known)["objects"], known.found)

    first, second = run(main)
    assert first[0]["text"].startswith("Mutex ")
    assert second == ([], {})


@pytest.mark.parametrize("kind", [gort.sync.Mutex, gort.sync.RWMutex, gort.sync.WaitGroup, gort.sync.Semaphore])
def test_a_lock_says_what_it_is_without_asking_a_class_of_the_users(kind: Any) -> None:
    def words(self: object) -> str:
        raise AssertionError("asked")

    made = type("Users", (kind,), {"_words": words})(*[2][: kind is gort.sync.Semaphore])
    assert objects.words(made, -1, 0).startswith(f"{kind.__name__} {id(made):#x}")


def test_counters_begin_again_at_0() -> None:
    ch = gort.Chan[int](2)
    seen = objects.Seen(ch)
    seen.rates(10**9, (objects.COUNTERS - 3, 0, 2))
    assert seen.rates(2 * 10**9, (2, 1, 2)) == {"received": 5.0, "sent": 6.0}


@pytest.mark.skipif(not GIL and not runtime.compiled, reason="no CPU profile here")
def test_a_flame_graph_of_the_processor_has_who_computes(page: debug.Page) -> None:
    async def crunch() -> None:
        sum(range(20_000))
        await gort.gosched()

    assert "crunch" in recorded(page, "/flame?kind=cpu", crunch, lambda body: "crunch" in body)
