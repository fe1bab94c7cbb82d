"""Timers: results of stop and reset, no stale values, tickers, negative delays. Twin of ../go/timers.go."""

from __future__ import annotations

import time

from kit import MS, refused, run_scenario, say, scenario

import gort
from gort.sync import WaitGroup

FAR = 3600.0


def since(start: float) -> float:
    return time.monotonic() - start


@scenario(any_procs=True)
async def sleep_zero_and_negative() -> None:
    start = time.monotonic()
    await gort.sleep(0)
    await gort.sleep(-5)
    say(since(start) < 1)


@scenario(any_procs=True)
async def sleep_not_early() -> None:
    start = time.monotonic()
    await gort.sleep(30 * MS)
    say(since(start) >= 30 * MS)


@scenario(mode="endless")
async def sleeps_until_killed() -> None:
    await gort.sleep(3600)


@scenario(any_procs=True)
async def after_negative() -> None:
    await gort.after(-1).recv()
    await gort.after(0).recv()
    say("fired")


@scenario(any_procs=True)
async def timer_negative() -> None:
    t = gort.Timer(-1)
    await t.c.recv()
    say("fired", t.stop(), t.reset(-1))
    await t.c.recv()
    say("fired again")


@scenario(any_procs=True)
async def timer_stop_before() -> None:
    t = gort.Timer(FAR)
    say(t.stop(), t.stop())


@scenario(any_procs=True)
async def timer_stop_after_received() -> None:
    t = gort.Timer(MS)
    await t.c.recv()
    say(t.stop(), t.stop())


@scenario(any_procs=True)
async def timer_stop_expired_unreceived() -> None:
    t = gort.Timer(MS)
    await gort.sleep(30 * MS)
    say(t.stop(), t.stop())
    _, ok = t.c.try_recv()
    say("stale" if ok else "nothing")


@scenario(any_procs=True)
async def timer_reset_results() -> None:
    t = gort.Timer(FAR)
    say(t.reset(FAR))
    say(t.stop())
    say(t.reset(MS))
    await t.c.recv()
    say(t.reset(MS))
    await t.c.recv()
    say(t.stop())


@scenario(any_procs=True)
async def timer_reset_expired_unreceived() -> None:
    t = gort.Timer(MS)
    await gort.sleep(30 * MS)
    say(t.reset(FAR))
    _, ok = t.c.try_recv()
    say("stale" if ok else "nothing")
    say(t.stop())


@scenario(any_procs=True)
async def timer_reset_shorter() -> None:
    t = gort.Timer(FAR)
    start = time.monotonic()
    t.reset(20 * MS)
    await t.c.recv()
    d = since(start)
    say(d >= 20 * MS, d < 60)


@scenario(any_procs=True)
async def timer_reset_longer() -> None:
    t = gort.Timer(20 * MS)
    start = time.monotonic()
    t.reset(60 * MS)
    await t.c.recv()
    say(since(start) >= 60 * MS)


@scenario(any_procs=True)
async def timer_fires_once() -> None:
    t = gort.Timer(MS)
    await t.c.recv()
    i, _, _ = await gort.select(t.c.recv(), gort.after(30 * MS).recv())
    say("twice" if i == 0 else "once")


@scenario(any_procs=True)
async def timer_channel_looks_unbuffered() -> None:
    t = gort.Timer(MS)
    await gort.sleep(20 * MS)
    say(len(t.c), t.c.capacity)
    await t.c.recv()
    say("still delivered")


@scenario(any_procs=True)
async def timer_in_select_loop() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def sender() -> None:
        for n in range(3):
            await gort.sleep(5 * MS)
            await ch.send(n)

    gort.go(sender)
    idle = gort.Timer(3600)
    while True:
        i, v, _ = await gort.select(ch.recv(), idle.c.recv())
        if i == 0:
            say(v, idle.reset((3600, 3600, 5 * MS)[v]))
            continue
        say("idle")
        break


def in_order(woken: list[int]) -> bool:
    """Whether 0, 1, 2, … woke in this order. On a busy machine one look at the timers may find several due: it wakes them
    in their order, and the last of them runs first (runnext)."""
    n = 0
    while n < len(woken):
        last = woken[n]
        if woken[n : last + 1] != [last, *range(n, last)]:
            return False
        n = last + 1
    return True


@scenario
async def timer_wakes_in_order() -> None:
    out: gort.Chan[int] = gort.Chan(8)
    base = time.monotonic() + 100 * MS  # common to all, however long it takes to start them

    async def waiter(n: int) -> None:
        await gort.after(base + n * 25 * MS - time.monotonic()).recv()
        await out.send(n)

    for n in (5, 1, 7, 3, 0, 6, 2, 4):
        gort.go(waiter, n)
    say(in_order([await out.recv() for _ in range(8)]))


@scenario
async def timer_shared_by_waiters() -> None:
    t = gort.Timer(10 * MS)
    got = 0

    async def waiter() -> None:
        nonlocal got
        await t.c.recv()
        got += 1

    for _ in range(3):
        gort.go(waiter)
    await gort.sleep(60 * MS)
    say(got)


@scenario(any_procs=True)
async def after_func_runs() -> None:
    done: gort.Chan[None] = gort.Chan()
    t = gort.after_func(5 * MS, done.close)
    await done.recv_ok()
    say(t.stop())


@scenario(any_procs=True)
async def after_func_stopped() -> None:
    ran: list[bool] = []
    t = gort.after_func(20 * MS, lambda: ran.append(True))
    say(t.stop(), t.stop())
    await gort.sleep(50 * MS)
    say(bool(ran))


@scenario(any_procs=True)
async def after_func_reset_runs_again() -> None:
    done: gort.Chan[int] = gort.Chan(2)
    n = 0

    async def body() -> None:
        nonlocal n
        n += 1
        await done.send(n)

    t = gort.after_func(MS, body)
    say(await done.recv())
    say(t.reset(MS))
    say(await done.recv())


@scenario(any_procs=True)
async def after_func_negative() -> None:
    done: gort.Chan[None] = gort.Chan()
    gort.after_func(-1, done.close)
    await done.recv_ok()
    say("ran")


@scenario(any_procs=True)
async def after_func_may_block() -> None:
    gate: gort.Chan[None] = gort.Chan()
    done: gort.Chan[bool] = gort.Chan()

    async def blocks() -> None:
        await gate.recv_ok()
        await done.send(True)

    gort.after_func(MS, blocks)
    gort.after_func(20 * MS, gate.close)
    say(await done.recv())


@scenario(any_procs=True)
async def ticker_ticks() -> None:
    start = time.monotonic()
    t = gort.Ticker(10 * MS)
    for _ in range(5):
        await t.c.recv()
    say(since(start) >= 50 * MS)
    t.stop()
    i, _, _ = await gort.select(t.c.recv(), gort.after(40 * MS).recv())
    say("tick after stop" if i == 0 else "quiet")


@scenario(any_procs=True)
async def ticker_drops_for_slow_receiver() -> None:
    t = gort.Ticker(10 * MS)
    await gort.sleep(105 * MS)
    await t.c.recv()
    got = 0
    while t.c.try_recv()[1]:
        got += 1
    t.stop()
    say(got)


@scenario(any_procs=True)
async def late_receivers_get_the_due_instant() -> None:
    start = time.time()
    timer, ticker = gort.Timer(10 * MS), gort.Ticker(100 * MS)
    await gort.sleep(400 * MS)
    now, tick = await timer.c.recv(), await ticker.c.recv()
    say(now < start + 200 * MS, start + 50 * MS < tick < start + 250 * MS)
    tick = await ticker.c.recv()
    say(start + 350 * MS < tick)
    ticker.stop()


@scenario(any_procs=True)
async def ticker_stop_drops_pending() -> None:
    t = gort.Ticker(5 * MS)
    await gort.sleep(30 * MS)
    t.stop()
    _, ok = t.c.try_recv()
    say("stale" if ok else "nothing")


@scenario(any_procs=True)
async def ticker_reset() -> None:
    t = gort.Ticker(FAR)
    start = time.monotonic()
    t.reset(10 * MS)
    await t.c.recv()
    await t.c.recv()
    d = since(start)
    t.stop()
    say(d >= 20 * MS, d < 60)
    t.reset(5 * MS)
    await t.c.recv()
    t.stop()
    say("again")


@scenario(any_procs=True)
async def ticker_refuses() -> None:
    say(await refused(lambda: gort.Ticker(0)))
    say(await refused(lambda: gort.Ticker(-1)))
    t = gort.Ticker(FAR)
    say(await refused(lambda: t.reset(0)))
    say(await refused(lambda: t.reset(-1)))
    t.stop()


@scenario(any_procs=True)
async def sleepers_are_no_deadlock() -> None:
    wg = WaitGroup()

    async def sleeper() -> None:
        await gort.sleep(10 * MS)

    for _ in range(3):
        wg.go(sleeper)
    await wg.wait()
    say("done")


@scenario(mode="deadlock", any_procs=True)
async def stopped_timer_is_deadlock() -> None:
    t = gort.Timer(FAR)
    t.stop()
    await t.c.recv()


async def main() -> None:
    await run_scenario()
