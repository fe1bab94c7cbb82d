"""Channels: buffered, unbuffered, full, empty, closed; order of waiters, hand-over. Twin of ../go/chan.go."""

from __future__ import annotations

from typing import Any

from kit import caught, refused, run_scenario, say, scenario, settle

import gort
from gort.sync import Mutex, WaitGroup


@scenario(any_procs=True)
async def unbuffered_pair() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def sender() -> None:
        for i in range(5):
            await ch.send(i)
        ch.close()

    gort.go(sender)
    async for v in ch:
        say(v)
    say("end")


@scenario
async def unbuffered_len_cap() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def sender() -> None:
        await ch.send(1)

    gort.go(sender)
    await settle()
    say(len(ch), ch.capacity)
    say(await ch.recv())
    say(len(ch), ch.capacity)


@scenario(any_procs=True)
async def buffered_fill() -> None:
    ch: gort.Chan[int] = gort.Chan(3)
    for i in range(5):
        sent = ch.try_send(i)
        say(i, sent, len(ch), ch.capacity)
    for _ in range(3):
        v = await ch.recv()
        say(v, len(ch))


@scenario(any_procs=True)
async def try_recv_empty() -> None:
    ch: gort.Chan[int] = gort.Chan(1)

    async def attempt() -> None:
        i, v, ok = await gort.select(ch.recv(), default=True)
        if i == 0:
            say("got", v, ok)
        else:
            say("empty")

    await attempt()
    await ch.send(7)
    await attempt()
    await attempt()


@scenario
async def try_send_needs_receiver() -> None:
    ch: gort.Chan[int] = gort.Chan()
    say(ch.try_send(1))
    wg = WaitGroup()

    async def receiver() -> None:
        say("got", await ch.recv())

    wg.go(receiver)
    await settle()
    say(ch.try_send(2))
    say(ch.try_send(3))
    await wg.wait()


@scenario
async def try_recv_needs_sender() -> None:
    ch: gort.Chan[int] = gort.Chan()

    def attempt() -> None:
        v, ok = ch.try_recv()
        if ok:
            say("got", v, ok)
        else:
            say("none")

    async def sender() -> None:
        await ch.send(5)
        say("sender on")

    attempt()
    gort.go(sender)
    await settle()
    attempt()
    attempt()
    await settle()


@scenario(any_procs=True)
async def closed_drain() -> None:
    ch: gort.Chan[int] = gort.Chan(3)
    for i in range(1, 4):
        await ch.send(i * 10)
    ch.close()
    say(len(ch), ch.capacity)
    for _ in range(3):
        v, ok = await ch.recv_ok()
        say(v, ok, len(ch))
    for _ in range(2):
        v, ok = await ch.recv_ok()
        assert v is None
        say("drained", ok)


@scenario(any_procs=True)
async def closed_empty() -> None:
    ch: gort.Chan[int] = gort.Chan()
    ch.close()
    _, ok = await ch.recv_ok()
    say(ok)
    async for _ in ch:
        say("never")
    i, _, ok = await gort.select(ch.recv(), default=True)
    if i == 0:
        say("ready", ok)
    else:
        say("not ready")


@scenario(any_procs=True)
async def send_on_closed() -> None:
    ch: gort.Chan[int] = gort.Chan(1)
    ch.close()
    say(await caught(lambda: ch.send(1)))
    un: gort.Chan[int] = gort.Chan()
    un.close()
    say(await caught(lambda: un.send(1)))
    full: gort.Chan[int] = gort.Chan(1)
    await full.send(1)
    full.close()
    say(await caught(lambda: full.send(1)))
    say(await full.recv())


@scenario(any_procs=True)
async def try_send_on_closed() -> None:
    ch: gort.Chan[int] = gort.Chan(1)
    ch.close()
    say(await caught(lambda: ch.try_send(1)))


@scenario(any_procs=True)
async def double_close() -> None:
    ch: gort.Chan[int] = gort.Chan()
    ch.close()
    say(await caught(ch.close))
    _, ok = await ch.recv_ok()
    say(ok)


@scenario(any_procs=True)
async def negative_capacity() -> None:
    say(await refused(lambda: gort.Chan(-1)))
    say(await refused(lambda: gort.Chan(0)))


@scenario(any_procs=True)
async def nil_values() -> None:
    ch: gort.Chan[Any] = gort.Chan(2)
    await ch.send(None)
    await ch.send(None)
    v, ok = await ch.recv_ok()
    say(v is None, ok)
    ch.close()
    v, ok = await ch.recv_ok()
    say(v is None, ok)
    v, ok = await ch.recv_ok()
    say(v is None, ok)


@scenario
async def fifo_receivers() -> None:
    ch: gort.Chan[int] = gort.Chan()
    out: gort.Chan[str] = gort.Chan(10)

    async def receiver(i: int) -> None:
        v = await ch.recv()
        await out.send(f"receiver {i} got {v}")

    for i in range(5):
        gort.go(receiver, i)
        await settle()
    for i in range(5):
        await ch.send(i * 100)
        await settle()
    for _ in range(5):
        say(await out.recv())


@scenario
async def fifo_senders() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def sender(i: int) -> None:
        await ch.send(i)

    for i in range(5):
        gort.go(sender, i)
        await settle()
    for _ in range(5):
        say(await ch.recv())


@scenario
async def fifo_senders_behind_buffer() -> None:
    ch: gort.Chan[int] = gort.Chan(2)

    async def sender(i: int) -> None:
        await ch.send(i)
        say("sent", i)

    for i in range(6):
        gort.go(sender, i)
        await settle()
    say(len(ch))
    for _ in range(6):
        v = await ch.recv()
        say("got", v, len(ch))
        await settle()


@scenario
async def direct_handover() -> None:
    ch: gort.Chan[int] = gort.Chan(1)

    async def receiver() -> None:
        say("got", await ch.recv())

    gort.go(receiver)
    await settle()
    await ch.send(1)
    say(len(ch))
    await ch.send(2)
    say(len(ch))
    await settle()
    say(len(ch))


@scenario
async def no_barging() -> None:
    ch: gort.Chan[int] = gort.Chan(1)

    async def receiver() -> None:
        say("parked got", await ch.recv())

    gort.go(receiver)
    await settle()
    await ch.send(1)
    v, ok = ch.try_recv()
    if ok:
        say("main got", v)
    else:
        say("main got nothing")
    await settle()


@scenario(any_procs=True)
async def close_wakes_receivers() -> None:
    ch: gort.Chan[int] = gort.Chan()
    wg = WaitGroup()
    oks = 0
    mu = Mutex()

    async def receiver() -> None:
        nonlocal oks
        _, ok = await ch.recv_ok()
        async with mu:
            if not ok:
                oks += 1

    for _ in range(7):
        wg.go(receiver)
    await settle()
    ch.close()
    await wg.wait()
    say(oks)


@scenario
async def close_wake_order() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def receiver(i: int) -> None:
        _, ok = await ch.recv_ok()
        say("receiver", i, ok)

    for i in range(6):
        gort.go(receiver, i)
        await settle()
    ch.close()
    await settle()


@scenario(any_procs=True)
async def close_wakes_senders() -> None:
    ch: gort.Chan[int] = gort.Chan()
    wg = WaitGroup()

    async def sender(i: int) -> None:
        say(await caught(lambda: ch.send(i)))

    for i in range(3):
        wg.go(sender, i)
    await settle()
    ch.close()
    await wg.wait()
    _, ok = await ch.recv_ok()
    say(ok)


@scenario(any_procs=True)
async def close_full_with_senders() -> None:
    ch: gort.Chan[int] = gort.Chan(2)
    await ch.send(1)
    await ch.send(2)
    wg = WaitGroup()

    async def sender(i: int) -> None:
        say(await caught(lambda: ch.send(90 + i)))

    for i in range(2):
        wg.go(sender, i)
    await settle()
    ch.close()
    await wg.wait()
    async for v in ch:
        say("kept", v)


@scenario(any_procs=True)
async def range_until_close() -> None:
    ch: gort.Chan[int] = gort.Chan(4)

    async def producer() -> None:
        try:
            for i in range(10):
                await ch.send(i * i)
        finally:
            ch.close()

    gort.go(producer)
    say(sum([v async for v in ch]))


@scenario(any_procs=True)
async def range_break_keeps_rest() -> None:
    ch: gort.Chan[int] = gort.Chan(5)
    for i in range(5):
        await ch.send(i)
    async for v in ch:
        if v == 2:
            break
    say(len(ch), await ch.recv(), await ch.recv())


@scenario(any_procs=True)
async def channel_of_channels() -> None:
    requests: gort.Chan[tuple[int, gort.Chan[int]]] = gort.Chan()

    async def server() -> None:
        async for n, reply in requests:
            await reply.send(n * n)

    gort.go(server)
    for i in range(1, 5):
        reply: gort.Chan[int] = gort.Chan()
        await requests.send((i, reply))
        say(await reply.recv())
    requests.close()


@scenario(any_procs=True)
async def prime_sieve() -> None:
    ch: gort.Chan[int] = gort.Chan()

    async def generate(out: gort.Chan[int]) -> None:
        i = 2
        while True:
            await out.send(i)
            i += 1

    async def sieve(source: gort.Chan[int], out: gort.Chan[int], prime: int) -> None:
        while True:
            v = await source.recv()
            if v % prime:
                await out.send(v)

    gort.go(generate, ch)
    for _ in range(40):
        prime = await ch.recv()
        say(prime)
        following: gort.Chan[int] = gort.Chan()
        gort.go(sieve, ch, following, prime)
        ch = following


@scenario(any_procs=True)
async def daisy_chain() -> None:
    async def link(left: gort.Chan[int], right: gort.Chan[int]) -> None:
        await left.send(1 + await right.recv())

    async def seed(ch: gort.Chan[int]) -> None:
        await ch.send(1)

    leftmost: gort.Chan[int] = gort.Chan()
    left = leftmost
    for _ in range(1000):
        right: gort.Chan[int] = gort.Chan()
        gort.go(link, left, right)
        left = right
    gort.go(seed, left)
    say(await leftmost.recv())


@scenario(any_procs=True)
async def ping_pong() -> None:
    a: gort.Chan[int] = gort.Chan()
    b: gort.Chan[int] = gort.Chan()

    async def player() -> None:
        async for v in a:
            await b.send(v + 1)
        b.close()

    gort.go(player)
    v = 0
    for _ in range(500):
        await a.send(v)
        v = await b.recv()
    a.close()
    _, ok = await b.recv_ok()
    say(v, ok)


@scenario(any_procs=True)
async def many_to_many() -> None:
    ch: gort.Chan[int] = gort.Chan(3)
    sums: gort.Chan[int] = gort.Chan()
    wg = WaitGroup()

    async def producer(p: int) -> None:
        for i in range(100):
            await ch.send(p * 100 + i)

    async def consumer() -> None:
        await sums.send(sum([v async for v in ch]))

    for p in range(8):
        wg.go(producer, p)
    for _ in range(5):
        gort.go(consumer)
    await wg.wait()
    ch.close()
    total = 0
    for _ in range(5):
        total += await sums.recv()
    say(total)


@scenario(any_procs=True)
async def channel_as_semaphore() -> None:
    slots: gort.Chan[None] = gort.Chan(3)
    mu = Mutex()
    now = most = 0
    wg = WaitGroup()

    async def worker() -> None:
        nonlocal now, most
        await slots.send(None)
        async with mu:
            now += 1
            most = max(most, now)
        await settle()
        async with mu:
            now -= 1
        await slots.recv()

    for _ in range(20):
        wg.go(worker)
    await wg.wait()
    say(most <= 3, now)


@scenario(any_procs=True)
async def per_sender_order() -> None:
    ch: gort.Chan[tuple[int, int]] = gort.Chan()
    wg = WaitGroup()

    async def sender(p: int) -> None:
        for i in range(50):
            await ch.send((p, i))

    async def closer() -> None:
        await wg.wait()
        ch.close()

    for p in range(4):
        wg.go(sender, p)
    gort.go(closer)
    following = [0] * 4
    ordered = True
    async for p, i in ch:
        ordered = ordered and i == following[p]
        following[p] += 1
    say(ordered, *following)


async def main() -> None:
    await run_scenario()
