"""The channels of gort.cluster between processes that are played: the real homes, proxies and operations, with links in
memory that deliver late, in batches of any size, and die.

Each promise of the table in docs/cluster.md about channels has a test here or in test_cluster.py.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

import clusterkit as kit
import gort
from gort.cluster import chan, wire
from gort.cluster.errors import NodeDied
from gort.cluster.home import RECV, TAKE, Home
from gort.cluster.proxy import Proxy
from support import ROOT, dose, until

Run = Callable[..., Any]


class Process:
    """A process that is played: its link to the home, which is also the home's link to it, and its end of the channel."""

    def __init__(self, net: Net, name: str, home: Home, capacity: int, prefetch: int) -> None:
        self.net, self.name, self.home_of = net, name, home
        self.dead: str | None = None
        self.up: deque[Any] = deque()  # proxies that have something to say
        self.down: deque[Any] = deque()  # messages of the home
        self.proxy = Proxy(self, home.cid, "home", capacity, prefetch)  # type: ignore[arg-type]
        net.processes.append(self)

    def link_to(self, name: str) -> Process:
        return self

    def post(self, message: Any) -> None:
        """As Link.post, for both directions: what comes from the home is a tuple."""
        (self.down if type(message) is tuple else self.up).append(message)

    def step(self, rng: random.Random) -> bool:
        """Delivers some of what is under way; False if there was nothing."""
        if self.dead is not None:
            return False
        worked = False
        if self.up and rng.random() < 0.7:
            message, _ = self.up.popleft().flush()
            if message is not None:
                self.home_of.on(self, wire_copy(message))
                worked = True
        while self.down and rng.random() < 0.7:
            self.proxy.on(wire_copy(self.down.popleft()))
            worked = True
        return worked

    def die(self) -> None:
        self.dead = "killed"
        self.home_of.gone(self)
        self.proxy.lost("killed")

    def send(self, value: Any) -> chan.Operation:
        return chan._Send(self.proxy, wire.seal(value))

    def send_many(self, values: Any) -> chan.SendMany:
        return chan.Chan(self.proxy, ("", "", "", 0, 0)).send_many(values)

    def recv(self) -> chan.Operation:
        return chan._Recv(self.proxy)

    def recv_ok(self) -> chan.Operation:
        return chan._RecvOk(self.proxy)

    def recv_many(self, most: int) -> chan.Operation:
        return chan._RecvMany(self.proxy, most)

    def take(self) -> chan.Take[Any]:
        return chan.Take(self.proxy)


def wire_copy(message: Any) -> Any:
    """The message as it comes out at the other end of a link."""
    import pickle

    return pickle.loads(pickle.dumps(message, 5))


class Net:
    """All processes, and a goroutine that delivers messages in an order that the seed draws."""

    def __init__(self, seed: int, capacity: int, prefetches: tuple[int, ...] = (0, 0, 0)) -> None:
        wire.use("cloudpickle")
        self.rng = random.Random(seed)
        self.capacity = capacity
        self.processes: list[Process] = []
        self.home = Home("c", capacity)
        self.over = False
        for i, prefetch in enumerate(prefetches):
            Process(self, f"p{i}", self.home, capacity, prefetch)

    async def pump(self) -> None:
        while not self.over:
            self.rng.choice(self.processes).step(self.rng)
            await gort.gosched()

    def quiet(self) -> bool:
        return not any((p.up or p.down) for p in self.processes if p.dead is None)

    def in_hands(self) -> tuple[int, int, int]:
        home = self.home
        with home._lock:
            return len(home._line), home._ngranted, home._nleased


def played(run: Run, body: Any, net: Net) -> None:
    async def main() -> None:
        gort.go(net.pump)
        try:
            await body(net, *net.processes)
        finally:
            net.over = True

    run(main)


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_the_capacity_is_exact(run1: Run, capacity: int) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        sent: list[int] = []

        async def sender(p: Process, value: int) -> None:
            await p.send(value)
            sent.append(value)

        for i in range(3 * capacity + 3):
            gort.go(sender, (a, b)[i % 2], i)
        await until(lambda: len(sent) == capacity)
        for _ in range(300):  # time for one send too many, if there were one
            await gort.gosched()
        assert len(sent) == capacity
        for n in range(2 * capacity):  # each receive makes room for one
            await c.recv()
            await until(lambda n=n: len(sent) == capacity + n + 1)  # type: ignore[misc]
            line, granted, leased = net.in_hands()
            assert line + granted + leased <= capacity

    played(run1, body, Net(1, capacity))


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("seed", range(6))
def test_each_value_is_received_once_whoever_is_cancelled(run1: Run, seed: int, prefetch: int) -> None:
    """Senders and receivers in three processes, and every wait may be cancelled.  A send that was cancelled has not
    happened, one that was not has; a receive that was cancelled has taken nothing."""
    rng = random.Random(seed)
    net = Net(seed, rng.choice([1, 2, 7]), (prefetch, 0, prefetch))

    async def body(net: Net, *processes: Process) -> None:
        sent: list[int] = []
        got: list[int] = []
        numbers = iter(range(10**9))
        stop = False

        async def cut(operation: Any) -> tuple[bool, Any]:
            """Cancels it after a while that is drawn, by the goroutine's own turns."""
            result = None
            with_ = gort.Group()
            async with with_ as g:
                h = g.go(awaits, operation)
                for _ in range(rng.randrange(40)):
                    await gort.gosched()
                h.cancel()
            try:
                result = h.result()
            except gort.Cancelled:
                return False, None
            return True, result

        async def sender(p: Process) -> None:
            while not stop:
                if rng.random() < 0.3:
                    many = [next(numbers) for _ in range(rng.randrange(10))]
                    sending = p.send_many(many)
                    done, n = await cut(sending)
                    assert n == len(many) if done else sending.sent < len(many)
                    sent.extend(many[: sending.sent])
                    continue
                value = next(numbers)
                done, _ = await cut(p.send(value))
                if done:
                    sent.append(value)

        async def receiver(p: Process) -> None:
            while True:
                if rng.random() < 0.2:
                    which, value, ok = await gort.select(p.recv_ok(), gort.sleep(0))
                    if which == 1:
                        continue
                elif rng.random() < 0.3:
                    done, outcome = await cut(p.recv_many(rng.randrange(1, 5)))
                    if not done:
                        continue
                    if not outcome:
                        return
                    got.extend(outcome)
                    continue
                elif rng.random() < 0.2:
                    try:
                        async with p.take() as value:
                            if rng.random() < 0.3:
                                raise LookupError
                        ok = True
                    except LookupError:
                        continue  # it was given back
                    except gort.ChannelClosed:
                        return
                else:
                    done, outcome = await cut(p.recv_ok())
                    if not done:
                        continue
                    value, ok = outcome
                if not ok:
                    return
                got.append(value)

        async with gort.Group() as g:
            for p in processes:
                g.go(receiver, p)
            async with gort.Group() as senders:
                for p in processes:
                    senders.go(sender, p)
                await until(lambda: len(got) >= dose(250))
                stop = True
            assert processes[0].proxy.close()
        assert len(got) == len(set(got))
        assert set(got) == set(sent)
        assert net.in_hands() == (0, 0, 0)
        assert net.home.lost == 0

    played(run1, body, net)


async def awaits(operation: Any) -> Any:
    return await operation


def test_order_from_each_sender_to_one_receiving_process(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        async def sender(p: Process, name: str) -> None:
            for i in range(100):
                await p.send((name, i))

        gort.go(sender, a, "a")
        gort.go(sender, b, "b")
        got = [await c.recv() for _ in range(200)]
        for name in "ab":
            assert [i for n, i in got if n == name] == list(range(100))

    played(run1, body, Net(3, 5, (0, 0, 3)))


def test_close_comes_after_the_last_value(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        for i in range(3):
            await a.send(i)
        late: gort.Chan[str] = gort.Chan(1)

        async def waits() -> None:
            try:
                await b.send("too late")
            except gort.ChannelClosed as e:
                await late.send(str(e))

        gort.go(waits)
        await until(lambda: b.proxy.tx.wait == 1)
        assert a.proxy.close()
        assert not a.proxy.close()
        assert await late.recv() == "send on closed channel"
        assert [await c.recv() for _ in range(3)] == [0, 1, 2]
        assert await c.recv_ok() == (None, False)
        with pytest.raises(gort.ChannelClosed):
            await b.recv()
        with pytest.raises(gort.ChannelClosed):
            await a.send(1)

    played(run1, body, Net(4, 3))


def test_a_slot_in_hand_does_not_outlive_the_close(run1: Run) -> None:
    """A process that has closed the channel sends nothing more, though slots lie there; the receivers are told."""

    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        await a.send(0)
        await until(lambda: len(a.proxy.tx.ch) > 0)
        assert a.proxy.close()
        with pytest.raises(gort.ChannelClosed):
            await a.send(1)
        assert await c.recv() == 0
        assert await c.recv_ok() == (None, False)

    played(run1, body, Net(4, 8))


def test_what_one_process_holds_and_does_not_use_comes_back_for_another(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        for i in range(4):
            await a.send(i)
        assert await c.recv() == 0  # its prefetch brings the others too
        await until(lambda: len(c.proxy.rx[RECV].ch) == 3)
        assert sorted([await b.recv() for _ in range(3)]) == [1, 2, 3]
        # Credits: `a` has some ahead; `b` wants all there are.
        await until(net.quiet)
        assert a.proxy.tx.given > 0
        for i in range(4):
            await b.send(i)
        await until(lambda: net.in_hands()[0] + net.in_hands()[2] == 4)

    played(run1, body, Net(5, 4, (0, 0, 3)))


@pytest.mark.parametrize("prefetch", [0, 3])
def test_many_values_at_once(run1: Run, prefetch: int) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        async def gathers(rest: int) -> tuple[list[int], int]:
            got: list[int] = []
            turns = 0
            while len(got) < rest:
                values = await c.recv_many(5)
                assert 1 <= len(values) <= 5
                got += values
                turns += 1
            return got, turns

        for i in range(8):
            await a.send(i)
        await until(lambda: net.quiet() and net.in_hands()[0] + net.in_hands()[2] == 8)
        got, turns = await gathers(8)
        assert got == list(range(8))
        assert turns < 8  # also without prefetch: it orders as many as it may take
        # Who waits takes what is there once its goroutine runs; as a case of select, too.
        gort.go(sends, a, range(3))
        assert (await gort.select(late=gort.sleep(3600), values=c.recv_many(1)))[:2] == ("values", [0])
        assert (await gathers(2))[0] == [1, 2]
        # What it ordered and did not need is there for others.
        async with gort.move_on_after(0.01):
            await c.recv_many(5)
        await a.send("for b")
        assert await b.recv() == "for b"
        # A value that cannot be opened fails the receive that has it first; the others lose nothing.
        for value in (1, kit.Bad(), 2):
            await a.send(value)
        outcomes: list[Any] = []
        while len(outcomes) < 3:
            try:
                outcomes += await c.recv_many(5)
            except ValueError:
                outcomes.append("bad")
        assert outcomes == [1, "bad", 2]  # in the order in which they were sent
        assert a.proxy.close()
        assert await c.recv_many(5) == []
        assert await gort.select(c.recv_many(5)) == (0, [], False)
        await until(lambda: net.in_hands() == (0, 0, 0))

    played(run1, body, Net(11, 8, (0, 0, prefetch)))


def test_many_values_are_sent_at_once(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        messages = []
        on = net.home.on

        def counted(link: Any, message: Any) -> None:
            messages.append(message)
            on(link, message)

        net.home.on = counted  # type: ignore[method-assign]
        done: list[int] = []

        async def sends(p: Process, values: Any) -> None:
            done.append(await p.send_many(values))

        gort.go(sends, a, iter(range(50)))
        assert [await c.recv() for _ in range(50)] == list(range(50))
        await until(lambda: done == [50])
        assert len([m for m in messages if m[3]]) < 25  # those with values
        # The capacity holds; whoever is cancelled knows how many have gone.
        sending = a.send_many(range(20))
        async with gort.Group() as g:
            h = g.go(awaits, sending)
            await until(lambda: sending.sent == 8)
            for _ in range(300):  # time for one too many, if there were one
                await gort.gosched()
            h.cancel()
        with pytest.raises(gort.Cancelled) as cancelled:
            h.result()
        assert cancelled.value.sent == sending.sent == 8  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="once"):
            await sending
        assert sorted([await b.recv() for _ in range(8)]) == list(range(8))
        await until(lambda: net.in_hands()[0] + net.in_hands()[2] == 0)
        # The values are taken, as they are, at the call.  What cannot be pickled fails that, and nothing goes.
        changes = [1]
        sending = a.send_many([changes, changes])
        changes.append(2)
        assert await sending == 2
        assert [await b.recv() for _ in range(2)] == [[1], [1]]
        with pytest.raises(TypeError, match="pickle"):
            a.send_many([3, threading.Lock()])
        await until(net.quiet)
        assert net.in_hands()[0] == 0

    played(run1, body, Net(12, 8))


def test_many_values_at_a_channel_that_ends(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        async def closes() -> None:
            await until(lambda: sending.sent == 4)
            b.proxy.close()

        sending = a.send_many(range(9))
        gort.go(closes)
        with pytest.raises(gort.ChannelClosed) as closed:
            await sending
        assert closed.value.sent == sending.sent == 4
        assert [await c.recv() for _ in range(4)] == [0, 1, 2, 3]
        await until(lambda: net.in_hands() == (0, 0, 0))  # no slot is lost
        assert await a.send_many([]) == 0
        with pytest.raises(TypeError, match="cannot be a case"):
            await gort.select(a.send_many([1]))

    played(run1, body, Net(13, 4))


def test_many_values_at_a_channel_whose_home_dies(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        async def dies() -> None:
            await until(lambda: sending.sent == 4)
            a.die()

        sending = a.send_many(range(9))
        gort.go(dies)
        with pytest.raises(NodeDied):
            await sending
        assert sending.sent == 4

    played(run1, body, Net(14, 4))


class Raises:
    """Raises, when it is unpickled, what is next in `raised`."""

    raised: list[BaseException | None]
    opened = 0

    def __reduce__(self) -> Any:
        return Raises.opens, ()

    @staticmethod
    def opens() -> str:
        Raises.opened += 1
        error = Raises.raised.pop(0)
        if error is not None:
            raise error
        return "opened"


@pytest.mark.parametrize("closed", [False, True])
def test_what_opening_one_of_many_values_raises(run1: Run, closed: bool) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        async def outcomes(turns: int) -> list[Any]:
            got: list[Any] = []
            for _ in range(turns):
                try:
                    got.append(await c.recv_many(8))
                except (ValueError, KeyboardInterrupt) as e:
                    got.append(type(e))
            return got

        async def fills() -> None:
            Raises.opened = 0
            c.proxy.rx[RECV].active = True  # so that its prefetch is on order
            c.proxy.enter(c.proxy.rx[RECV], 0)
            for value in (1, Raises(), 3, 4):
                await a.send(value)
            await until(lambda: len(c.proxy.rx[RECV].ch) == 4)
            if closed:
                c.die()  # to this process it is as if the home had died

        # An error is that of its value alone, which is opened once, and the order stays.
        Raises.raised = [ValueError()]
        await fills()
        assert await outcomes(3) == [[1], ValueError, [3, 4]]
        assert Raises.opened == 1
        if not closed:
            # An interrupt is not the value's fault: nothing is lost.
            Raises.raised = [KeyboardInterrupt(), None]
            await fills()
            assert await outcomes(2) == [KeyboardInterrupt, [1, "opened", 3, 4]]
            # Others receive what was put back, too, in its place.
            Raises.raised = [ValueError()]
            await fills()
            assert await outcomes(1) == [[1]]
            with pytest.raises(ValueError, match="could not be unpickled here"):
                await gort.select(c.recv())
            assert [await c.recv(), await c.recv()] == [3, 4]
            await until(net.quiet)
            assert a.proxy.close()
            assert await c.recv_ok() == (None, False)
        else:
            with pytest.raises(NodeDied):
                await c.recv_many(8)
        await until(lambda: net.in_hands()[2] == 0)

    played(run1, body, Net(11, 8, (0, 0, 8)))


async def sends(p: Process, values: Any) -> None:
    for value in values:
        await p.send(value)


@pytest.mark.parametrize(("most", "error"), [(0, ValueError), (True, TypeError), ("5", TypeError)])
def test_a_wrong_number_of_values_is_refused(most: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="recv_many takes a"):
        chan.Chan.recv_many(None, most)  # type: ignore[arg-type]


def test_a_dead_receiver_has_each_value_at_most_once_and_a_taker_at_least_once(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        await a.send("received")
        assert await b.recv() == "received"
        b.die()  # its acknowledgement may not have come: the value is not handed out again
        await a.send("taken")
        taken = c.take()
        assert await taken.__aenter__() == "taken"
        await until(net.quiet)
        assert net.in_hands()[2] == 1
        c.die()
        async with a.take() as value:
            assert value == "taken"
        with pytest.raises(NodeDied, match="node home is gone: killed"):
            await c.recv()
        with pytest.raises(NodeDied):
            await c.send(1)

    played(run1, body, Net(6, 4))


def test_a_dead_sender_gives_its_slots_back(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        await a.send(0)
        await until(lambda: net.quiet() and a.proxy.tx.given > 0)
        a.die()
        for i in range(3):
            await b.send(i)  # all slots but the one that is in use
        assert [await c.recv() for _ in range(4)] == [0, 0, 1, 2]

    played(run1, body, Net(7, 4))


def test_an_operation_is_used_once_and_has_no_effect_in_a_select_that_loses(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        recv = a.recv_ok()
        assert await gort.select(recv, default=True) == (-1, None, False)
        with pytest.raises(RuntimeError, match="awaited once"):
            await recv
        await b.send(1)
        for _ in range(20):  # receives that are given up, before the value can have come and after
            which, _, _ = await gort.select(a.recv_ok(), gort.sleep(0))
            if which == 0:
                break
        else:
            assert await c.recv() == 1
        await until(net.quiet)
        assert net.in_hands()[2] == 0

    played(run1, body, Net(8, 1))


def test_the_lanes_do_not_take_from_each_other(run1: Run) -> None:
    async def body(net: Net, a: Process, b: Process, c: Process) -> None:
        got: list[Any] = []

        async def receives() -> None:
            got.append(await a.recv())

        async def takes() -> None:
            async with a.take() as value:
                got.append(value)

        gort.go(receives)
        gort.go(takes)
        await until(lambda: a.proxy.rx[RECV].wait == 1 and a.proxy.rx[TAKE].wait == 1)
        await b.send(1)
        await b.send(2)
        await until(lambda: len(got) == 2)
        assert sorted(got) == [1, 2]

    played(run1, body, Net(9, 2))


def test_capacity_zero_is_refused() -> None:
    for capacity in (0, -1):
        with pytest.raises(ValueError, match="at least one value"):
            chan.new("s", "home", capacity, 0)
    for wrong in (1.5, True, None):
        with pytest.raises(TypeError, match="a channel's capacity is an int"):
            chan.new("s", "home", wrong, 0)
    with pytest.raises(ValueError, match="prefetch"):
        chan.new("s", "home", 1, -1)


def test_threads_of_a_library_that_wake_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine's library has threads.  They make a deadlock no deadlock only while a callback of theirs is due."""
    import threading

    from gort._runtime.core import runtime2
    from gort._runtime.watch import external

    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    asked: list[bool] = []

    async def main() -> None:
        s = runtime2.current_m().sched
        external.awaited.add(main)
        asked.append(s.external())
        external.awaited.discard(main)
        await gort.Chan[None]().recv()

    try:
        monkeypatch.setattr(external, "tellers", [lambda: {thread.native_id}])
        with pytest.raises(gort.Deadlock):
            gort.run(main)
        assert asked == [True]
    finally:
        end.set()
        thread.join()


# Each row of the table in docs/cluster.md, by what it promises, and the tests that hold it to that.
PROMISES = {
    "each value is received once, also under cancellation, while nobody dies": [
        "test_each_value_is_received_once_whoever_is_cancelled",
        "test_channels_between_nodes",
        "test_each_value_once_on_three_raylets",
    ],
    "`recv`: at most once when the receiver dies; `take`: at least once": [
        "test_a_dead_receiver_has_each_value_at_most_once_and_a_taker_at_least_once",
        "test_a_killed_node_is_named_at_once",
    ],
    "order from each sender to one receiving process": [
        "test_order_from_each_sender_to_one_receiving_process",
        "test_channels_between_nodes",
    ],
    "the capacity is exact, wherever values lie; `send` waits": [
        "test_the_capacity_is_exact",
        "test_channels_between_nodes",
        "test_capacity_zero_is_refused",
    ],
    "values are copies, as they are at `send`, also in the same process": ["test_channels_between_nodes"],
    "a dead or silent node is an error, never silence": [
        "test_a_killed_node_is_named_at_once",
        "test_a_silent_node_is_given_up_and_killed",
        "test_a_goroutine_is_started_anew_if_that_is_asked_for",
    ],
    "the receivers see the end after all values": ["test_close_comes_after_the_last_value"],
}


@pytest.mark.once
def test_each_promise_has_a_test() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    table = text[text.index("| promised |") :].partition("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in table] == list(PROMISES)
    files = [*(ROOT / "tests").glob("test_cluster*.py"), ROOT / "tests" / "stress" / "raylets.py"]
    tests = "".join(file.read_text() for file in files)
    for names in PROMISES.values():
        for name in names:
            assert f"\ndef {name}(" in tests, name
