"""gort.cluster between two threads: what one does in the middle of another's step, played by a hook at that place.

Each test was a lost value, a goroutine that waits for ever, or an error that ends the program.  No processes here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort.cluster import peer as peer_module
from gort.cluster import wire
from gort.cluster.asleep import Asleep
from gort.cluster.call import Call
from gort.cluster.home import CREDITS, RECV, SENDS_CLOSED, VALUES
from gort.cluster.link import Link, Outbox
from gort.cluster.peer import Peer
from gort.cluster.proxy import Proxy


class Deaf:
    """A link that keeps what is posted."""

    def __init__(self, name: str = "home") -> None:
        self.name = name
        self.dead: str | None = None
        self.posted: list[Any] = []

    def post(self, message: Any) -> None:
        self.posted.append(message)

    def link_to(self, name: str) -> Deaf:
        return self


def played(body: Callable[[Peer], None]) -> None:
    """Runs body(peer) with a node's Peer, in a program."""

    async def main() -> None:
        wire.use("cloudpickle")
        body(Peer("s", b"", "n0", 6.0, ()))

    gort.run(main)


@pytest.mark.parametrize("at", [1, 2])
def test_a_close_in_the_middle_of_a_flush_reaches_the_home(at: int) -> None:
    looks: list[bool] = []

    class Closed(Proxy):
        """Another thread closes it after look number `at` at `_close`."""

        @property  # type: ignore[override]
        def _close(self) -> bool:
            looks.append(len(looks) >= at)
            return looks[-1]

        @_close.setter
        def _close(self, value: bool) -> None:
            pass

    def body(peer: Peer) -> None:
        proxy = Closed(Deaf(), "c", "home", 1, 0)  # type: ignore[arg-type]
        told = [m[-1] for m, _ in [proxy.flush() for _ in range(4)] if m is not None]
        assert told == [True]

    played(body)


def test_what_comes_after_a_flush_is_not_in_its_message() -> None:
    """It is pickled later, and what another thread sends meanwhile would arrive twice."""

    def body(peer: Peer) -> None:
        proxy = Proxy(Deaf(), "c", "home", 4, 0)  # type: ignore[arg-type]
        proxy.enter(proxy.tx, 1)
        first, _ = proxy.flush()
        assert first is not None
        proxy.sent("late")
        proxy.ack(1)
        proxy.back(2)
        assert [list(part) for part in first[3:6]] == [[], [], []]
        second, _ = proxy.flush()
        assert second is not None
        assert [list(part) for part in second[3:6]] == [["late"], [1], [2]]

    played(body)


def test_a_link_ends_once() -> None:
    class Ending(Outbox):
        """Another thread ends it after the look at `dead`, or before it."""

        busy = False
        firsts: list[bool] = []

        @property  # type: ignore[override]
        def dead(self) -> str | None:
            seen = self.__dict__.get("why")
            if not self.busy:
                self.busy = True
                self.firsts.append(self._die("by another"))
            return seen  # type: ignore[no-any-return]

        @dead.setter
        def dead(self, why: str | None) -> None:
            self.__dict__["why"] = why

    def body(peer: Peer) -> None:
        link = Ending(peer, "n1")
        first = link._die("by this one")
        assert link.dead is not None
        assert [first, *link.firsts].count(True) == 1

    played(body)


def test_a_link_that_is_closed_while_its_writer_gathers() -> None:
    class Emptied(deque):  # type: ignore[type-arg]
        """Is emptied by another thread after the look whether there is something."""

        looks = 0

        def __len__(self) -> int:
            self.looks += 1
            return self.looks == 1

    def body(peer: Peer) -> None:
        link = Outbox(peer, "n1")
        link._out = Emptied()
        assert link._batch() is None

    played(body)


def test_the_link_of_a_channel_or_goroutine_ends_while_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(peer: Peer) -> None:
        link: Any = Link(peer, "home")
        peer.links["home"] = link

        class Late(dict):  # type: ignore[type-arg]
            """The link ends just before the proxy can be found."""

            def setdefault(self, key: Any, value: Any) -> Any:
                link.end("its process ended")
                return super().setdefault(key, value)

        peer.proxies = Late()
        assert peer.proxy("c", "home", 1, 0).died is not None

        cancelled = []
        dead: Any = Deaf()
        dead.index, dead.peer = link.index + 1, peer
        dead.dead = "its process ended"

        class Running(peer_module.Running):
            def cancel(self) -> None:
                cancelled.append(self.number)
                super().cancel()

        monkeypatch.setattr(peer_module, "Running", Running)
        Peer.verbs["go"](peer, dead, ("go", 7, wire.seal((int, (), {}, {}))))
        assert cancelled == [7]

    played(body)


def test_nodes_are_listed_while_one_dies() -> None:
    def body(peer: Peer) -> None:
        class Name(str):
            def __ne__(self, other: object) -> bool:
                peer.addresses.pop("n2", None)
                return True

        peer.addresses = {Name("n1"): "a", "n2": "b"}
        peer.nodes()

        class Dying(dict):  # type: ignore[type-arg]
            """The node's address goes just after the look for it."""

            def __contains__(self, key: object) -> bool:
                found = super().__contains__(key)
                self.pop(key, None)
                return found

        async def dials_not(link: Any, address: str) -> None:
            pass

        peer._dial_late = dials_not  # type: ignore[method-assign]
        peer.addresses = Dying(n3="127.0.0.1:1")
        assert peer.link_to("n3").name == "n3"

    played(body)


def test_a_retry_is_started_once_and_its_cancel_is_not_lost() -> None:
    def body(peer: Peer) -> None:
        links = {name: Deaf(name) for name in ("n1", "n2", "n3")}
        peer.links.update(links)  # type: ignore[arg-type]
        peer.addresses = dict.fromkeys(links, "")
        call = Call(peer, None, 3)
        call.send("n1")
        first = links["n1"].posted[0][1]
        for _ in range(2):  # two threads have the same news
            call.lost(first, "it was killed")
        goes = [m for link in links.values() for m in link.posted if m[0] == "go"]
        assert len(goes) == 2

        def link_to(name: str) -> Any:
            call.cancel()  # by a thread that still sees the old link
            return links[name]

        peer.link_to = link_to  # type: ignore[method-assign]
        before = [len(link.posted) for link in links.values()]
        call.lost(call.number, "it was killed")
        news = [m for link, n in zip(links.values(), before, strict=True) for m in link.posted[n:]]
        (new,) = [m[1] for m in news if m[0] == "go"]
        assert ("cancel", new) in news

    played(body)


def test_a_death_is_told_once() -> None:
    """By the engine, which sees the process end, and by the link, which sees the connection close."""

    class Over:
        """A channel that another thread closes just after the look whether it is closed."""

        shut = False

        @property
        def closed(self) -> bool:
            before, self.shut = self.shut, True
            return before

        def close(self) -> None:
            if self.shut:
                raise gort.ChannelClosed("close of closed channel")
            self.shut = True

    def body(peer: Peer) -> None:
        over: Any = Over()
        peer.ends = {"n1": over}
        peer.node_gone("n1", "it closed the connection")
        assert over.shut

    played(body)


def test_what_was_waited_for_and_has_come_makes_nothing_to_say() -> None:
    """Each value and each slot that came cost a turn of the writer, which found nothing."""

    def body(peer: Peer) -> None:
        link = Deaf()
        proxy = Proxy(link, "c", "home", 4, 2)  # type: ignore[arg-type]
        proxy.enter(proxy.rx[RECV], 1)
        proxy.enter(proxy.tx, 1)
        assert proxy.flush()[0] == ("c", "c", 4, (), (), (), (1, 0), 1, 0, False)
        posted = len(link.posted)
        proxy.on(("h", "c", [(0, "value")], [], 1, None, None, 0, 0))
        assert len(link.posted) == posted
        assert proxy.flush() == (None, 0)
        proxy.received(RECV, 0, 1)
        proxy.sent_late("answer")
        assert len(link.posted) == posted + 1
        message = proxy.flush()[0]
        # Two ahead in each direction, from now on.
        assert message == ("c", "c", 4, ["answer"], [0], (), (2, 0), 2, 0, False)
        assert (proxy.rx[RECV].wait, proxy.rx[RECV].given, proxy.tx.wait, proxy.tx.given) == (0, 0, 0, 0)

    played(body)


@pytest.mark.parametrize("news", ["recall", "closed", "called off", "a slot after the close"])
def test_what_the_home_asks_or_tells_is_answered(news: str) -> None:
    def body(peer: Peer) -> None:
        link = Deaf()
        proxy = Proxy(link, "c", "home", 4, 2)  # type: ignore[arg-type]
        proxy.enter(proxy.rx[RECV], 1)
        proxy.enter(proxy.tx, 1)
        proxy.flush()
        unwanted, recall, closed = None, 0, 0
        if news == "called off":
            proxy.leave(proxy.rx[RECV], 1)
            proxy.flush()
            unwanted = [(1, 1), (0, 0)]
        elif news == "recall":
            proxy.on(("h", "c", [(0, "value")], [], 1, None, None, 0, 0))
            recall = CREDITS | VALUES
        elif news == "closed":
            closed = SENDS_CLOSED
        else:
            proxy.tx.ch.close()
        posted = len(link.posted)
        proxy.on(("h", "c", [], [], 1, unwanted, None, recall, closed))
        assert len(link.posted) == posted + 1

    played(body)


def test_a_node_goes_while_the_report_of_a_deadlock_names_the_gone() -> None:
    reports: list[str] = []

    class Why(str):
        """Another thread learns of the next death while this one is told."""

        __slots__ = ()

        def __format__(self, spec: str) -> str:
            peer.gone["n2"] = "it ended, too"
            return "it ended"

    class Asked(Asleep):
        async def _views(self) -> Any:
            return {}

        async def _ask(self, what: str) -> Any:
            return {"driver": "goroutine 1"}

        def report(self, error: Any) -> None:
            reports.append(error.elsewhere)

    peer: Peer

    async def main() -> None:
        nonlocal peer
        peer = Peer("s", b"", "driver", 6.0, ())
        peer.gone = {"n1": Why()}
        await Asked(peer)._ask_twice()

    gort.run(main)
    assert "node n1 is gone: it ended\n" in reports[0]
