"""Bubbles: when time goes on, what wait waits for, deadlocks. Twin of ../go/synctest.go.

Not compared: the use of a bubble's channels and timers outside. It ends a Go program; here it raises RuntimeError."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Awaitable, Callable

from kit import caught, refused, run_scenario, say, scenario

import gort
from gort import context, testing
from gort.sync import Cond, Mutex, WaitGroup

HOUR = 3600.0


async def bubble(body: Callable[[], Awaitable[None]]) -> str:
    """Runs body in a bubble, from a thread outside of this program, and returns what that raised."""

    async def main() -> None:
        await body()

    def call() -> None:
        try:
            testing.run(main)
            text.append("")
        except gort.Deadlock as exc:
            text.append(str(exc))

    text: list[str] = []
    thread = threading.Thread(target=call)
    thread.start()
    await gort.blocking(thread.join)
    return text[0]


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@scenario(any_procs=True)
async def time_begins_at_midnight() -> None:
    async def body() -> None:
        say(int(time.time()), now())
        await gort.sleep(10 * HOUR)
        say(int(time.time()), now())

    await bubble(body)


@scenario(any_procs=True)
async def sleepers_wake_in_order() -> None:
    async def sleeper(n: int) -> None:
        await gort.sleep(n * HOUR)
        say(n)

    async def body() -> None:
        for n in (5, 1, 4, 2, 3):
            gort.go(sleeper, n)
        await gort.sleep(2.5 * HOUR)
        await testing.wait()
        say("half")
        await gort.sleep(24 * HOUR)
        await testing.wait()

    await bubble(body)


@scenario(any_procs=True)
async def wait_lets_the_others_run() -> None:
    async def body() -> None:
        async def adds() -> None:
            nonlocal sum
            async for v in ch:
                sum += v
            sum = -1

        ch: gort.Chan[int] = gort.Chan()
        sum = 0
        gort.go(adds)
        for v in range(4):
            await ch.send(v)
            await testing.wait()
            say(sum)
        ch.close()
        await testing.wait()
        say(sum)

    await bubble(body)


@scenario(any_procs=True)
async def wait_takes_no_time() -> None:
    async def body() -> None:
        start = time.monotonic()
        fired: list[bool] = []
        gort.after_func(1, lambda: fired.append(True))
        await testing.wait()
        say(bool(fired), time.monotonic() - start == 0)
        await gort.sleep(1)
        await testing.wait()
        say(bool(fired), time.monotonic() - start == 1)

    await bubble(body)


@scenario(any_procs=True)
async def context_deadline() -> None:
    async def body() -> None:
        ctx, cancel = context.with_timeout(context.background(), 5)
        await gort.sleep(5 - 1e-9)
        await testing.wait()
        say(ctx.err())
        await gort.sleep(1e-9)
        await testing.wait()
        say(ctx.err())
        cancel()

    await bubble(body)


@scenario(any_procs=True)
async def ticker_of_an_hour() -> None:
    async def body() -> None:
        t = gort.Ticker(60)
        after = gort.after(HOUR + 1)
        n = 0
        while (await gort.select(t.c.recv(), after.recv()))[0] == 0:
            n += 1
        t.stop()
        say(n, int(time.time()))

    await bubble(body)


@scenario(any_procs=True)
async def timers_give_the_bubbles_time() -> None:
    async def body() -> None:
        say(int(await gort.after(90).recv()))
        t = gort.Timer(1)
        say(t.stop(), t.reset(60))
        say(int(await t.c.recv()))

    await bubble(body)


async def waits() -> None:
    await gort.Chan[int]().recv()


@scenario(any_procs=True)
async def all_blocked() -> None:
    say(await bubble(waits))


@scenario(any_procs=True)
async def others_remain() -> None:
    async def body() -> None:
        gort.go(waits)

    say(await bubble(body))


@scenario(any_procs=True)
async def time_stands_still_once_main_has_returned() -> None:
    async def sleeps() -> None:
        await gort.sleep(1)
        slept.append(True)

    async def body() -> None:
        gort.go(sleeps)

    slept: list[bool] = []
    say(await bubble(body))
    say(bool(slept))


@scenario(any_procs=True)
async def others_end() -> None:
    async def receives(ch: gort.Chan[int]) -> None:
        await ch.recv_ok()
        ended.append(True)

    async def body() -> None:
        ch: gort.Chan[int] = gort.Chan()
        gort.go(receives, ch)
        gort.go(ch.close)

    ended: list[bool] = []
    say(await bubble(body) == "", bool(ended))


@scenario(any_procs=True)
async def wait_group_and_cond() -> None:
    async def body() -> None:
        async def waits_for_it() -> None:
            nonlocal woken
            async with mu:
                await cond.wait()
                woken += 1

        wg, mu = WaitGroup(), Mutex()
        cond = Cond(mu)
        woken = 0
        for _ in range(3):
            wg.go(waits_for_it)
        await testing.wait()
        cond.signal()
        await testing.wait()
        say(woken)
        cond.broadcast()
        await wg.wait()
        say(woken)

    await bubble(body)


@scenario(any_procs=True)
async def channels_from_outside_work_without_a_wait() -> None:
    async def body() -> None:
        await ch.send(1)
        say(await ch.recv())
        await ch.send(2)

    ch: gort.Chan[int] = gort.Chan(1)
    await bubble(body)
    say(await ch.recv())


@scenario(any_procs=True)
async def wait_is_for_one() -> None:
    async def body() -> None:
        async def tries() -> None:
            await first.send(await caught(testing.wait) != "")

        first: gort.Chan[bool] = gort.Chan()
        gort.go(tries)
        gort.go(tries)
        a, b = await first.recv(), await first.recv()
        say(a != b)

    await bubble(body)
    say(await refused(testing.wait))


async def main() -> None:
    await run_scenario()
