"""What looks wrong in a program, in sentences: rules over its last looks (looks.py).

Each rule takes the looks of the last seconds, the oldest first, and gives findings: the rule's name, a sentence for a
person who has not read the program, and the places that it names.  A rule wants to see the same thing for a while
(SPAN_S), so that what only comes and goes is not called wrong: a program that does its work has no finding.

What does not live here: how a look is made.
"""

from __future__ import annotations

import os
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Look = dict[str, Any]

KEEP_S = 6.0  # the rules see so much of the past,
KEEP_LOOKS = 6  # and at least so many looks: where there are many goroutines a look is taken seldom
RECENT_S = 4.0  # what comes and goes is looked for in this time
SPAN_S = 1.5  # a thing is wrong that has been seen for so long
GROWTH_S = 2.0
LOOKS_MIN = 4  # and in so many looks
GREW_MIN = 20  # a kind of goroutine grows that has become so many more, and a tenth of what it is
WAITERS_MIN = 10  # a lock is crowded for which so many wait
STALLED_S = 0.05  # or one, for so long, while the holder itself waits for a P
OFTEN = 0.6  # of the looks
BUSY = 0.15  # of the samples
KEPT_BYTES = 10_000_000


def finding(rule: str, text: str, *stacks: list[list[Any]]) -> dict[str, Any]:
    """One finding.  stacks: what it names, the most important first."""
    at = [f"{file}:{line}" for stack in stacks for _, file, line in stack[:1]]
    return {"rule": rule, "text": text, "at": list(dict.fromkeys(at)), "stack": stacks[0] if stacks else []}


def place(frame: list[Any]) -> str:
    """`function (file:line)`."""
    name, file, line = frame
    return f"{name} ({os.path.basename(file)}:{line})"


def where(stack: list[list[Any]], callers: int = 1) -> str:
    """The innermost frame and those that have called it."""
    if not stack:
        return "an unknown place"
    return ", called by ".join(place(frame) for frame in stack[: 1 + callers])


def several(n: int, word: str = "goroutine") -> str:
    """`3 goroutines`."""
    return f"{n} {word}{'s' * (n != 1)}"


def size(n: float) -> str:
    """A number of bytes."""
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


def key_of(group: dict[str, Any]) -> Any:
    """What makes two groups of two looks the same one."""
    return group["state"], tuple(map(tuple, group["stack"])), tuple(group["by"])


def span(looks: list[Look]) -> float:
    """The seconds from the first of the looks to the last."""
    return (looks[-1]["ns"] - looks[0]["ns"]) / 1e9 if looks else 0.0


def latest(looks: list[Look], seconds: float) -> list[Look]:
    """Those of the last seconds, and at least KEEP_LOOKS."""
    for i, each in enumerate(looks):
        if looks[-1]["ns"] - each["ns"] <= seconds * 1e9:
            return looks[min(i, max(0, len(looks) - KEEP_LOOKS)) :]
    return looks


def deadlock(looks: list[Look]) -> Iterator[dict[str, Any]]:
    """Goroutines that wait for each other, in two looks in a row."""
    if len(looks) < 2:
        return
    before = [circle["key"] for circle in looks[-2]["circles"]]
    for circle in looks[-1]["circles"]:
        if circle["key"] not in before:
            continue
        members = circle["members"]
        told = "; ".join(
            f"goroutine {each['goid']} at {where(each['stack'], 0)} waits for {each['waits']}" for each in members[:4]
        )
        if len(members) == 1:
            text = f"A goroutine waits for a lock that it holds itself, and will wait for ever: {told}."
        else:
            text = f"{several(len(members))} wait for each other, and will wait for ever: {told}."
        yield finding("deadlock", text, *(each["stack"] for each in members))


def growth(looks: list[Look]) -> Iterator[dict[str, Any]]:
    """Kinds of goroutines that become more and more."""
    if len(looks) < LOOKS_MIN or span(looks) < GROWTH_S:
        return
    counts: list[dict[Any, int]] = [{key_of(group): group["count"] for group in each["groups"]} for each in looks]
    for group in looks[-1]["groups"]:
        key = key_of(group)
        seen = [each.get(key, 0) for each in counts]
        first, middle, last = seen[0], seen[len(seen) // 2], seen[-1]
        if last - first < max(GREW_MIN, last / 10) or not first < middle < last:
            continue
        if any(after < before * 0.98 - 1 for before, after in pairwise(seen)):
            continue
        rate = (last - first) / span(looks)
        text = f"{several(last)} [{group['state']}] at {where(group['stack'], 0)}, {rate:.0f} more each second. "
        if group["by"]:
            text += f"They are started by {place(group['by'])}. "
        yield finding("growth", text + why_they_stay(group), group["stack"], [group["by"]] if group["by"] else [])


def why_they_stay(group: dict[str, Any]) -> str:
    """What a growing group waits for, as a reason."""
    waits: list[Any] = max(group["waits"], default=[0, ""])
    if waits[0] * 2 >= group["count"]:
        if group["state"] == "chan send":
            return f"They wait to send to {waits[1]}: whoever receives from it is too slow, or has gone."
        return f"They wait for {waits[1]}."
    if group["state"] == "chan send":
        return "Each waits to send to a channel of its own, and whoever was to receive from it has probably gone."
    if group["state"] == "chan receive":
        return "Each waits to receive from a channel of its own (a ticker, perhaps), and nothing ends them."
    return "Nothing seems to end them."


def memory(looks: list[Look]) -> Iterator[dict[str, Any]]:
    """Waiting goroutines whose frames keep a lot of memory."""
    if len(looks) < LOOKS_MIN or span(looks) < SPAN_S:
        return
    earlier = {key_of(group) for group in looks[-LOOKS_MIN]["groups"]}
    for group in looks[-1]["groups"]:
        kept = group.get("kept")
        if not kept or kept["bytes"] < KEPT_BYTES or group["count"] < 2 or key_of(group) not in earlier:
            continue
        what = ", ".join(
            f"{f'`{name}` ({kind})' if name else f'a {kind}'} of {function}, {size(each)}"
            for name, kind, function, each in kept["what"]
        )
        text = (
            f"{several(group['count'])} [{group['state']}] keep {size(kept['bytes'])} in their variables while they wait "
            f"at {where(group['stack'], 0)}. Each keeps {what}. `del` what is not needed any more before the wait."
        )
        yield finding("memory", text, group["stack"])


def locks(looks: list[Look]) -> Iterator[dict[str, Any]]:
    """Locks for which many wait, or one while the holder waits for a P."""
    recent = latest(looks, RECENT_S)
    if len(recent) < LOOKS_MIN or span(recent) < SPAN_S:
        return
    deadlocked = {member["waits"] for circle in looks[-1]["circles"] for member in circle["members"]}
    seen: dict[str, list[dict[str, Any]]] = {}
    for each in recent:
        for item in each["objects"]:
            if item["holder"] is not None and item["text"] not in deadlocked:
                seen.setdefault(item["id"], []).append(item)
    for items in seen.values():
        crowded = [item for item in items if item["waiters"] >= WAITERS_MIN]
        stalled = [
            item for item in items if item["oldest"] >= STALLED_S and item["holder"]["state"] in ("runnable", "running")
        ]
        found = max(crowded, stalled, key=len)
        if len(found) < OFTEN * len(recent):
            continue
        by = most_common([item["holder"] for item in found])
        name = found[-1]["text"].partition(",")[0]
        most = round(sum(item["waiters"] for item in found) / len(found))
        text = f"{several(most)} {'wait' if most != 1 else 'waits'} for {name} at {where(found[-1]['at'], 0)}"
        longest = max(item["oldest"] for item in found)
        text += f", the longest for {longest:.1f} s. " if longest >= STALLED_S else ". "
        times = f"In {by[1]} of {len(found)} looks" if by[1] < len(found) else "Each time"
        text += f"{times} its holder (goroutine {by[0]['goid']} at the last) was [{by[0]['state']}] at "
        text += f"{where(by[0]['stack'])}."
        if by[0]["state"] == "runnable":
            p = recent[-1]["gomaxprocs"]
            text += f" It waits there for its turn: {several(recent[-1]['runnable'])} for {several(p, 'processor')}."
        else:
            text += " Do what takes long before or after the lock."
        yield finding("lock", text, by[0]["stack"], found[-1]["at"])


def most_common(holders: list[dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """The last holder with the most frequent stack, and how often there was one with that stack."""
    counts: dict[Any, int] = {}
    last: dict[Any, dict[str, Any]] = {}
    for each in holders:
        key = tuple((name, file) for name, file, _ in each["stack"])
        counts[key] = counts.get(key, 0) + 1
        last[key] = each
    key = max(counts, key=lambda each: counts[each])
    return last[key], counts[key]


def threads(looks: list[Look]) -> Iterator[dict[str, Any]]:
    """Calls that block their thread, and goroutines that compute without an operation."""
    if span(looks) < SPAN_S:
        return
    total = sum(each["samples"]["looks"] for each in looks)
    found: dict[Any, list[Any]] = {}
    for each in looks:
        for at in each["samples"]["at"]:
            key = (at["kind"], tuple((name, file) for name, file, _ in at["stack"][:4]))
            entry = found.setdefault(key, [at, 0.0, 0])
            entry[0] = at
            entry[1] += at["count"]
            entry[2] = max(entry[2], at["longest"])
    if not total:
        return
    seconds = looks[-1]["counters"]["blocked_ns"] - looks[0]["counters"]["blocked_ns"]
    for (kind, _), (at, count, longest) in sorted(found.items(), key=lambda each: -each[1][1]):
        if count < BUSY * total:
            continue
        numbers = ", ".join(map(str, at["goids"][:3]))
        if kind == "computes":
            text = (
                f"{where(at['stack'])} computes for long without an operation of gort's: in {100 * count / total:.0f} % "
                f"of the samples, up to {longest / 1e6:.0f} ms at a time (goroutine {numbers}). Others wait meanwhile: "
                f"`await gort.gosched()` now and then, or another process."
            )
        else:
            text = (
                f"{where(at['stack'])} blocks its thread: {count / total:.1f} threads are in it at a time (goroutine "
                f"{numbers}, …). The program's calls have blocked for {seconds / 1e9:.1f} s in {span(looks):.1f} s. Use "
                f"an operation of gort's, or `await gort.blocking(…)`."
            )
        yield finding(kind, text, at["stack"], at["stack"][1:])


def queue(looks: list[Look]) -> Iterator[dict[str, Any]]:
    """More goroutines can run than there are Ps for, all the time."""
    recent = latest(looks, RECENT_S)
    if len(recent) < LOOKS_MIN or span(recent) < SPAN_S:
        return
    least = min(each["runnable"] for each in recent)
    if least < 8 * recent[-1]["gomaxprocs"]:
        return
    mean = sum(each["runnable"] for each in recent) / len(recent)
    largest = max((g for g in recent[-1]["groups"] if g["state"] == "runnable"), key=lambda g: g["count"], default=None)
    if largest is None:
        return
    text = (
        f"{mean:.0f} goroutines can run at a time and wait for {several(recent[-1]['gomaxprocs'], 'processor')}; most of "
        f"them, {largest['count']}, at {where(largest['stack'], 0)}. Each waits for its turn behind the others."
    )
    yield finding("queue", text, largest["stack"])


RULES: tuple[Callable[[list[Look]], Iterator[dict[str, Any]]], ...] = (
    deadlock,
    growth,
    memory,
    locks,
    threads,
    queue,
)


def findings(looks: list[Look]) -> list[dict[str, Any]]:
    """What looks wrong, by the looks of the last KEEP_S, the oldest first."""
    if not looks:
        return []
    recent = latest(looks, KEEP_S)
    return [each for rule in RULES for each in rule(recent)]
