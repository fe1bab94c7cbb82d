"""Planted bugs: the explorer is tested by finding them.

Each changes one piece of the core's text, in memory.  When the text is no longer there the core has changed: plant the
same mistake in what it says now.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import gort.net
import gort.sync  # noqa: F401  (netpoll and rwmutex are imported with these)
from gort import sync
from gort._runtime.core import handoff, idle, outside, runtime2, scopes
from gort._runtime.poll import netpoll, polldesc
from gort._runtime.sched import findrunnable, predict, proc, timers
from gort._runtime.wait import bulk, chan, notify, rwmutex, select, sema, timechan
from gort._runtime.watch import external, sysmon


@dataclass(frozen=True)
class Bug:
    """In function `where` of `owner` (a module or class), `text` becomes `wrong`."""

    name: str
    owner: Any
    where: str
    text: str
    wrong: str
    scenarios: tuple[str, ...]  # where it must be found
    grain: str = "locks"  # "lines" where no switch point at a lock shows it

    def plant(self, patches: Any) -> None:
        """Changes it, wherever it was imported."""
        original = self.owner.__dict__[self.where]
        changed = changed_function(original, self.text, self.wrong)
        if isinstance(self.owner, type):
            patches.set(self.owner, self.where, changed)
        else:
            assert patches.everywhere(original, changed) > 0


def changed_function(original: FunctionType, text: str, wrong: str) -> Any:
    """original, with one piece of its source replaced; at its own place, so that lines and files stay what they are."""
    lines, first = inspect.getsourcelines(original)
    source = textwrap.dedent("".join(lines))
    if source.count(text) != 1:
        raise AssertionError(
            f"tests/explore/bugs.py: {original.__qualname__} has {text!r} {source.count(text)} times, not once: "
            "the core has changed, adapt the planted bug"
        )
    source = "\n" * (first - 1) + source.replace(text, wrong)
    code = compile(source, original.__code__.co_filename, "exec")
    names: dict[str, Any] = {}
    exec(code, original.__globals__, names)
    return names[original.__name__]


BUGS = {
    bug.name: bug
    for bug in (
        Bug(
            "ready_before_parked", handoff, "ready",
            "    if not g.parked:\n", "    if False:\n",
            ("ping_pong", "select_meets_select"),
        ),
        Bug(
            "no_second_look", findrunnable, "give_up",
            "found = p2.runqhead is not None or p2.runnext is not None", "found = False",
            ("last_look", "last_look_again"),
        ),
        Bug(
            "select_won_twice", chan, "win",
            "    if sel.success:\n", "    if False:\n",
            ("select_two_senders", "select_two_selects"),
        ),
        Bug(
            "idle_p_not_woken", handoff, "enqueue",
            "    if s.npidle != 0 and s.nmspinning == 0:\n        wakep(s)\n", "",
            ("last_look", "foreign_send"),
        ),
        Bug(
            "wakeup_before_sleep_lost", runtime2.Note, "sleep",
            "    if not cython.compiled and self._lock.acquire(False):\n        return True\n",
            "    self._lock.acquire(False)\n",
            ("foreign_wait", "last_look"),
        ),
        Bug(
            "cancelled_although_done", handoff, "deliver_cancel",
            "    if op.abort():\n", "    op.abort()\n    if True:\n",
            ("cancel_or_send",),
        ),
        Bug(
            "mutex_released_without_lock", sema.Mutex, "unlock",
            "    self.lock_state()\n    held = self.held\n    if held:\n        op = self.pop()\n        if op is None:\n"
            "            self.held = False\n        else:\n            self.holder = op.g.goid\n"
            "        waited = self.waited\n        if waited != 0:\n            self.waited = 0\n"
            "    self.unlock_state()\n",
            "    held = self.held\n    if held:\n        op = self.pop()\n        if op is None:\n"
            "            self.held = False\n        else:\n            self.holder = op.g.goid\n"
            "        waited = self.waited\n        if waited != 0:\n            self.waited = 0\n",
            ("mutex",), "lines",
        ),
        # More, one for each mechanism; the last ten were real, found by this explorer.
        Bug(
            "cancellation_not_seen_by_park", proc, "park",
            "    if g.cancelflag:\n", "    if False:\n",
            ("cancel_or_send",),
        ),
        Bug(
            "poller_does_not_look_again", findrunnable, "poll",
            "    if again != 0 and (until == 0 or again < until):\n", "    if False:\n",
            ("earlier_timer",),
        ),
        Bug(
            "poller_not_told_of_descriptors", netpoll, "netpoll_of",
            "        s.pollnote.wakeup()", "        pass",
            ("first_descriptor",),
        ),
        Bug(
            "signal_before_wait_lost", notify.Notify, "enter",
            "    self.push(op)\n    self.unlock_state()\n    try:\n        op.sel.unlock()\n",
            "    self.unlock_state()\n    try:\n        op.sel.unlock()\n"
            "        self.lock_state()\n        self.push(op)\n        self.unlock_state()\n",
            ("cond",),
        ),
        Bug(
            "woken_thread_counts_as_idle", handoff, "enqueue",
            "        if g.counted:\n            uncount(g)\n", "",
            ("plain_goroutine_waits",),
        ),
        Bug(
            "timer_stopped_twice", timers, "takeout",
            "        if t.pid == pid:\n", "        if True:\n",
            ("stop_timer",),
        ),
        Bug(
            "select_not_claimed_for_cancel", select.SelectOp, "abort",
            "    if self.success:\n        g.unlock()\n        return False\n", "",
            ("cancel_select",),
        ),
        Bug(
            "deadlock_told_too_soon", handoff, "found_dead",
            "    elif not s.external() and is_dead(s):\n", "    elif not s.external():\n",
            ("foreign_send",),
        ),
        Bug(
            "poller_sleeps_longer_than_announced", findrunnable, "poll",
            "    if again != 0 and (until == 0 or again < until):\n", "    if True:\n",
            ("reset_timer",),
        ),
        Bug(
            "waiter_woken_before_it_counts", outside, "count_parked",
            "    if g.parked:\n", "    if True:\n",
            ("plain_goroutine_waits_for_coroutine",),
        ),
        Bug(
            "outer_cancellation_lost_in_a_failure", scopes, "rearm",
            "            scope.state = SCOPE_PENDING\n", "",
            ("cancels_member_inner_fails", "cancels_outer_fails_inner_fails"),
        ),
        Bug(
            "left_block_still_cancels", scopes, "leave_scope",
            "(proc.throw_in)\n        pick(g)\n", "(proc.throw_in)\n",
            ("cancels_scope_inner_fails",),
        ),
        Bug(
            "shield_holds_nothing_off", scopes, "pick",
            "        if scope.shield:\n", "        if False:\n",
            ("cancel_or_shield",),
        ),
        Bug(
            "cancellation_not_passed_to_the_thread", handoff, "wake_cancelled",
            "    elif standin is not None:\n", "    elif False:\n",
            ("cancel_plain_wait", "cancel_blocking_wait"),
        ),
        Bug(
            "cancellation_before_the_thread_parks_lost", outside, "thread_park",
            "    if g.cancelflag:\n", "    if False:\n",
            ("cancel_plain_wait", "cancel_blocking_wait"),
        ),
        Bug(
            "deadlock_not_seen_by_the_thread_that_ends", proc, "mexit",
            "    if dead:\n        found_dead(s)\n", "",
            ("deadlock_after_a_locked_thread",),
        ),
        Bug(
            "thread_that_ends_counts_as_outside", external.External, "_python_thread",
            " and not _leaving(t)", "",
            ("deadlock_after_a_locked_thread",),
        ),
        Bug(
            "stopped_as_it_fires", timechan.Timer, "set",
            "        deltimer(self)\n", "        deltimer(self)\n    elif self.fn is not None:\n        active = False\n",
            ("stop_func_timer",),
        ),
        Bug(
            "spins_asleep", findrunnable, "findrunnable",
            "            if m.spinning:\n", "            if False:\n",
            ("world_stops",),
        ),
        Bug(
            "sysmon_wakes_unseen", sysmon, "sysmon",
            "                    s.nexternal += 1  # we", "                    pass  # we",
            ("ctrl_c",),
        ),
        Bug(
            "expected_call_keeps_its_p", predict.Predictor, "enter",
            "    handoffp(s, p, m.id)  # it may start a thread, which takes a while\n", "    m.p = None\n",
            ("expected_calls_on_two_ps", "calls_that_are_expected"),
        ),
        Bug(
            "expected_call_takes_no_p", predict.Predictor, "leave",
            "        m.preempt = True\n", "        m.p = s.allp[0]\n        s.allp[0].mid = m.id\n",
            ("calls_that_are_expected",),
        ),
        Bug(
            "ended_thread_counted_as_idle", idle, "endidle",
            "        s.nmidle -= 1\n", "",
            ("idle_threads_end",),
        ),
        Bug(
            "ended_thread_left_on_the_list", idle, "endidle",
            "            s.midle = m.schedlink\n", "            pass\n",
            ("idle_threads_end",),
        ),
        Bug(
            "overtaken_thread_keeps_its_p", idle, "overtake",
            "    m2.nextp = None\n", "",
            ("idle_threads_end", "calls_that_are_expected"),
        ),
        Bug(
            "overtaken_thread_still_spins", idle, "overtake",
            "    m2.spinning = False\n", "",
            ("context_timeout",),
        ),
        Bug(
            "overtakes_whom_it_has_woken", proc, "pass_on",
            "        s.starting = None", "        pass",
            ("context_timeout",),
        ),
        Bug(
            "cond_locks_twice", sync.Cond, "wait",
            "        if operation.index != 0:", "        if True:",
            ("cond_cancel",),
        ),
        Bug(
            "signal_of_a_cancelled_waiter_lost", sync.Cond, "_lock_again",
            "            self._waiting.pass_on(operation)\n", "",
            ("cond_signal_passed_on",),
        ),
        Bug(
            "once_has_run_although_cancelled", sync.Once, "do",
            "            except (Cancelled, KeyboardInterrupt, GeneratorExit):\n",
            "            except (Cancelled, KeyboardInterrupt, GeneratorExit):\n                self._done = True\n",
            ("once_cancel",),
        ),
        Bug(
            "turn_of_a_cancelled_writer_not_ended", rwmutex.RWMutex, "left",
            "        return self.end_turn()\n", "        self.turn = False\n",
            ("rwmutex_cancel_pending",),
        ),
        Bug(
            "called_writer_forgets_the_readers", rwmutex.RWMutex, "announce",
            "    if self.count == 0:\n", "    if self.count == 0 or op.when == CALLED:\n",
            ("rwmutex_turns",),
        ),
        Bug(
            "last_value_of_many_wakes_nobody", chan, "give",
            "        w.when = i + 1\n", "        w.when = i + 1\n        w.index = QUEUED\n",
            ("bulk", "bulk_cancel"),
        ),
        Bug(
            "rest_of_many_enqueued_too_late", bulk.SendManyOp, "begin",
            "            self.g = g\n            enqueue_send(c, self)\n            r = PARK\n    c.unlock()\n",
            "            self.g = g\n            r = PARK\n    c.unlock()\n"
            "    if r == PARK:\n        c.lock()\n        enqueue_send(c, self)\n        c.unlock()\n",
            ("bulk", "bulk_cancel"),
        ),
        Bug(
            "timer_moves_through_nowhere", timers, "movetimers",
            "            t.pid = dst.id\n",
            "            t.pid = -1\n            src.unlock_timers()\n            src.lock_timers()\n"
            "            t.pid = dst.id\n",
            ("stop_timer_as_its_p_goes",),
        ),
        Bug(
            "ticker_left_in_its_heap", timechan.Timer, "fire",
            "        if self.pid >= 0:\n", "        if False:\n",
            ("ticker",),
        ),
        Bug(
            "closed_while_it_is_registered", polldesc.PollDesc, "attach",
            "    self.attaching = True", "    self.attaching = False",
            ("close_or_read",),
        ),
    )
}  # fmt: skip
