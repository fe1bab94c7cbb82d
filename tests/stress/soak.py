"""Everything at once for minutes: `python tests/stress/soak.py --minutes 5 --seed 7`.

Rounds of a few seconds of world.py's `mixed`, one after the other in one process: each with its own number of Ps and
goroutines, with or without GOMAXPROCS changes and threads from outside, all chosen by the seed (which repeats the
choices, not the interleaving). After each round the books must balance, and no goroutine, thread or descriptor may be
left. Which core and interpreter are soaked is chosen as for the tests (GORT_PURE=1, the python that runs this).

A round that does not end within a minute prints all goroutines and threads. Exit status 0: nothing was lost.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from world import check, mixed

import gort
from support import GIL, gort_threads, open_files, resident_bytes, settles

PATIENCE_S = 60.0


def hangs(_signum: int, _frame: FrameType | None) -> None:
    print("soak: the round does not end. All goroutines:", file=sys.stderr, flush=True)
    faulthandler.dump_traceback_later(10, exit=True)  # if what follows does not end it
    try:
        print(gort.runtime.stack(all=True), file=sys.stderr, flush=True)
    finally:
        faulthandler.dump_traceback(all_threads=True)
        os._exit(1)


def one_round(rng: random.Random, seconds: float) -> tuple[str, Counter[str]]:
    """A round, chosen by rng: a line that says what it was, and what it did."""
    procs, members = rng.choice([1, 1, 2, 3, 4, 8]), rng.choice([3, 10, 24, 100])
    resize, outsiders = rng.random() < 0.4, rng.choice([0, 0, 1, 3])
    line = f"procs={procs} members={members} resize={resize} outsiders={outsiders}"
    files = open_files()
    signal.setitimer(signal.ITIMER_REAL, seconds + PATIENCE_S)
    try:
        w = gort.run(mixed, rng.randrange(2**32), seconds, members, resize, outsiders, procs=procs)
    except BaseException:
        print(f"soak: failed: {line}", file=sys.stderr)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    check(w)
    assert settles(lambda: not gort_threads()), f"threads left: {gort_threads()}"
    assert settles(lambda: set(open_files()) <= set(files)), f"descriptors left: {open_files()}"
    assert gort.runtime.num_goroutine() == 0
    did = Counter(sent=len(w.sent), refused=len(w.refused), locks=w.counter, timers=len(w.fired_timers))
    return f"{line} sent={len(w.sent)} refused={len(w.refused)} locks={w.counter}", did


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Mixes everything gort has for minutes and checks that nothing is lost."
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--round-seconds", type=float, default=3.0)
    args = parser.parse_args()
    core = "compiled" if gort.runtime.compiled else "uncompiled"
    build = "with" if GIL else "without"
    print(f"soak: {core} core, {build} the GIL, Python {sys.version.split()[0]}, --seed {args.seed}", flush=True)
    signal.signal(signal.SIGALRM, hangs)
    rng = random.Random(args.seed)
    total: Counter[str] = Counter()
    end, rounds, memory = time.monotonic() + args.minutes * 60, 0, 0
    while rounds == 0 or time.monotonic() < end:
        rounds += 1
        try:
            line, did = one_round(rng, min(args.round_seconds, max(0.5, end - time.monotonic())))
        except BaseException:
            traceback.print_exc()
            print(f"soak: FAILED in round {rounds} of --seed {args.seed}", file=sys.stderr)
            return 1
        total += did
        gc.collect()
        memory = memory or resident_bytes()
        print(f"  round {rounds}: {line} memory={resident_bytes() >> 20}M", flush=True)
    grown = (resident_bytes() - memory) >> 10
    print(f"soak: {rounds} rounds, nothing lost, nothing left: {dict(total)}; memory {grown:+} KiB since round 1")
    return 0


if __name__ == "__main__":
    assert threading.current_thread() is threading.main_thread()
    sys.exit(main())
