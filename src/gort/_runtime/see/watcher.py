"""The thread that looks at the program while somebody watches it: samples its threads, takes looks, keeps those of the
last seconds, and finds what looks wrong.

It is a raw thread, not a goroutine: it looks on when every P is busy, and keeps no program alive that is in a deadlock.
It takes at most 1 % of a processor: the more a look costs, and the samples since, the longer it waits for the next one.
When nobody has asked for IDLE_S, it ends.

What does not live here: what a look is (looks.py), who asks (server.py).
"""

from __future__ import annotations

import json
import os
import threading
import time
from _thread import get_native_id, start_new_thread

from gort._runtime.see import looks, objects, record, wrong
from gort._runtime.watch import external, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SAMPLE_S = 0.05
LOOK_S = 0.45
SHARE = 100  # at most this part of a processor: from look to look there is SHARE times what the thread has used
IDLE_S = 5.0
KEPT_MAX = 64  # looks


def thread(fn: Callable[..., None], *args: Any) -> None:
    """Runs fn(*args) on a thread of its own that wakes no goroutine, so that the deadlock detector does not count it.
    Raises RuntimeError where the system gives none."""

    def live() -> None:
        me = get_native_id()
        external.harmless.add(me)
        try:
            fn(*args)
        except (OSError, MemoryError, RuntimeError):
            pass  # the other side has gone, or there is no memory; the program goes on
        finally:
            external.harmless.discard(me)

    start_new_thread(live, ())


class Watcher:
    """The looks of this process.  newest() gives the next one to whoever watches."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        # Under `changed`.
        self.number = 0  # of looks taken
        self.text = b""  # the newest, as JSON
        self.asked = 0.0  # when somebody asked last
        self.alive = False
        # Only the thread uses these.
        self.looks: list[dict[str, Any]] = []
        self.known = objects.Known()
        self.recorder = record.Recorder()  # ends with the thread: nobody watches any more

    def newest(self, seen: int, patience: float = 60.0) -> tuple[int, bytes]:
        """Waits for a look that is newer than number `seen`, and returns it with its number; the last one again if none
        comes within `patience` seconds."""
        end = time.monotonic() + patience
        with self.changed:
            if not self.alive:
                seen = max(seen, self.number)  # the last look is of the time when somebody watched last
            while True:
                self.begin()
                if self.number > seen or self.asked >= end:
                    return self.number, self.text
                self.changed.wait(1.0)

    def begin(self) -> None:
        """Somebody watches: begins the thread, if there is none.  Raises RuntimeError where the system gives none."""
        with self.changed:
            self.asked = time.monotonic()
            if not self.alive:
                self.alive = True
                try:
                    thread(self.live, os.getpid())
                except RuntimeError:
                    self.alive = False
                    raise

    def live(self, pid: int) -> None:
        """The thread: looks until nobody asks any more."""
        try:
            sampler = looks.Sampler()
            began, used = time.monotonic(), time.thread_time()  # when the last look began, and what was used until then
            sampled = 0.0  # what samples have used since
            s = None
            while True:
                time.sleep(SAMPLE_S)
                if signals.running and signals.running[0] is not s:
                    s, sampler = signals.running[0], looks.Sampler()
                    self.looks.clear()
                    self.known = objects.Known()
                elif not signals.running:
                    s = None
                now, cpu = time.monotonic(), time.thread_time()
                due = now - began >= max(LOOK_S, (cpu - used) * SHARE)
                if due:
                    began, used, sampled = now, cpu, 0.0
                try:
                    # Half of the share at most goes to samples: else, with many threads, no look would ever be due.
                    if s is not None and sampled * SHARE * 2 <= now - began:
                        sampler.sample(s)
                        sampled += time.thread_time() - cpu
                    if not due:
                        continue
                    found = self.look(s, sampler)
                except Exception:
                    if s in signals.running:
                        raise
                    continue  # the program has ended while it was looked at, and its structures have been taken apart
                self.tell(found)
                with self.changed:
                    if began - self.asked > IDLE_S:
                        self.alive = False
                        self.recorder.end()
                        return
        except BaseException:
            with self.changed:
                self.alive = False
                self.recorder.end()
            raise

    def look(self, s: Any, sampler: looks.Sampler) -> dict[str, Any]:
        """Takes a look, and finds what is wrong in it."""
        if s is None:
            return {"ended": True, "time": time.time()}
        found = looks.look(s, sampler.take(), self.known)
        found["flight"] = self.recorder.state()
        self.looks.append(found)
        del self.looks[:-KEPT_MAX]
        found["wrong"] = wrong.findings(self.looks)
        return found

    def tell(self, found: dict[str, Any]) -> None:
        """Gives a look to those who wait for it."""
        text = json.dumps(found, separators=(",", ":")).encode()
        with self.changed:
            self.number += 1
            self.text = text
            self.changed.notify_all()
