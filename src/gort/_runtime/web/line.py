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


class Line:
    """One connection.  exchange: the request that is being served, for a dump.  owner: whose connection it is.

    idle: it waits for a request of which nothing has come.  keep: another request may follow.  broken: nothing more can
    be written.  over: the client has ended its side."""

    if not cython.compiled:
        owner = None
        server = None
        conn = None
        client = None
        where = None
        scheme = None
        parser = None
        exchange = None
        idle = False
        keep = False
        broken = False
        over = False
        read_until = 0.0
        write_until = 0.0

    def rests(self):
        """Whether the next request may be read without more ado: nothing of it has come, and the deadline is far enough
        away.  The line is idle then."""
        parser: Parser = self.parser
        if parser.failed is not None or parser.partial or self.over:
            return False
        self.idle = True
        if cython.compiled:
            rt_fence()  # drain() looks at `idle` once `stopping` is set
        return not self.server.stopping and monotonic() <= self.read_until

    def came(self, data):
        """The next request, where it has come with data; None where the head is not whole, or is refused, or the client
        has ended (b"")."""
        parser: Parser = self.parser
        queue: list = parser.queue
        self.idle = False
        if data:
            parser.feed(data)
        else:
            self.over = True
        return queue.pop(0) if queue else None

    def write_begins(self):
        """Sees to the deadline of a write.  Returns the time."""
        now: cython.double = monotonic()
        if now > self.write_until:
            self.write_due(now)
        return now

    def write_due(self, now):
        """A write that begins now needs a new deadline."""
        raise NotImplementedError
