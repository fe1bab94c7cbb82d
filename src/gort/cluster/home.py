"""The home of a channel: the one process that holds its values, and who may send and receive next.

The capacity counts all that was sent and not yet received, wherever it lies:

- in the home's line,
- under way from a sender: a *credit* is a slot that a process has been given.  Nothing is sent without one, so nothing
  that arrives is refused, and `send` need not wait for the home;
- under way to a receiver: what was handed to a process and not yet acknowledged is *leased*.

A process that holds credits or values which nobody there uses gives them back when the home *recalls* them, because
somebody else waits.  A recall is sent once for what was given since the last one: a value that a receiver keeps for long
is not asked for again and again.

Who receives by `recv` and who receives by `take` wait in two lanes.  When a process dies, what was leased to its lane
RECV is lost, because its goroutines may have it: at most once.  What was leased to its lane TAKE goes back into the line:
at least once.

All fields are under `_lock`.  No code of the user's runs under it: values stay sealed here.  What does not live here: the
other end (proxy.py).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

__all__ = ["CREDITS", "RECV", "TAKE", "VALUES", "Home"]

RECV, TAKE = 0, 1  # lanes
CREDITS, VALUES = 1, 2  # what a recall asks for
SENDS_CLOSED, ALL_CLOSED = 1, 2  # what a process has been told


class _Answer:
    """What the home has to say to one process after a message.  Most of it is left as it is here."""

    values: tuple[list[Any], list[Any]] | None = None  # for each lane
    credits: int = 0
    unwanted: list[tuple[int, int]] | None = None  # for each lane: wants withdrawn, and how many of these were not met
    unasked: tuple[int, int] | None = None
    recall: int = 0
    closed: int = 0


NOTHING: tuple[Any, Any] = ((), ())


class Home:
    """One channel."""

    def __init__(self, cid: str, capacity: int) -> None:
        self.cid = cid
        self._cap = capacity
        self._lock = threading.Lock()
        self._line: deque[tuple[int, Any]] = deque()  # (number, sealed value)
        self._next = 0
        self._want: dict[tuple[Any, int], int] = {}  # (link, lane): values it waits for; the first is served next
        self._asked: dict[Any, int] = {}  # link: credits it waits for
        self._granted: dict[Any, int] = {}
        self._ngranted = 0
        self._leased: dict[tuple[Any, int], dict[int, Any]] = {}
        self._nleased = 0
        self._fresh: set[Any] = set()  # links, and (link, lane), that have been given something since their last recall
        self._told: dict[Any, int] = {}  # the processes that use it, and what they know of its end
        self._closed = False
        self.lost: int = 0  # values that dead receivers may have had

    def on(self, link: Any, message: tuple[Any, ...]) -> None:
        """A proxy's message (Proxy.flush)."""
        _, _, _, puts, acks, backs, wants, credits, returned, close = message
        answers: dict[Any, _Answer] = {}
        with self._lock:
            if link.dead is not None:
                return  # `gone` has come, or comes now
            if link not in self._told:
                self._told[link] = 0
            if puts:
                self._use(link, len(puts))
                for value in puts:
                    self._line.append((self._next, value))
                    self._next += 1
            if returned:
                self._use(link, returned)
            if acks:
                for lane in (RECV, TAKE):
                    leased = self._leased.get((link, lane))
                    if leased:
                        for number in acks:
                            if leased.pop(number, self) is not self:
                                self._nleased -= 1
            if backs:
                self._take_back(link, backs)
            if wants is not None:
                for lane in (RECV, TAKE):
                    n = wants[lane]
                    if n > 0:
                        self._want[link, lane] = self._want.get((link, lane), 0) + n
                    elif n < 0:
                        answer = self._answer(answers, link)
                        if answer.unwanted is None:
                            answer.unwanted = [(0, 0), (0, 0)]
                        answer.unwanted[lane] = (-n, self._withdraw(self._want, (link, lane), -n))
            if credits > 0:
                self._asked[link] = self._asked.get(link, 0) + credits
            elif credits < 0:
                self._answer(answers, link).unasked = (-credits, self._withdraw(self._asked, link, -credits))
            if close:
                self._closed = True
            if self._want or self._asked or self._closed:
                self._match(answers)
            if answers:
                self._post(answers)

    def gone(self, link: Any) -> None:
        """The process at the link's end has died, or the link has."""
        answers: dict[Any, _Answer] = {}
        with self._lock:
            if self._told.pop(link, None) is None:
                return
            self._ngranted -= self._granted.pop(link, 0)
            self._asked.pop(link, None)
            self._fresh -= {link, (link, RECV), (link, TAKE)}
            for lane in (RECV, TAKE):
                self._want.pop((link, lane), None)
                leased = self._leased.pop((link, lane), None)
                if leased:
                    self._nleased -= len(leased)
                    if lane == TAKE:
                        self._requeue(list(leased.items()))
                    else:
                        self.lost += len(leased)
            self._match(answers)
            self._post(answers)

    # ---- under the lock ----

    def _answer(self, answers: dict[Any, _Answer], link: Any) -> _Answer:
        answer = answers.get(link)
        if answer is None:
            answer = answers[link] = _Answer()
        return answer

    def _post(self, answers: dict[Any, _Answer]) -> None:
        for link, a in answers.items():
            received, taken = a.values or NOTHING
            link.post(("h", self.cid, received, taken, a.credits, a.unwanted, a.unasked, a.recall, a.closed))

    @staticmethod
    def _withdraw(queue: dict[Any, int], key: Any, n: int) -> int:
        """Takes up to n back from what key waits for; returns how many."""
        waiting = queue.get(key, 0)
        if n < waiting:
            queue[key] = waiting - n
            return n
        queue.pop(key, None)
        return waiting

    def _use(self, link: Any, n: int) -> None:
        left = self._granted.get(link, 0) - n
        self._ngranted -= n
        if left > 0:
            self._granted[link] = left
        else:
            self._granted.pop(link, None)

    def _take_back(self, link: Any, numbers: list[int]) -> None:
        back = []
        for lane in (RECV, TAKE):
            leased = self._leased.get((link, lane))
            if leased:
                for number in numbers:
                    if (value := leased.pop(number, self)) is not self:
                        back.append((number, value))
                        self._nleased -= 1
        self._requeue(back)

    def _requeue(self, back: list[tuple[int, Any]]) -> None:
        """Puts values where they were in the line."""
        if not back:
            return
        back.sort(key=lambda e: e[0])
        if not self._line or back[-1][0] < self._line[0][0]:
            self._line.extendleft(reversed(back))
        else:
            self._line = deque(sorted([*self._line, *back], key=lambda e: e[0]))

    def _match(self, answers: dict[Any, _Answer]) -> None:
        """Hands out what can be handed out, recalls what is needed, tells of the end."""
        while self._line and self._want:
            key = next(iter(self._want))
            n = self._want.pop(key)
            take = min(n, len(self._line)) if not self._want else 1  # in turn, so that nobody starves
            if n > take:
                self._want[key] = n - take
            leased = self._leased.get(key)
            if leased is None:
                leased = self._leased[key] = {}
            answer = self._answer(answers, key[0])
            if answer.values is None:
                answer.values = ([], [])
            values = answer.values[key[1]]
            for _ in range(take):
                entry = self._line.popleft()
                leased[entry[0]] = entry[1]
                values.append(entry)
            self._nleased += take
            self._fresh.add(key)
        if self._closed:
            self._match_closed(answers)
            return
        if self._asked:
            self._grant(answers)
        if self._want and self._nleased:
            self._recall_values(answers)

    def _grant(self, answers: dict[Any, _Answer]) -> None:
        free = self._cap - len(self._line) - self._ngranted - self._nleased
        while free > 0 and self._asked:
            link = next(iter(self._asked))
            n = self._asked.pop(link)
            give = min(n, max(1, free // (len(self._asked) + 1)))
            if n > give:
                self._asked[link] = n - give
            self._granted[link] = self._granted.get(link, 0) + give
            self._ngranted += give
            free -= give
            self._answer(answers, link).credits += give
            self._fresh.add(link)
        if self._asked:
            for link in self._granted:
                if len(self._asked) > 1 or link not in self._asked:
                    self._recall(answers, link, link, CREDITS)

    def _recall_values(self, answers: dict[Any, _Answer]) -> None:
        """Somebody waits, and the line is empty: what lies unused in other processes comes back."""
        if self._want:
            for key, leased in self._leased.items():
                if leased and (len(self._want) > 1 or key not in self._want):
                    self._recall(answers, key[0], key, VALUES)

    def _recall(self, answers: dict[Any, _Answer], link: Any, key: Any, what: int) -> None:
        if key in self._fresh:
            self._fresh.discard(key)
            self._answer(answers, link).recall |= what

    def _match_closed(self, answers: dict[Any, _Answer]) -> None:
        """Nobody sends any more but who has a credit in hand.  The receivers are told after the last value."""
        self._asked.clear()
        self._recall_values(answers)
        level = SENDS_CLOSED if self._line or self._ngranted or self._nleased else ALL_CLOSED
        for link, told in self._told.items():
            if told < level:
                self._told[link] = level
                self._answer(answers, link).closed = level
