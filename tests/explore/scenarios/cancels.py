"""Cancellations that meet: two at a time, of every pair of sources, in a goroutine that is in a timeout's block and, in
that, in a group's.  The rules are in docs/guide-cancellation.md.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import gort
from explore.scenarios.base import MS, equal, scenario


class Inner(Exception):
    """The failure of a member of the inner group."""


class Outer(Exception):
    """The failure of a member of the outer group."""


SOURCES = ("member", "outer_fails", "scope", "inner_fails", "inner")


async def fail(exc: Exception) -> None:
    raise exc


def meet(pair: tuple[str, str]) -> None:
    """Both sources of a pair act while the member waits in its blocks."""
    never = gort.Chan[None]()
    ready = gort.Chan[None]()
    go_on = gort.Chan[None]()
    inside: dict[str, Any] = {}
    log: list[str] = []
    failures: list[str] = []

    async def child() -> None:
        await never.recv()

    async def member() -> None:
        try:
            async with gort.move_on_after(None) as scope:
                async with gort.Group() as inner:
                    inside.update(scope=scope, inner=inner)
                    inner.go(child)
                    ready.close()
                    await never.recv()
        except* Inner:
            log.append("inner failed")
        log.append("after")
        await go_on.recv_ok()
        log.append("end")

    async def act(kind: str, outer: gort.Group, over: gort.sync.WaitGroup) -> None:
        await ready.recv_ok()
        try:
            if kind == "member":
                inside["handle"].cancel()
            elif kind == "outer_fails":
                outer.go(fail, Outer())
            elif kind == "scope":
                inside["scope"].cancel()
            elif kind == "inner_fails":
                inside["inner"].go(fail, Inner())
            else:
                inside["inner"].cancel()
        except RuntimeError:  # the group has ended, or was cancelled by the other source
            log.append(f"{kind} too late")
        over.done()

    async def main() -> None:
        over = gort.sync.WaitGroup()
        over.add(2)
        dies = "member" in pair or "outer_fails" in pair
        try:
            async with gort.Group() as outer:
                inside["handle"] = h = outer.go(member)
                for kind in pair:
                    gort.go(act, kind, outer, over)
                await over.wait()
                if not dies:
                    go_on.close()
        except* Outer as e:
            failures.extend(["Outer"] * len(e.exceptions))
        await over.wait()
        if dies:  # it was never let go on: without the cancellation it waits for ever
            assert isinstance(h.exception(), gort.Cancelled), (h.exception(), log)
            assert "end" not in log, log
        else:
            equal(h.exception(), None)
            equal([line for line in log if "late" not in line][-2:], ["after", "end"])
        if "inner_fails" not in pair:
            assert "inner failed" not in log, log
        elif pair == ("inner_fails", "inner_fails"):
            assert "inner failed" in log, log
        lost = log.count("outer_fails too late")
        assert (len(failures) > 0) == ("outer_fails" in pair and lost < pair.count("outer_fails")), (failures, log)
        if inside["scope"].cancelled_caught:
            assert "scope" in pair
        await gort.gosched()  # nothing is left pending in main

    gort.run(main, procs=2)


def add(pair: tuple[str, str]) -> None:
    def body() -> None:
        meet(pair)

    body.__name__ = f"cancels_{pair[0]}_{pair[1]}"
    body.__doc__ = meet.__doc__
    scenario()(body)


PAIRS = list(combinations_with_replacement(SOURCES, 2))
for _pair in PAIRS:
    add(_pair)


@scenario()
def cancel_or_shield() -> None:
    """A second cancellation comes while the member enters, is in, or leaves a shield: the clean-up there is done."""
    log: list[str] = []

    async def member(begun: gort.Chan[None], go: gort.Chan[None]) -> None:
        try:
            await gort.Chan[None]().recv()
        finally:
            async with gort.shield():
                begun.close()
                await go.recv_ok()
                log.append("clean")
            await gort.gosched()
            log.append("not cancelled")

    async def main() -> None:
        begun, go = gort.Chan[None](), gort.Chan[None]()

        async def again() -> None:
            await begun.recv_ok()
            h.cancel()

        async def let_go() -> None:
            await begun.recv_ok()
            go.close()

        async with gort.Group() as group:
            h = group.go(member, begun, go)
            while not gort.runtime.stack(all=True).count("[chan receive]"):
                await gort.gosched()
            h.cancel()
            gort.go(again)
            gort.go(let_go)
        equal(log[:1], ["clean"])
        assert isinstance(h.exception(), gort.Cancelled)

    gort.run(main, procs=2)


@scenario()
def timeout_or_value() -> None:
    """A value comes when the time is over: it arrives, or is still there."""

    async def main() -> None:
        ch = gort.Chan[int]()
        got: list[int] = []
        sent: list[bool] = []

        async def sender() -> None:
            await gort.sleep(MS)
            sent.append(ch.try_send(7))

        gort.go(sender)
        async with gort.move_on_after(MS) as scope:
            got.append(await ch.recv())
        if not got:
            assert scope.cancelled_caught
        while not sent:
            await gort.sleep(MS)
        equal(got, [7] if sent == [True] else [])
        await gort.gosched()

    gort.run(main, procs=2)


@scenario()
def cancels_at_the_end() -> None:
    """Main returns while members are cancelled and clean up: all ends."""

    async def member() -> None:
        try:
            async with gort.timeout(None), gort.Group() as group:
                group.go(gort.Chan[None]().recv)
                await gort.Chan[None]().recv()
        finally:
            await gort.gosched()

    async def owner(ready: gort.Chan[Any]) -> None:
        async with gort.Group() as group:
            await ready.send(group.go(member))
            await gort.Chan[None]().recv()

    async def main() -> int:
        ready = gort.Chan[Any]()
        gort.go(owner, ready)
        h = await ready.recv()
        gort.go(h.cancel)
        return 42

    equal(gort.run(main, procs=2), 42)
