"""When sysmon hands a P on, in virtual time: its clocks are the test's, and no thread runs.

That it does so in a program that runs is tests/test_never_stalled.py's.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gort
from gort._runtime.core import machine, runtime2
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.watch import ousted, sysmon
from gort._runtime.watch.ousted import Ousted
from support import PATIENCE_S, settles

MS = 1_000_000
LOCK = (
    machine.WAITS_FOR_LOCK if gil_enabled() else machine.WAITS_INSIDE
)  # what who waits for a lock of threading's does


class World:
    """One P whose M runs a goroutine, while another goroutine queues on it; and the two clocks that sysmon reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000 * MS
        self.cpu: int | None = 50 * MS  # of the M's thread
        self.handed_on: list[int] = []  # when
        self.reported = 0
        self.places: list[int] = []
        self.p = SimpleNamespace(
            id=0, mid=7, schedtick=3, switchtick=5, looptick=0, runqsize=1, runnext=None, timer0when=0, preempt=False
        )
        self.m = self.new_m(7, self.p)
        self.s = SimpleNamespace(
            allp=[self.p],
            allm=[self.m],
            gomaxprocs=1,
            runqsize=0,
            npolling=0,
            npidle=0,
            netpoll=None,
            nhandoff=0,
            npreempt=0,
            hooks=0,
            predictor=SimpleNamespace(fresh=[]),
        )
        self.seen: dict[int, sysmon.Seen] = {}
        self.ousted = Ousted()
        reports = SimpleNamespace(blocked=self.blocked)
        monkeypatch.setattr(sysmon, "nanotime", lambda: self.now)
        monkeypatch.setattr(sysmon, "cpu_clock", lambda m: self.cpu)
        monkeypatch.setattr(sysmon, "handoff", SimpleNamespace(handoffp=self.handoffp))
        monkeypatch.setattr(sysmon, "reporting", lambda: reports)
        monkeypatch.setattr(sysmon, "quicken", lambda s: None)

    @staticmethod
    def new_m(number: int, p: Any) -> Any:
        return SimpleNamespace(
            id=number,
            ident=number,
            procid=0,
            curg=SimpleNamespace(goid=1),
            p=p,
            insyscall=False,
            preempt=False,
            stretch=SimpleNamespace(place=9, away=False, fresh=False),
        )

    def handoffp(self, s: Any, p: Any, mid: int) -> bool:
        self.handed_on.append(self.now)
        p.mid = 0  # nobody runs it yet
        return True

    def blocked(self, s: Any, m: Any, since: int, cpu: int | None, place: int, inside: bool) -> None:
        self.reported += 1
        self.places.append(place)

    def look(self, after: int = 0, cpu: int = 0) -> tuple[int, bool, bool]:
        """sysmon looks, `after` ns later, of which the M's thread has computed for `cpu`."""
        self.now += after
        if self.cpu is not None:
            self.cpu += cpu
        return sysmon.retake(self.s, self.seen, self.ousted)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_blocked_thread_loses_its_p_at_the_second_look(world: World) -> None:
    """The first look asks for a second one soon; a millisecond without any CPU time is a call that blocks."""
    assert world.look() == (0, False, True)
    assert world.look(sysmon.AGAIN_NS) == (1, True, False)
    assert len(world.handed_on) == world.s.nhandoff == world.reported == 1


@pytest.mark.skipif(
    not gort.runtime.compiled or not os.path.exists("/proc/self/syscall"),
    reason="the compiled core's notes, where the kernel tells what a thread does",
)
def test_a_thread_that_sleeps_on_a_note_waits_for_no_lock_of_the_core() -> None:
    """Without the GIL a lock of the core's is known by what its waiters tell the kernel."""
    note = runtime2.Note()
    thread = threading.Thread(target=note.sleep, daemon=True)
    thread.start()
    does, until = machine.UNKNOWN, time.monotonic() + PATIENCE_S
    while does != machine.WAITS_FOR_LOCK and time.monotonic() < until:
        does = machine.doing(thread.native_id or 0)
        time.sleep(0.001)
    note.wakeup()
    thread.join(PATIENCE_S)
    assert does == machine.WAITS_FOR_LOCK


@pytest.mark.parametrize("does", [machine.RUNS, machine.WAITS_FOR_GIL, machine.WAITS_FOR_LOCK, machine.WAITS_INSIDE])
def test_a_thread_that_would_go_on_if_it_could_is_not_blocked(
    world: World, monkeypatch: pytest.MonkeyPatch, does: int
) -> None:
    """It uses no CPU either, but waits for a processor, the GIL, or (without the GIL) a lock that is soon free.  So its
    P is handed on after a slice only, as that of one that computes; for one that waits long for a lock, sooner."""
    monkeypatch.setattr(sysmon, "doing", lambda procid: does)
    monkeypatch.setattr(machine, "LOCK_NS", 2 * MS)
    world.look()
    start = world.now
    while not world.handed_on:
        world.look(MS)
    if does in (machine.WAITS_FOR_LOCK, machine.WAITS_INSIDE):
        assert (world.handed_on, world.s.nhandoff, world.reported) == ([start + 2 * MS], 1, 1)
        assert world.places == [0 if does == machine.WAITS_INSIDE else 9], "what is never learned"
    else:
        assert (world.handed_on, world.s.npreempt, world.reported) == ([start + sysmon.SLICE_NS], 1, 0)


def test_not_before_a_millisecond(world: World) -> None:
    world.look()
    assert world.look(sysmon.BLOCKED_NS - 1) == (0, True, False)
    assert world.look(1) == (1, True, False)


def test_with_a_seed_who_computes_is_left_alone_and_who_blocks_for_a_second(world: World) -> None:
    """GODEBUG=seed repeats the order, so nobody is preempted by time; but a call that blocks must hang nothing."""
    world.s.hooks = sysmon.HOOK_SEED
    world.look()
    for _ in range(3000):
        assert world.look(MS, cpu=MS)[0] == 0
    assert (world.m.preempt, world.p.preempt, world.handed_on) == (False, False, [])
    world.p.switchtick += 1
    world.look(MS)
    start = world.now
    while not world.handed_on:
        assert world.now - start <= 2 * sysmon.SEEDED_BLOCKED_NS
        world.look(100 * MS)
    assert world.handed_on[0] - start >= sysmon.SEEDED_BLOCKED_NS
    assert (world.s.nhandoff, world.s.npreempt) == (1, 0)


def test_nobody_waits_nothing_is_handed_on(world: World) -> None:
    world.p.runqsize = 0
    world.look()
    for _ in range(100):
        assert world.look(MS) == (0, False, False)
    world.s.runqsize = 1  # the global queue counts as well
    assert sum(world.look(MS)[0] for _ in range(3)) == 1


def test_a_goroutine_that_makes_steps_keeps_its_p(world: World) -> None:
    for step in range(100):
        world.p.switchtick += 1
        assert world.look(MS) == (0, False, True), step
    assert not world.handed_on


def test_a_computing_thread_keeps_its_p_for_a_slice(world: World) -> None:
    """Then it is asked to make way, and its P is handed on."""
    world.look()
    start = world.now
    while not world.handed_on:
        world.look(MS, cpu=MS)
        assert world.m.preempt == bool(world.handed_on)
    assert world.handed_on == [start + sysmon.SLICE_NS]
    assert (world.s.nhandoff, world.s.npreempt, world.reported) == (0, 1, 0)


def test_a_call_after_some_computing_is_noticed(world: World) -> None:
    """Computing for half a slice, then a call: the clocks are compared anew once a slice has gone by."""
    world.look()
    for _ in range(5):
        world.look(MS, cpu=MS)
    start = world.now
    while not world.handed_on:
        world.look(MS)
    assert world.handed_on[0] - start <= sysmon.SLICE_NS + 2 * sysmon.BLOCKED_NS


def oust(world: World, how_many: int, blocked: bool) -> list[Any]:
    """As many Ms from which sysmon has taken the P."""
    ms = [world.new_m(100 + number, None) for number in range(how_many)]
    for m in ms:
        world.ousted.add(m, m.curg, 0, blocked)
    return ms


def test_threads_that_compute_without_a_p_are_few(world: World) -> None:
    """At the limit a computing goroutine is asked to make way, and keeps its P; a blocked one loses it all the same."""
    oust(world, sysmon.computing_max(world.s), blocked=False)
    world.look()
    for _ in range(50):
        world.look(MS, cpu=MS)
    assert (world.handed_on, world.m.preempt) == ([], True)
    for _ in range(20):
        world.look(MS)
    assert (len(world.handed_on), world.s.nhandoff, world.s.npreempt) == (1, 1, 0)


def test_stretches_that_may_compute_count_as_computing(world: World) -> None:
    world.s.predictor.fresh = [object()] * sysmon.computing_max(world.s)
    world.look()
    for _ in range(50):
        world.look(MS, cpu=MS)
    assert not world.handed_on


def test_blocked_threads_count_as_computing_once_they_compute(world: World) -> None:
    """Each round looks at a few of them, however many there are."""
    n = 10 * ousted.LOOKS
    ms = oust(world, n, blocked=True)
    looked: list[Any] = []

    def clock(m: Any) -> int:
        looked.append(m)
        return ousted.COMPUTES_NS if m.id >= 200 else ousted.COMPUTES_NS - 1

    world.ousted.look(clock)
    assert looked == ms[: ousted.LOOKS]
    for _ in range(20):
        world.ousted.look(clock)
    assert world.ousted.count() == n - 100
    ms[-1].curg = None  # its goroutine has come to the scheduler
    ms[-2].curg.goid += 1  # it runs another one
    ms[-3].p = SimpleNamespace(mid=ms[-3].id)  # its thread has a P again
    assert world.ousted.count() == n - 103
    ms[0].curg = None
    for _ in range(20):
        world.ousted.look(clock)
    assert len(world.ousted.blocked) == 99


def test_an_m_is_found_by_its_number_in_a_few_looks() -> None:
    looks = 0

    class Ms(list[Any]):
        def __getitem__(self, i: Any) -> Any:
            nonlocal looks
            looks += 1
            return super().__getitem__(i)

    ms = Ms(SimpleNamespace(id=3 * i) for i in range(5_000))
    for i in range(0, 5_000, 7):
        assert sysmon.m_of(ms, 3 * i).id == 3 * i
        assert sysmon.m_of(ms, 3 * i + 1) is None
    assert looks <= 2 * 5_000 // 7 * 14


@pytest.mark.parametrize("seconds", [0, 10])
def test_threads_that_nothing_needs_end(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """So many as have been idle all the time, save a few; a few in each round."""
    s = SimpleNamespace(gomaxprocs=2, debug={"idlethreads": seconds}, coarsetime=0, nmidle=100)
    ended: list[int] = []

    def endidle(s: Any, most: int) -> int:
        s.nmidle -= most
        ended.append(most)
        return most

    monkeypatch.setattr(sysmon, "endidle", endidle)
    idle = sysmon.IdleThreads(s)
    for now in range(0, 20_000 * MS, 100 * MS):
        s.nmidle = 30 if now == 12_000 * MS else 100 - sum(ended)  # then seventy are needed, for a moment
        idle.look(s, now)
    assert not ended, "in the first ten seconds none was idle all the time, in the next ten thirty were"
    for now in range(20_000 * MS, 30_000 * MS, 100 * MS):
        idle.look(s, now)
    surplus = 30 - 2 - sysmon.KEPT
    assert ended == ([sysmon.ENDED, surplus - sysmon.ENDED] if seconds else [])


def test_without_a_cpu_clock_a_slice_decides(world: World) -> None:
    """Where the system tells no thread's CPU time, whoever holds a P for a slice is taken to compute."""
    world.cpu = None
    world.look()
    start = world.now
    while not world.handed_on:
        world.look(MS)
    assert sysmon.SLICE_NS <= world.handed_on[0] - start <= 2 * sysmon.SLICE_NS
    assert world.s.npreempt == 1


def test_one_that_comes_to_the_scheduler_meanwhile_keeps_its_p(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """sysmon looks at its clock, and takes the P only if no step was made since it looked at the P."""
    world.look()

    def steps(m: Any) -> int | None:
        world.p.switchtick += 1
        return world.cpu

    monkeypatch.setattr(sysmon, "cpu_clock", steps)
    assert world.look(5 * MS)[0] == 0
    assert not world.handed_on


def test_goroutines_that_wake_each_other_share_one_slice(world: World) -> None:
    """schedtick stands still while runnext inherits the slice; switchtick moves."""
    world.look()
    for _ in range(9):
        world.p.switchtick += 1
        world.look(MS, cpu=MS)
    assert not world.p.preempt
    world.p.switchtick += 1
    world.look(MS, cpu=MS)
    assert world.p.preempt
    assert not world.handed_on


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_a_thread_without_a_processor_is_told_from_one_that_is_blocked() -> None:
    """Both use no CPU.  Only the blocked one's P may be handed on without a bound on the threads."""

    class Thread:
        procid = 0

    over, threads = threading.Event(), {"computes": Thread(), "blocked": Thread(), "reads": Thread()}
    there, there_too = os.pipe()

    def computes() -> None:
        threads["computes"].procid = threading.get_native_id()
        while not over.is_set():
            hashlib.pbkdf2_hmac("sha256", b"p", b"s", 20_000)  # without the GIL

    def blocked() -> None:
        threads["blocked"].procid = threading.get_native_id()
        over.wait()

    def reads() -> None:
        threads["reads"].procid = threading.get_native_id()
        os.read(there, 1)

    started = [threading.Thread(target=f) for f in (computes, blocked, reads)]
    for t in started:
        t.start()
    try:
        assert settles(lambda: machine.doing(threads["computes"].procid) == machine.RUNS)
        assert settles(lambda: machine.doing(threads["blocked"].procid) == LOCK)
        assert settles(lambda: machine.doing(threads["reads"].procid) == machine.IN_CALL)
    finally:
        over.set()
        os.write(there_too, b"x")
        for t in started:
            t.join()
        os.close(there)
        os.close(there_too)
    # join returns before the kernel's thread has run its last instructions.
    assert settles(lambda: machine.doing(threads["blocked"].procid) == machine.UNKNOWN), "it has ended"


def test_the_cpu_clock_of_a_thread_that_has_ended() -> None:
    """It was read from the thread's stack, which is unmapped when it is a large one: a segmentation fault."""
    found, end = [], [threading.Event(), threading.Event()]

    def run(end: threading.Event) -> None:
        found.append((threading.get_ident(), threading.get_native_id()))
        end.wait()

    before = threading.stack_size(64 << 20)  # more than glibc keeps for the next thread
    try:
        threads = [threading.Thread(target=run, args=(e,)) for e in end]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(before)
    assert settles(lambda: len(found) == 2)
    for n, thread in enumerate(threads):  # the end of the second one unmaps the first one's stack
        end[n].set()
        thread.join()
        assert settles(lambda n=n: found[n][1] not in (machine.os_threads() or ()))  # type: ignore[misc]
    for ident, procid in found:
        assert sysmon.cpu_clock(SimpleNamespace(ident=ident, procid=procid)) is None
    here = SimpleNamespace(ident=threading.get_ident(), procid=threading.get_native_id())
    first = sysmon.cpu_clock(here)
    if sys.platform.startswith("linux"):
        assert first is not None
        hashlib.sha256(bytes(1 << 20)).digest()
        second = sysmon.cpu_clock(here)
        assert second is not None
        assert second > first
        assert second <= time.thread_time_ns()


# --- what the watcher has found ------------------------------------------------------------------


def found(world: World) -> SimpleNamespace:
    """The watcher, which has found the P's thread blocked."""
    tick = world.p.schedtick + world.p.switchtick
    return SimpleNamespace(
        found=world.p, mid=7, tick=tick, since=world.now, rests=world.now, looked=0, does=machine.RUNS
    )


def test_a_p_that_the_watcher_has_found_is_taken_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sysmon.noticed(world.s, found(world), world.ousted)
    assert len(world.handed_on) == world.s.nhandoff == world.reported == 1


@pytest.mark.parametrize("why", ["nothing found", "no work", "step", "processor", "GIL", "lock", "another M"])
def test_a_p_that_the_watcher_has_found_is_kept(world: World, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    does = {"processor": machine.RUNS, "GIL": machine.WAITS_FOR_GIL, "lock": LOCK}
    monkeypatch.setattr(sysmon, "doing", lambda procid: does.get(why, machine.IN_CALL))
    monkeypatch.setattr(machine, "LOCK_NS", 2 * MS)  # as without the GIL
    watcher = found(world)
    if why == "nothing found":
        watcher.found = None
    elif why == "no work":
        world.p.runqsize = 0
    elif why == "step":
        world.p.switchtick += 1
    elif why == "another M":
        watcher.mid = 8
    assert not sysmon.noticed(world.s, watcher, world.ousted)
    assert (world.handed_on, world.s.nhandoff, world.reported) == ([], 0, 0)


@pytest.mark.parametrize("ago_us", [50, 150])
def test_what_the_watcher_has_just_seen_is_not_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch, ago_us: int
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sysmon, "doing", lambda procid: asked.append(procid) or machine.RUNS)
    watcher = found(world)
    watcher.looked, watcher.does = world.now - ago_us * 1000, machine.IN_CALL
    assert sysmon.noticed(world.s, watcher, world.ousted) == (ago_us < 100)
    assert len(asked) == (ago_us > 100)


def one_p() -> tuple[Any, Any]:
    """A Sched for a watcher, and its P, which an M owns."""
    from gort._runtime.core import runtime2

    s, p = runtime2.Sched(), runtime2.P()
    s.sysmonnote = runtime2.Note()
    s.allp = [p]
    p.mid = 7
    return s, p


@pytest.mark.skipif(not gort.runtime.compiled or not sys.platform.startswith("linux"), reason="nobody looks")
def test_the_watcher_finds_a_blocked_thread_and_none_that_computes() -> None:
    """A P of our own whose M is a thread that computes, then blocks: the sleep ends, and says since when."""
    from gort._runtime.watch.watcher import Watcher

    s, p = one_p()
    s.runqsize = 1
    p.switchtick = 5
    compute, over, began = threading.Event(), threading.Event(), threading.Event()
    compute.set()

    def thread() -> None:
        p.procid = threading.get_native_id()
        began.set()
        while compute.is_set():
            pass
        over.wait()

    t = threading.Thread(target=thread)
    t.start()
    began.wait()
    watcher = Watcher()
    try:
        p.mid = 0  # nobody runs it
        watcher.sleep(s, MS)
        assert watcher.found is None
        p.mid = 7
        s.runqsize = 0  # nobody waits
        compute.clear()
        watcher.sleep(s, 2 * MS)
        assert watcher.found is None
        s.runqsize = 1
        assert settles(lambda: watcher.sleep(s, 100 * MS) or watcher.found is p)
        assert (watcher.mid, watcher.tick) == (7, 5)
        s.sysmonnote.wakeup()  # ends a sleep before anything is looked at twice
        watcher.sleep(s, 10_000_000 * MS)
    finally:
        over.set()
        t.join()


@pytest.mark.skipif(not gort.runtime.compiled or not sys.platform.startswith("linux"), reason="nobody looks")
def test_the_watcher_means_to_look_at_a_call_within_two_hundred_microseconds() -> None:
    """After looks that have found nothing for long, too.  What counts is how long the watcher has meant to sleep since
    the thread can have blocked, because on a busy machine all takes longer: there it also waits for a processor."""
    from gort._runtime.watch.watcher import Watcher

    s, p = one_p()
    s.runqsize = 1
    there, there_too = os.pipe()
    block, blocked, over = threading.Event(), threading.Event(), threading.Event()

    def thread() -> None:
        p.procid = threading.get_native_id()
        while not over.is_set():
            while not block.is_set():
                p.switchtick += 1
            blocked.set()
            os.read(there, 1)

    watcher = Watcher()
    t = threading.Thread(target=thread)
    t.start()
    asked: list[int] = []
    try:
        while len(asked) < 16:
            block.clear()
            watcher.calm = 1000
            watcher.sleep(s, MS)
            if watcher.found is not None:  # what was written has not woken it yet: its processor is another's
                continue
            block.set()
            assert settles(lambda: watcher.sleep(s, 100 * MS) or watcher.found is p)
            asked.append(watcher.asked)
            assert blocked.wait(10)
            blocked.clear()
            block.clear()
            os.write(there_too, b"x")
    finally:
        over.set()
        block.set()
        os.write(there_too, b"xx")
        t.join()
        os.close(there)
        os.close(there_too)
    assert sorted(asked)[len(asked) // 2] <= 200_000, asked


@pytest.mark.skipif(not gort.runtime.compiled or not sys.platform.startswith("linux"), reason="nobody looks")
def test_the_watcher_looks_seldom_at_a_goroutine_for_whose_p_nobody_waits() -> None:
    """It sleeps for QUIET_NS between two looks then, and eight times as long when it has been like that for a while.
    Each sleep is a switch of its thread, which the kernel counts."""
    from gort._runtime.watch.watcher import Watcher

    s, p = one_p()
    p.procid = threading.get_native_id()

    def switches() -> int:
        text = Path("/proc/thread-self/status").read_text()
        return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[0])

    watcher = Watcher()
    for calm, pause in ((0, 200_000), (-1000, 1_600_000)):
        watcher.sleep(s, MS)
        watcher.calm = calm
        before = switches()
        watcher.sleep(s, 200 * MS)
        assert watcher.found is None
        assert switches() - before <= 200 * MS // pause + 20


@contextmanager
def blocked(p: Any) -> Iterator[None]:
    """A thread that is blocked in a call meanwhile, and counts as the one that has p."""
    there, there_too = os.pipe()
    began = threading.Event()

    def thread() -> None:
        p.procid = threading.get_native_id()
        began.set()
        os.read(there, 1)

    t = threading.Thread(target=thread)
    t.start()
    began.wait()
    try:
        yield
    finally:
        os.write(there_too, b"x")
        t.join()
        os.close(there)
        os.close(there_too)


@pytest.mark.skipif(not gort.runtime.compiled or not sys.platform.startswith("linux"), reason="nobody looks")
def test_the_watcher_looks_seldom_where_looks_were_in_vain_and_still_finds_who_blocks() -> None:
    """Work waits, and 500 looks have found nobody: there are 400 us from one to the next.  A thread that blocks is found
    all the same, and then the looks are as frequent as before."""
    from gort._runtime.watch.watcher import Watcher

    s, p = one_p()
    s.runqsize = 1  # and procid is 0: a thread of which nothing can be known

    def switches() -> int:
        text = Path("/proc/thread-self/status").read_text()
        return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[0])

    watcher = Watcher()
    watcher.vain = 1000
    before = switches()
    watcher.sleep(s, 200 * MS)
    assert watcher.found is None
    assert switches() - before <= 200 * MS // 380_000 + 70  # one in 8 comes sooner
    with blocked(p):
        watcher.vain = 1000
        assert settles(lambda: watcher.sleep(s, 100 * MS) or watcher.found is p)
        assert watcher.vain == 0


@pytest.mark.skipif(not gort.runtime.compiled or not sys.platform.startswith("linux"), reason="nobody looks")
def test_a_timer_ends_a_long_pause_of_the_watcher() -> None:
    """The P's thread is blocked, and the watcher looks seldom, because nothing has waited for that P for long.  Then a
    timer of the P is due.  What counts is how long the watcher has meant to sleep, as above."""
    from gort._runtime.watch.watcher import Watcher

    s, p = one_p()
    watcher = Watcher()
    asked: list[int] = []
    with blocked(p):
        for _ in range(16):
            p.timer0when = time.monotonic_ns() + 700_000
            p.switchtick += 1  # asked counts from here
            watcher.calm = -1000
            assert settles(lambda: watcher.sleep(s, 100 * MS) or watcher.found is p)
            asked.append(watcher.asked)
    assert sorted(asked)[len(asked) // 2] <= 1_500_000, asked


@pytest.mark.skipif(sys.platform != "linux", reason="counts how often threads sleep, by the kernel's count")
def test_nobody_wakes_in_a_program_that_sleeps(run: Any) -> None:
    """sysmon looks every 100 ms whether something has changed; whoever takes a P wakes it."""

    def sleeps() -> int:
        found = 0
        for status in Path("/proc/self/task").glob("*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue  # a thread that has ended
            found += int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[0])
        return found

    async def main() -> int:
        counts = []
        for _ in range(5):
            before = sleeps()
            await gort.sleep(0.3)
            counts.append(sleeps() - before)
        return min(counts)

    assert run(main) < 60  # 560 while the watcher looked at Ps that nobody had
