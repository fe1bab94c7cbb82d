"""A connection that speaks HTTP/1.1 or 1.0: it reads requests, has each served, and writes.

One goroutine (or one task of a loop) runs a connection: it reads, serves one request after the other, and writes.  So a
client that sends requests without waiting (pipelining) gets the answers in order, and one that reads slowly stops nobody
but itself: nothing more is read from it meanwhile.

Times.  A deadline is moved only when it is nearer than it must be (`read_until`, `write_until`), so a busy connection
sets one a second, and not two a request.  A limit of n seconds ends a wait after n to n + SLACK_S.

What does not live here: a request and the framing of its response (h1exchange.py), parsing (llhttp.py, h11parser.py),
accepting (server.py), what a request means (wsgi.py, asgi.py).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

from gort._runtime.poll.neterrors import DeadlineExceeded
from gort._runtime.sched.timers import monotonic
from gort._runtime.web.line import Line
from gort._runtime.web.request import Refusal
from gort._runtime.web.response import DRAIN, JOIN, STATUS_LINES, date_line
from gort.http.exchange import Disconnected
from gort.http.h1exchange import READ, H1Exchange
from gort.http.pace import Pace, goes_on, write_all
from gort.http.turns import make_way

if TYPE_CHECKING:
    from gort._runtime.web.request import Incoming, Parser
    from gort._runtime.web.view import View
    from gort.http.server import Connection

SLACK_S = 1.0
HEADS = 8192  # a read, where a head is to come; hundreds of requests may come in it
FRAMING = 16  # times the bytes of a body may come, chunks' sizes and extensions included
SLEEPY_S = 2.0  # a connection that has been idle for so long keeps no parser
SLOW_S = 0.0003  # where a piece of a body took longer to parse, the next ones are smaller
LEAST = 512  # bytes of such a piece
LINGER_S = 2.0  # for a client to read the last response before the connection is closed


class H1Connection(Line):
    """One connection.  Line says what its fields are."""

    __slots__ = ()

    # As Line has them.
    server: Any
    conn: Any
    client: tuple[str, int | None] | None
    where: tuple[str, int | None] | None
    scheme: str
    parser: Any
    spare: list[Parser] | None
    exchange: H1Exchange | None
    owner: Connection
    idle: bool
    drowsy: bool
    keep: bool
    broken: bool
    read_until: float
    write_until: float

    def __init__(self, owner: Connection) -> None:
        self.owner = owner
        self.server = server = owner.server
        self.conn = owner.conn
        self.client = owner.client
        self.where = owner.where
        self.scheme = owner.scheme
        self.parser = None
        self.spare = server.parsers
        self.exchange = None
        self.keep = True

    async def run(self) -> None:
        """Serves the connection to its end.  The caller closes it."""
        request: Incoming | None
        exchange: H1Exchange | None
        call: View | None
        data: bytes | None
        owner, conn, server = self.owner, self.conn, self.server
        serve, caller, adapter = owner.serve(), owner.caller(), owner.adapter
        try:
            while True:
                request = self.queued()
                if request is not None:
                    await make_way(adapter)  # a read brings hundreds, and others wait
                else:
                    try:
                        rests = self.rests()
                        if rests:
                            request = self.came(await conn.read(HEADS))
                    except DeadlineExceeded:
                        if self.sleep():
                            continue
                        break
                    except OSError:
                        self.broken = True
                        break
                if request is None:
                    if rests and not self.over:
                        continue
                    request = await self._next()
                    if request is None:
                        break
                exchange = self.exchange = H1Exchange(self, request)
                try:
                    if caller is None or (call := caller.ask(exchange)) is None:
                        await serve(exchange)
                    else:
                        try:
                            await call.over.recv()
                        except BaseException:
                            await adapter.cancelled(call)
                            raise
                        if (data := caller.answer(call)) is None:
                            await adapter.rest(exchange, call)
                        else:
                            began = self.write_begins()
                            try:
                                await conn.write(data)
                            except OSError as e:
                                await self.write_fails(data, e, None, began)
                except Exception as e:
                    await server.failed(exchange, e)
                else:
                    if not exchange.started:
                        await server.unanswered(exchange)
                if not exchange.settled():
                    await exchange.finish()
                self.exchange = None
                if not self.keep:
                    break
                request = exchange = call = data = None  # a connection that is idle keeps nothing of them
            if not self.keep and not self.broken:
                await self._linger()
        finally:
            if self.parser is not None:
                self.parser.close()

    def read_due(self, now: float) -> None:
        """A read of the next request that begins now has a deadline of its own: when the line falls asleep, or ends."""
        idle_s = self.server.limits.idle_s
        self.read_until = now + SLACK_S
        self.drowsy = self.parser is not None
        if self.drowsy:
            idle_s = SLEEPY_S if idle_s is None else min(idle_s, SLEEPY_S)
        self.conn.set_read_deadline(None if idle_s is None else idle_s + SLACK_S)

    def sleep(self) -> bool:
        """The line was idle until its deadline.  True: it goes on, asleep.  False: it was idle for too long."""
        idle_s = self.server.limits.idle_s
        if self.asleep or self.parser is None or self.server.stopping or (idle_s is not None and idle_s <= SLEEPY_S):
            self.broken = True
            return False
        self.parser.close()
        self.parser = None
        self.asleep = True
        self.read_until = 0.0
        try:
            self.conn.set_read_deadline(None if idle_s is None else idle_s - SLEEPY_S)
            if self.server.stopping:  # drain() has set a deadline that this one has replaced
                self.conn.set_read_deadline(self.server.linger_s)
        except OSError:
            pass  # it is closed, as the read will find
        return True

    def wake(self) -> Parser:
        """A new parser."""
        parser: Parser = self.server.new_parser(self.server.limits)
        return parser

    def drain(self) -> None:
        """The server ends.  From any goroutine.

        A response that begins from now on says that the connection ends (Answer.start).  One that has begun may have
        said that it stays: the client may have another request on its way, which is waited for (_next) and answered."""
        exchange = self.exchange
        hijacked = exchange is not None and exchange.status == 101
        if self.idle or hijacked:
            try:
                self.conn.set_read_deadline(0 if hijacked else self.server.linger_s)
            except OSError:
                pass

    async def _next(self) -> Incoming | None:
        """The next request; None at the end of the connection."""
        if self.parser is None:
            self.parser = self.wake()
        parser, limits = self.parser, self.server.limits
        queue: list[Incoming] = parser.queue
        begun = False  # the deadline of the head is set: it is not moved by what comes of the head
        while not queue:
            if parser.failed is not None:
                await self.refuse(parser.failed)
                return None
            if self.over:
                return None
            partial = parser.partial
            if partial and not begun:
                begun = True
                self._deadline(limits.head_s)
            self.idle = not partial
            try:
                if not partial:
                    if self.server.stopping:
                        self.conn.set_read_deadline(self.server.linger_s)
                    else:
                        self._deadline(limits.idle_s)
                data = await self.conn.read(HEADS)
                self.idle = False
                if not data:
                    return None
                parser.feed(data)
            except DeadlineExceeded:
                if parser.partial:
                    await self.refuse(Refusal(408, "the request took too long"))
                else:
                    self.broken = True  # idle: there is nothing to wait for
                return None
            except OSError:
                self.broken = True
                return None
        return queue.pop(0)

    def _deadline(self, seconds: float | None) -> None:
        """For the reads that follow, until a request has come."""
        self.read_until = 0.0
        self.conn.set_read_deadline(seconds)

    async def more(self, request: Incoming, pace: Pace) -> None:
        """Reads more of a request's body, in the time that body_s and the least rate give for it.  Raises Disconnected,
        Refusal."""
        parser = self.parser
        self._deadline(pace.left())
        began = monotonic()
        took = 0
        try:
            while not request.body and not request.complete:
                if parser.failed is not None:
                    raise parser.failed
                data = await self.conn.read(pace.step)
                if not data:  # it may have ended only its own side, and still read
                    raise Refusal(400, "the request's body is not whole")
                came = monotonic()
                parser.feed(data)
                took += len(data)
                pace.raw += len(data)
                if len(data) == pace.step:  # there may be more, and others wait
                    parsed = monotonic()
                    slow = parsed - came > SLOW_S
                    pace.step = max(pace.step // 4, LEAST) if slow else min(2 * pace.step, READ)
                    await make_way(self.owner.adapter)
                    began += monotonic() - parsed  # the client has not been waited for
                    self._deadline(pace.left())
                if took > DRAIN and not request.body and not request.complete:
                    raise Refusal(400, "chunks without contents")
            pace.add(sum(map(len, request.body)), began)
            if pace.raw > DRAIN + FRAMING * pace.moved:
                raise Refusal(400, "chunks with more around them than in them")
        except DeadlineExceeded:
            raise Refusal(408, "the request's body took too long") from None
        except OSError as e:
            self.broken = True
            raise Disconnected(str(e)) from None

    async def write(self, head: bytes, body: Any, pace: Pace | None = None) -> None:
        """Writes both.  pace: of a response that has more parts than this one.  Raises Disconnected."""
        n = len(body)
        data = head + body if n <= JOIN else head
        began = self.write_begins()
        if data:
            try:
                await self.conn.write(data)
            except OSError as e:
                await self.write_fails(data, e, pace, began)
            else:
                if pace is not None:
                    pace.add(len(data), began)
                    if (left := pace.left()) is not None and left <= 0:
                        self._lost(DeadlineExceeded("the client takes too little"))
        if n > JOIN:
            self.write_until = 0.0
            try:
                await write_all(self.conn, body, pace or self.new_pace())
            except OSError as e:
                self._lost(e)
        if pace is not None and pace.turns():
            await make_way(self.owner.adapter)

    def write_due(self, now: float) -> None:
        """A write that begins now has a deadline of its own."""
        if (limit := self.server.limits.write_s) is not None:
            self.write_until = now + SLACK_S
            try:
                self.conn.set_write_deadline(limit + SLACK_S)
            except OSError:
                pass  # it is closed, as the write will find

    async def write_fails(self, data: bytes, e: OSError, pace: Pace | None, began: float) -> None:
        """A write of data, which began then, has ended with e: goes on where the client has taken a part in time.  Raises
        Disconnected."""
        try:
            if not isinstance(e, DeadlineExceeded):
                raise e
            await self._go_on(data, e, pace or self.new_pace(), began)
        except OSError as last:
            self._lost(last)

    def _lost(self, e: OSError) -> NoReturn:
        self.broken, self.keep = True, False
        raise Disconnected(str(e)) from None

    async def _go_on(self, data: bytes, e: DeadlineExceeded, pace: Pace, began: float) -> None:
        """A write has ended at its deadline: writes the rest, where the client has taken a part.  Raises OSError."""
        self.write_until = 0.0
        n = goes_on(e, self.scheme == "http", pace, began)
        await write_all(self.conn, memoryview(data)[n:], pace)

    def new_pace(self) -> Pace:
        """Of a response, which has not begun to go out."""
        limits = self.server.limits
        return Pace(limits.write_s, limits.rate)

    async def refuse(self, refusal: Refusal) -> None:
        """Answers what is no request, or the beginning of one."""
        self.keep = False
        status = refusal.status
        body = f"{status} {HTTPStatus(status).phrase}: {refusal}\n".encode("latin-1", "replace")
        head = b"%scontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n" % (
            STATUS_LINES[status],
            len(body),
            date_line(),
        )
        self.server.refused(status)
        try:
            await self.write(head, body)
        except Disconnected:
            pass

    async def _linger(self) -> None:
        """The end of a connection that the server ends: what the client still sends is read for a while, for a close with
        unread bytes would reset the connection, and the client would lose the response (RFC 9112, section 9.6)."""
        try:
            await self.server.finish_writing(self.conn)
            self.conn.set_read_deadline(LINGER_S)
            while await self.conn.read(READ):
                await make_way(self.owner.adapter)
        except OSError:
            pass
