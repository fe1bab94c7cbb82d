"""Select: default, nil cases, duplicates, fairness, one channel in both directions, two selects meeting.

Twin of ../go/selects.go.
"""

from __future__ import annotations

from typing import Any

from kit import MS, caught, run_scenario, say, scenario, settle

import gort
from gort.sync import Mutex, WaitGroup

Ints = gort.Chan[int]


@scenario(any_procs=True)
async def default_recv_empty() -> None:
    ch = Ints()
    i, _, _ = await gort.select(ch.recv(), default=True)
    say("recv" if i == 0 else "default")


@scenario(any_procs=True)
async def default_send_full() -> None:
    ch = Ints(1)
    for n in range(2):
        i, _, _ = await gort.select(ch.send(n), default=True)
        if i == 0:
            say("sent", n)
        else:
            say("default")
    say(await ch.recv())


@scenario(any_procs=True)
async def default_not_taken_when_ready() -> None:
    ch = Ints(100)
    for n in range(100):
        await ch.send(n)
    taken = 0
    for _ in range(100):
        i, _, _ = await gort.select(ch.recv(), default=True)
        taken += i == -1
    say(taken)


@scenario(any_procs=True)
async def nil_case_never_ready() -> None:
    ch = Ints(1)
    for n in range(20):
        await ch.send(n)
        i, v, ok = await gort.select(None, None, ch.recv())
        if i == 2:
            say(v, ok)
        else:
            say("nil")


@scenario(any_procs=True)
async def nil_case_with_default() -> None:
    i, _, _ = await gort.select(None, default=True)
    say("default" if i == -1 else "nil")


@scenario(any_procs=True)
async def nil_case_waits_for_other() -> None:
    ch = Ints()

    async def sender() -> None:
        await ch.send(3)

    gort.go(sender)
    i, v, _ = await gort.select(None, ch.recv())
    say(v if i == 1 else "nil")


@scenario(any_procs=True)
async def nil_disables_case() -> None:
    a: Ints | None = Ints(3)
    b: Ints | None = Ints(3)
    for n in range(3):
        await a.send(n)
        await b.send(10 * n)
    a.close()
    b.close()
    total = count = 0
    while a is not None or b is not None:
        i, v, ok = await gort.select(a.recv() if a is not None else None, b.recv() if b is not None else None)
        if not ok:
            if i == 0:
                a = None
            else:
                b = None
            continue
        total += v
        count += 1
    say(total, count)


@scenario(any_procs=True)
async def single_case() -> None:
    ch = Ints()

    async def sender() -> None:
        await ch.send(9)

    gort.go(sender)
    _, v, ok = await gort.select(ch.recv())
    say(v, ok)


@scenario(any_procs=True)
async def closed_is_ready() -> None:
    ch, other = Ints(), Ints()
    ch.close()
    i, _, ok = await gort.select(ch.recv(), other.recv())
    if i == 0:
        say("closed", ok)
    else:
        say("other")


@scenario(any_procs=True)
async def send_case_on_closed() -> None:
    ch, other = Ints(), Ints()
    ch.close()
    say(await caught(lambda: gort.select(ch.send(1), other.recv())))


@scenario(any_procs=True)
async def close_wakes_select_recv() -> None:
    a, b = Ints(), Ints()

    async def closer() -> None:
        b.close()

    gort.go(closer)
    i, _, ok = await gort.select(a.recv(), b.recv())
    if i == 0:
        say("a")
    else:
        say("b", ok)


@scenario
async def close_wakes_select_send() -> None:
    a, b = Ints(), Ints()
    done: gort.Chan[str] = gort.Chan()

    async def sender() -> None:
        await done.send(await caught(lambda: gort.select(a.send(1), b.send(2))))

    gort.go(sender)
    await settle()
    b.close()
    say(await done.recv())
    _, ok = a.try_recv()
    say("stale sender" if ok else "no sender")


@scenario(any_procs=True)
async def ready_cases_fair() -> None:
    chs = [Ints(4000) for _ in range(4)]
    for ch in chs:
        for n in range(4000):
            await ch.send(n)
    counts = [0] * 4
    for _ in range(4000):
        i, _, _ = await gort.select(*[ch.recv() for ch in chs])
        counts[i] += 1
    for count in counts:
        say(800 < count < 1200)


@scenario
async def duplicate_cases_fair_after_waiting() -> None:
    c, n = Ints(), 6000
    won = [0, 0, 0, 0, 0]

    async def partner() -> None:
        for v in range(n):
            if v % 2 == 0:
                await c.send(v)
            else:
                await c.recv()
            await gort.gosched()

    gort.go(partner)
    for v in range(n):
        if v % 2 == 0:
            i, _, _ = await gort.select(c.recv(), c.recv(), c.recv())
            won[i] += 1
        else:
            i, _, _ = await gort.select(c.send(1), c.send(2))
            won[3 + i] += 1
    say(all(abs(w - 1000) < 258 for w in won[:3]), all(abs(w - 1500) < 274 for w in won[3:]))


@scenario(any_procs=True)
async def duplicate_cases_fair() -> None:
    ch = Ints(2000)
    for n in range(2000):
        await ch.send(n)
    counts = [0, 0]
    ordered = True
    for n in range(2000):
        i, v, _ = await gort.select(ch.recv(), ch.recv())
        counts[i] += 1
        ordered = ordered and v == n
    say(counts[0] > 850, counts[1] > 850, sum(counts), ordered)


@scenario(any_procs=True)
async def duplicate_cases_waiting() -> None:
    ch, out = Ints(), Ints(10)

    async def receiver() -> None:
        for _ in range(10):
            _, v, _ = await gort.select(ch.recv(), ch.recv(), ch.recv())
            await out.send(v)
        out.close()

    gort.go(receiver)
    for n in range(10):
        await settle()
        await ch.send(n)
    async for v in out:
        say(v)


@scenario(any_procs=True)
async def duplicate_send_cases() -> None:
    ch = Ints()

    async def sender() -> None:
        for n in range(20):
            await gort.select(ch.send(n), ch.send(n))
        ch.close()

    gort.go(sender)
    async for v in ch:
        say(v)


@scenario(any_procs=True)
async def send_and_recv_one_buffered() -> None:
    ch = Ints(1)
    for n in range(8):
        i, v, _ = await gort.select(ch.send(n), ch.recv())
        if i == 0:
            say("send", n)
        else:
            say("recv", v)


@scenario(any_procs=True)
async def send_and_recv_one_unbuffered() -> None:
    ch = Ints()
    i, _, _ = await gort.select(ch.send(1), ch.recv(), default=True)
    say({0: "send", 1: "recv", -1: "default"}[i])


@scenario(any_procs=True)
async def send_and_recv_one_half_full() -> None:
    ch = Ints(10)
    for n in range(5):
        await ch.send(n)
    sends = recvs = bad = 0
    for n in range(1000):
        i, _, _ = await gort.select(ch.send(n), ch.recv())
        if i == 0:
            sends += 1
        else:
            recvs += 1
        if len(ch) != 5 + sends - recvs or not 0 <= len(ch) <= 10:
            bad += 1
    say(bad, sends > 300, recvs > 300)


@scenario(any_procs=True)
async def two_selects_meet() -> None:
    ch = Ints()
    rounds = 400
    mu = Mutex()
    sent = received = total = 0
    wg = WaitGroup()

    async def party() -> None:
        nonlocal sent, received, total
        for _ in range(rounds):
            i, v, _ = await gort.select(ch.send(1), ch.recv())
            async with mu:
                if i == 0:
                    sent += 1
                else:
                    received += 1
                    total += v

    for _ in range(2):
        wg.go(party)
    await wg.wait()
    say(sent, received, total)


@scenario(any_procs=True)
async def two_selects_cross() -> None:
    a, b = Ints(), Ints()
    rounds = 300
    left: list[str] = []
    right: list[str] = []
    wg = WaitGroup()

    async def party(send: Ints, recv: Ints, names: str, log: list[str]) -> None:
        for n in range(rounds):
            i, _, _ = await gort.select(send.send(n), recv.recv())
            log.append(names[i])

    wg.go(party, a, b, "ab", left)
    wg.go(party, b, a, "ba", right)
    await wg.wait()
    say(left == right, len(left))


@scenario(any_procs=True)
async def ring_of_selects() -> None:
    n, rounds = 5, 60
    chs = [Ints() for _ in range(n)]
    mu = Mutex()
    sent = received = 0
    stop: gort.Chan[bool] = gort.Chan()
    wg = WaitGroup()

    async def member(k: int) -> None:
        nonlocal sent, received
        while True:
            i, _, _ = await gort.select(chs[k].send(k), chs[(k + n - 1) % n].recv(), stop.recv())
            if i == 2:
                return
            async with mu:
                if i == 0:
                    sent += 1
                else:
                    received += 1

    for k in range(n):
        wg.go(member, k)
    while True:
        async with mu:
            enough = sent > rounds
        if enough:
            break
        await settle()
    stop.close()
    await wg.wait()
    say(sent == received)


def _senders(*pairs: tuple[Ints, int]) -> None:
    async def sender(ch: Ints, value: int) -> None:
        await ch.send(value)

    for ch, value in pairs:
        gort.go(sender, ch, value)


@scenario(any_procs=True)
async def lost_case_keeps_value() -> None:
    a, b = Ints(), Ints()
    _senders((a, 1), (b, 2))
    await settle()
    i, total, _ = await gort.select(a.recv(), b.recv())
    total += await (b if i == 0 else a).recv()
    say(total)


@scenario(any_procs=True)
async def lost_buffered_case_keeps_value() -> None:
    a, b = Ints(1), Ints(1)
    await a.send(1)
    await b.send(2)
    await gort.select(a.recv(), b.recv())
    say(len(a) + len(b))


@scenario
async def lost_waiting_case_leaves_queue() -> None:
    a, b, done = Ints(), Ints(), Ints()

    async def waiter() -> None:
        _, v, _ = await gort.select(a.recv(), b.recv())
        await done.send(v)

    gort.go(waiter)
    await settle()
    await a.send(1)
    say(await done.recv())
    say("a stale receiver took it" if b.try_send(2) else "no receiver")


@scenario
async def select_send_hands_over_once() -> None:
    a, b = Ints(), Ints()
    out: gort.Chan[str] = gort.Chan(2)

    async def receiver(ch: Ints) -> None:
        await ch.recv()
        await out.send("one")

    gort.go(receiver, a)
    gort.go(receiver, b)
    await settle()
    await gort.select(a.send(1), b.send(1))
    await settle()
    say(len(out))


@scenario
async def fifo_among_selects_and_receivers() -> None:
    ch, other = Ints(), Ints()
    out: gort.Chan[tuple[int, int]] = gort.Chan(6)

    async def waiter(k: int) -> None:
        if k % 2 == 0:
            v = await ch.recv()
        else:
            _, v, _ = await gort.select(ch.recv(), other.recv())
        await out.send((k, v))

    for k in range(6):
        gort.go(waiter, k)
        await settle()
    for k in range(6):
        await ch.send(k)
        await settle()
    for _ in range(6):
        say(*await out.recv())


@scenario(any_procs=True)
async def hundred_cases() -> None:
    n = 100
    chs = [Ints() for _ in range(n)]

    async def sender() -> None:
        for k in reversed(range(n)):
            await chs[k].send(k * 2)

    gort.go(sender)
    for k in range(n):
        chosen, v, ok = await gort.select(*[ch.recv() for ch in chs])
        if k % 25 == 0:
            say(chosen, v, ok)


@scenario(any_procs=True)
async def timeout_case() -> None:
    ch = Ints()
    i, _, _ = await gort.select(ch.recv(), gort.after(20 * MS).recv())
    say("value" if i == 0 else "timeout")
    _senders((ch, 1))
    i, _, _ = await gort.select(ch.recv(), gort.after(60).recv())
    say("value" if i == 0 else "timeout")


@scenario(any_procs=True)
async def fan_in_quit() -> None:
    a, b = Ints(), Ints()
    quit_: gort.Chan[bool] = gort.Chan()

    async def feed(ch: Ints, base: int) -> None:
        for n in range(50):
            await ch.send(base + n)
        await quit_.send(True)

    gort.go(feed, a, 0)
    gort.go(feed, b, 1000)
    total = quits = 0
    while quits < 2:
        i, v, _ = await gort.select(a.recv(), b.recv(), quit_.recv())
        if i == 2:
            quits += 1
        else:
            total += v
    say(total)


@scenario(any_procs=True)
async def priority_idiom() -> None:
    high, low = Ints(5), Ints(5)
    for n in range(5):
        await high.send(n)
        await low.send(100 + n)
    for _ in range(10):
        i, v, _ = await gort.select(high.recv(), default=True)
        if i == -1:
            _, v, _ = await gort.select(high.recv(), low.recv())
        say(v)


@scenario(mode="deadlock", any_procs=True)
async def select_none() -> None:
    nothing: tuple[Any, ...] = ()
    await gort.select(*nothing)


@scenario(mode="deadlock", any_procs=True)
async def select_all_nil() -> None:
    await gort.select(None, None)


@scenario(mode="deadlock", any_procs=True)
async def select_deadlock() -> None:
    a, b = Ints(), Ints()
    await gort.select(a.recv(), b.send(1))


async def main() -> None:
    await run_scenario()
