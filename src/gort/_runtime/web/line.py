"""A connection that speaks HTTP/1.1: the steps between two requests that do not wait.

H1Connection (gort/http/h1.py) adds what waits: it reads, has each request served, and writes.  Its goroutine, or task,
alone uses a Line; drain() of another thread looks at `idle` and `exchange`.

Deadlines.  `read_until`, `write_until`: when a read, or a write, needs a new one.  So a busy connection sets one a second
each, and not two a request.

What does not live here: a request and the head of its response (request.py, response.py), limits (gort/http/h1.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_fence, rt_import
from cython.cimports.gort._runtime.sched.timers import monotonic
from cython.cimports.gort._runtime.web.request import Parser

rt_import()

SPARE = 64  # so many parsers wait for the next request
_SPARE = cython.declare(cython.Py_ssize_t, SPARE)


class Line:
    """One connection.  exchange: the request that is being served, for a dump.  owner: whose connection it is.

    parser: None while the line is idle and keeps none.  spare: parsers that are as new, for all lines of a server; None
    without the GIL, where each thread had to wait for the list, and for objects of other threads.  asleep: it has been
    idle for a while, and keeps nothing that can be made again.  drowsy: at its deadline it falls asleep.  idle: it waits
    for a request of which nothing has come.  keep: another request may follow.  broken: nothing more can be written.
    over: the client has ended its side."""

    if not cython.compiled:
        owner = None
        server = None
        conn = None
        client = None
        where = None
        scheme = ""
        parser = None
        exchange = None
        spare = None
        asleep = False
        drowsy = False
        idle = False
        keep = False
        broken = False
        over = False
        read_until = 0.0
        write_until = 0.0

    def queued(self):
        """The next request, where it has come already; else None."""
        parser: Parser = self.parser
        return parser.queue.pop(0) if parser is not None and parser.queue else None

    def rests(self):
        """Whether nothing has come of the next request, and the server does not end: then it may be read.  The line is
        idle from now on, and its deadline is set.  Raises OSError: the connection is closed."""
        parser: Parser = self.parser
        now: cython.double
        if self.over or (parser is not None and (parser.failed is not None or parser.partial)):
            return False
        self.idle = True
        if cython.compiled:
            rt_fence()  # drain() looks at `idle` once `stopping` is set
        spare: list = self.spare
        if parser is not None and parser.clean and spare is not None:
            self.parser = None
            if len(spare) < _SPARE:
                spare.append(parser)
            else:
                parser.close()
        if not self.asleep:
            now = monotonic()
            if now > self.read_until or (self.parser is not None and not self.drowsy):
                self.read_due(now)
        return not self.server.stopping

    def came(self, data):
        """The next request, where it has come with data; None where the head is not whole, or is refused, or the client
        has ended (b"")."""
        parser: Parser = self.parser
        spare: list = self.spare
        self.idle = False
        self.asleep = False
        if data:
            if parser is None:
                parser = self.parser = spare.pop() if spare else self.wake()
            request = parser.only(data)
            if request is not None:
                return request
            parser.feed(data)
            if parser.queue:
                return parser.queue.pop(0)
        else:
            self.over = True
        return None

    def read_due(self, now):
        """A read that begins now needs a new deadline."""
        raise NotImplementedError

    def wake(self):
        """The client has sent something, and there is no parser: returns a new one."""
        raise NotImplementedError

    def write_begins(self):
        """Sees to the deadline of a write.  Returns the time."""
        now: cython.double = monotonic()
        if now > self.write_until:
            self.write_due(now)
        return now

    def write_due(self, now):
        """A write that begins now needs a new deadline."""
        raise NotImplementedError
