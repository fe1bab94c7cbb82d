"""Small programs through the public API, each with what must hold whatever the order in which its threads run.

A body runs in the first controlled thread and raises when something is wrong; deadlocks, hangs, lock order, goroutines
that run twice and the like are found by the controller and by check.py.  `blocks` stands for a call that blocks its
thread (time.sleep) and uses no CPU; Event for a thread's own way to wait.

Most run without sysmon: it would repair after 10 ms what must not have gone wrong in the first place.
"""

from explore.scenarios import cancels, channels, clock, idle, locks, mixed, threads
from explore.scenarios.base import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "Scenario", "cancels", "channels", "clock", "idle", "locks", "mixed", "threads"]
