"""A channel against a model of it: random scripts of sends, receives, tries and closes, one event after
another.

With one P, and every goroutine given time to park after each step, what a channel does is fixed: values
and waiters are FIFO, a waiting receiver is served before the buffer, a close wakes all. The model is
thirty lines of plain lists; hypothesis looks for a script on which the two differ, and shrinks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gort
from gort import ChannelClosed

STEPS = st.lists(st.sampled_from(["send", "recv", "try_send", "try_recv", "close", "select"]), max_size=40)


class Model:
    """What a channel of `capacity` must do; `log` gets the same entries as the real one's."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.closed = capacity, False
        self.buffer: list[int] = []
        self.senders: list[tuple[int, int]] = []
        self.receivers: list[int] = []
        self.log: list[tuple[Any, ...]] = []

    def can_send(self) -> bool:
        return bool(self.receivers) or len(self.buffer) < self.capacity

    def give(self, v: int) -> None:
        if self.receivers:
            self.log.append((self.receivers.pop(0), "got", v))
        else:
            self.buffer.append(v)

    def take(self) -> int:
        v = self.buffer.pop(0) if self.buffer else None
        if self.senders:
            who, w = self.senders.pop(0)
            self.log.append((who, "sent"))
            if v is None:
                return w
            self.buffer.append(w)
        assert v is not None
        return v

    def step(self, n: int, what: str) -> None:
        has = bool(self.buffer or self.senders)
        if what in ("send", "try_send"):
            if self.closed:
                self.log.append((n, "send on closed"))
            elif self.can_send():
                self.give(n)
                self.log.append((n, "sent"))
            elif what == "send":
                self.senders.append((n, n))
            else:
                self.log.append((n, "not sent"))
        elif what == "close":
            if self.closed:
                self.log.append((n, "close of closed"))
            else:
                self.closed = True
                self.log += [(who, "closed") for who in self.receivers]
                self.log += [(who, "send on closed") for who, _ in self.senders]
                self.receivers, self.senders = [], []
        elif has:
            self.log.append((n, "got", self.take()))
        elif self.closed:
            self.log.append((n, "closed"))
        elif what == "try_recv":
            self.log.append((n, "nothing"))
        else:
            self.receivers.append(n)


async def really(steps: list[str], capacity: int) -> list[list[tuple[Any, ...]]]:
    """The script on a real channel: the entries of each step, sorted (the order of waking is not the
    model's)."""
    ch: gort.Chan[int] = gort.Chan(capacity)
    never: gort.Chan[int] = gort.Chan()
    log: list[tuple[Any, ...]] = []

    async def send(n: int) -> None:
        try:
            await ch.send(n)
            log.append((n, "sent"))
        except ChannelClosed:
            log.append((n, "send on closed"))

    async def recv(n: int) -> None:
        v, ok = await ch.recv_ok()
        log.append((n, "got", v) if ok else (n, "closed"))

    async def select(n: int) -> None:
        _, v, ok = await gort.select(never.recv(), ch.recv(), None)
        log.append((n, "got", v) if ok else (n, "closed"))

    per_step = []
    for n, what in enumerate(steps):
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
            gort.go({"send": send, "recv": recv, "select": select}[what], n)
        for _ in range(3):
            await gort.gosched()
        per_step.append(sorted(log, key=str))
    return per_step


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, capacity=st.sampled_from([0, 1, 2, 5]))
def test_channel_does_what_the_model_does(run1: Callable[..., Any], steps: list[str], capacity: int) -> None:
    model = Model(capacity)
    expected = []
    for n, what in enumerate(steps):
        model.log.clear()
        model.step(n, what)
        expected.append(sorted(model.log, key=str))
    assert run1(really, steps, capacity) == expected
