"""The stations that are open: chains of goroutines and threads, and how they close."""

from __future__ import annotations

from gort.xray.boot.chains import Chains, Open
from gort.xray.boot.stations import Station, Visit

THREAD, G = 1000, 0xC000


def station(name: str, function: bool = True) -> Station:
    return Station(
        index=0, name=name, address=0, parent=None, thread=THREAD, start=0, before={}, registers={}, function=function
    )


def call(name: str, back: int = 0, g: int = 1, sp: int = 0, function: bool = True) -> Open:
    return Open(Visit(station(name, function), number=1, thread=THREAD, owner=THREAD, began=0), back, g, sp)


def names(closed: list[Open]) -> list[str]:
    return [c.station.name for c in closed]


def chain(owner: int, *calls: Open) -> Chains:
    chains = Chains()
    for c in calls:
        chains.push(owner, c)
    return chains


def test_a_return_closes_what_lies_above_it() -> None:
    chains = chain(G, call("a", 1), call("b", 2), call("c", 3))
    assert names(chains.pop_to(G, 2)) == ["c", "b"]
    assert chains.pop_to(G, 7) == []
    last = chains.last(G)
    assert last is not None
    assert last.name == "a"


def test_a_recursion_returns_from_its_innermost_call() -> None:
    chains = chain(G, call("a", 1), call("a", 1))
    assert chains.depth(G, "a") == 2
    assert len(chains.pop_to(G, 1)) == 1


def test_a_call_closes_what_its_caller_left_for_good() -> None:
    chains = chain(G, call("mstart1"), call("schedule"), call("execute"))
    assert names(chains.leave(G, THREAD, "schedule", 1, 0)) == ["execute"]
    assert chains.leave(G, THREAD, "schedule", 1, 0) == []


def test_on_a_threads_own_chain_the_stack_pointer_tells_what_was_left() -> None:
    chains = chain(THREAD, call("_rt0_amd64_linux", sp=90), call("old", sp=100), call("other g", g=2, sp=100))
    assert chains.leave(THREAD, THREAD, "unknown", 1, 200) == []  # another stack lies on top
    chains = chain(THREAD, call("_rt0_amd64_linux", sp=90), call("still open", sp=300), call("old", sp=100))
    assert names(chains.leave(THREAD, THREAD, "unknown", 1, 200)) == ["old"]
    assert names(chains.leave(THREAD, THREAD, "unknown", 1, 400)) == ["still open"]  # and _rt0 stays
    assert chain(G, call("old", sp=100)).leave(G, THREAD, "unknown", 1, 200) == []  # a goroutine's stack moves


def test_parents() -> None:
    chains = chain(THREAD, call("execute"))
    clone = station("newosproc")
    chains.born(1001, clone)
    found = chains.parent(G, THREAD)
    assert found is not None
    assert found.name == "execute"
    assert chains.parent(1001, 1001) is clone
    assert chains.parent(1002, 1002) is None


def test_pieces_of_rt0_go_end_at_the_next_mark() -> None:
    chains = chain(THREAD, call("runtime.rt0_go"), call("g0 stack", function=False))
    ended = chains.pop_piece(THREAD)
    assert ended is not None
    assert ended.station.name == "g0 stack"
    assert chains.pop_piece(THREAD) is None
    assert names(chains.pop_all()) == ["runtime.rt0_go"]
