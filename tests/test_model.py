"""A channel against a model of it: random scripts of sends and receives of one value and of many, tries and closes, one
event after another.

With one P, and every goroutine given time to park after each step, what a channel does is fixed: values
and waiters are FIFO, a waiting receiver is served before the buffer, a close wakes all. The model is
plain lists; hypothesis looks for a script on which the two differ, and shrinks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gort
from gort import ChannelClosed
from support import dose

KINDS = ["send", "recv", "try_send", "try_recv", "close", "select", "send_many", "recv_many", "select_many"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), max_size=40)
Entry = tuple[Any, ...]


class Sender:
    """One that waits: its number, the values that it still has, and how many it had."""

    def __init__(self, who: int, values: list[int], many: bool) -> None:
        self.who, self.values, self.many, self.count = who, values, many, len(values)

    def sent(self) -> Entry:
        return (self.who, "sent", self.count) if self.many else (self.who, "sent")

    def failed(self) -> Entry:
        return (
            (self.who, "send on closed", self.count - len(self.values)) if self.many else (self.who, "send on closed")
        )


class Model:
    """What a channel of `capacity` must do; `log` gets the same entries as the real one's.

    A recv_many that is woken with one value takes more when its goroutine runs.  With one P the last one woken runs
    first, then the others in order."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.closed = capacity, False
        self.buffer: list[int] = []
        self.senders: list[Sender] = []
        self.receivers: list[tuple[int, int]] = []  # (who, how many; 0: one that is no recv_many)
        self.woken: list[tuple[int, int, int]] = []
        self.log: list[Entry] = []

    def can_send(self) -> bool:
        return bool(self.receivers) or len(self.buffer) < self.capacity

    def give(self, v: int) -> None:
        if self.receivers:
            self.woken.append((*self.receivers.pop(0), v))
        else:
            self.buffer.append(v)

    def next_of_senders(self) -> int:
        first = self.senders[0]
        v = first.values.pop(0)
        if not first.values:
            self.log.append(self.senders.pop(0).sent())
        return v

    def take(self) -> int:
        v = self.buffer.pop(0) if self.buffer else None
        if self.senders:
            w = self.next_of_senders()
            if v is None:
                return w
            self.buffer.append(w)
        assert v is not None
        return v

    def take_many(self, most: int) -> list[int]:
        found: list[int] = []
        while len(found) < most and (self.buffer or self.senders):
            found.append(self.take())
        return found

    def step(self, n: int, what: str, k: int) -> None:
        self.do(n, what, k)
        for who, most, v in self.woken[-1:] + self.woken[:-1]:
            self.log.append((who, "got", v) if most == 0 else (who, "got many", [v, *self.take_many(most - 1)]))
        self.woken = []

    def do(self, n: int, what: str, k: int) -> None:
        has = bool(self.buffer or self.senders)
        if what in ("send", "try_send", "send_many"):
            values = [100 * n + i for i in range(k)] if what == "send_many" else [n]
            sender = Sender(n, values, what == "send_many")
            while values and self.can_send() and not self.closed:
                self.give(values.pop(0))
            if not values:
                self.log.append(sender.sent())
            elif self.closed:
                self.log.append(sender.failed())
            elif what == "try_send":
                self.log.append((n, "not sent"))
            else:
                self.senders.append(sender)
        elif what == "close":
            if self.closed:
                self.log.append((n, "close of closed"))
            else:
                self.closed = True
                self.log += [(who, "got many", []) if most else (who, "closed") for who, most in self.receivers]
                self.log += [sender.failed() for sender in self.senders]
                self.receivers, self.senders = [], []
        elif what in ("recv_many", "select_many"):
            if has or self.closed:
                self.log.append((n, "got many", self.take_many(k + 1)))
            else:
                self.receivers.append((n, k + 1))
        elif has:
            self.log.append((n, "got", self.take()))
        elif self.closed:
            self.log.append((n, "closed"))
        elif what == "try_recv":
            self.log.append((n, "nothing"))
        else:
            self.receivers.append((n, 0))


async def really(steps: list[tuple[str, int]], capacity: int) -> list[list[Entry]]:
    """The script on a real channel: the entries of each step, sorted (the order of waking is not the
    model's)."""
    ch: gort.Chan[int] = gort.Chan(capacity)
    never: gort.Chan[int] = gort.Chan()
    log: list[Entry] = []

    async def send_many(n: int, k: int) -> None:
        try:
            log.append((n, "sent", await ch.send_many(100 * n + i for i in range(k))))
        except ChannelClosed as e:
            log.append((n, "send on closed", e.sent))

    async def recv_many(n: int, k: int) -> None:
        log.append((n, "got many", await ch.recv_many(k + 1)))

    async def select_many(n: int, k: int) -> None:
        i, values, ok = await gort.select(never.recv(), ch.recv_many(k + 1), None)
        assert (i, ok) == (1, values != [])
        log.append((n, "got many", values))

    async def send(n: int, k: int) -> None:
        try:
            await ch.send(n)
            log.append((n, "sent"))
        except ChannelClosed:
            log.append((n, "send on closed"))

    async def recv(n: int, k: int) -> None:
        v, ok = await ch.recv_ok()
        log.append((n, "got", v) if ok else (n, "closed"))

    async def select(n: int, k: int) -> None:
        _, v, ok = await gort.select(never.recv(), ch.recv(), None)
        log.append((n, "got", v) if ok else (n, "closed"))

    per_step = []
    starts = {f.__name__: f for f in (send, recv, select, send_many, recv_many, select_many)}
    for n, (what, k) in enumerate(steps):
        log.clear()
        if what == "try_send":
            try:
                log.append((n, "sent") if ch.try_send(n) else (n, "not sent"))
            except ChannelClosed:
                log.append((n, "send on closed"))
        elif what == "try_recv":
            v, ok = ch.try_recv()
            log.append((n, "got", v) if ok else (n, "closed") if ch.closed else (n, "nothing"))
        elif what == "close":
            try:
                ch.close()
            except ChannelClosed:
                log.append((n, "close of closed"))
        else:
            gort.go(starts[what], n, k)
        for _ in range(3):
            await gort.gosched()
        per_step.append(sorted(log, key=str))
    return per_step


@settings(max_examples=dose(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, capacity=st.sampled_from([0, 1, 2, 5]))
def test_channel_does_what_the_model_does(
    run1: Callable[..., Any], steps: list[tuple[str, int]], capacity: int
) -> None:
    model = Model(capacity)
    expected = []
    for n, (what, k) in enumerate(steps):
        model.log.clear()
        model.step(n, what, k)
        expected.append(sorted(model.log, key=str))
    assert run1(really, steps, capacity) == expected
