"""Stream: what of a socket's transport each message passes through.  Follows _SelectorSocketTransport in asyncio's
selector_events.py, which does all the rest (transport.py).

A stream's descriptor is in its loop's epoll for as long as its transport has it, edge-triggered, for reading and
writing.  So no message costs an epoll_ctl, and to pause reading is to clear a flag.  The loop tells of each event
(`event`), and the stream puts itself into the loop's queue `came`; in its turn (`serve`) it makes one recv.

Invariants
- The loop's thread alone uses a stream.
- `readable`: the kernel has reported bytes, or an end, since the last recv that found it empty.  Where `exact`, a recv
  that gives fewer bytes than it asked for has found it empty.  Else only one that gives none has: where the peer has
  ended its side (`hup`), on TCP once urgent data has come, for a recv ends before that, and on Unix sockets, where it
  ends at bytes that came with a descriptor.
- A stream is in `came` (`queued`) whenever it is watched, and reads and is readable, or flushes and is writable.
- `direct` is true only while nothing is buffered, the transport is open for writing, and no sendfile uses it: then write
  may send at once.  Transport._settle says so after whatever may change it.
- After `end` it refers to no transport.  Until then the two refer to each other.
- While a callback runs (`Cork.procid`), a small write is held until it returns, so that a head and a body go in one send.
  One stream of a loop holds at a time, so what a callback writes to several goes in its order.  Whatever may change
  `direct`, tells how much is buffered, or asks for the socket sends first what is held (Transport._let_go, HeldSocket).
  Nothing is held where a protocol wants to be paused earlier than by default (`holds`), nor what another thread writes.
  os.fork in a callback sends first what is held (core.py), for the child has a copy of it.

Rejected: to hold it until the end of the iteration, as uvloop does.  The next callback may ask the peer.

Where another part of asyncio adds a reader or writer of its own for the descriptor (sendfile), the stream gives it up:
the loop's selector watches it then, as asyncio's does.

What does not live here: the epoll and the queue (core.py); how a transport closes, its watermarks and its buffer, which
are asyncio's.
"""

from __future__ import annotations

from asyncio import constants
from asyncio.log import logger
from collections import deque

import cython
from cython.cimports.cpython.contextvars import PyContext_Enter, PyContext_Exit
from cython.cimports.gort._runtime.aio.handles import copy_context
from cython.cimports.gort._runtime.c.net import (
    NET_AGAIN,
    net_epoll_add,
    net_epoll_del,
    net_read,
    net_readinto,
    net_write,
)
from cython.cimports.gort._runtime.c.rt import rt_deque_append, rt_deque_learn, rt_import
from cython.cimports.gort._runtime.core.runtime2 import M, getm
from cython.cimports.gort._runtime.poll.polldesc import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from cython.cimports.gort._runtime.poll.netpoll import EPOLLET

rt_import()
if cython.compiled:
    rt_deque_learn(deque)

# So many bytes it asks for at once: what one message rarely exceeds, and what needs no memory of its own.
EPOLLPRI = cython.declare(cython.uint, 0x002)  # urgent data
READ_BYTES = cython.declare(cython.Py_ssize_t, 65536)
HELD_BYTES = cython.declare(cython.Py_ssize_t, 16384)  # so many are held at most: to copy them costs less than a send


class Cork:
    """What holds the last writes of the callback that a loop runs.  procid: of the loop's thread; 0: nothing is held."""

    if not cython.compiled:
        procid = 0
        stream = None


class Stream:
    """The hot half of a transport."""

    if not cython.compiled:
        transport = None
        protocol = None
        buffered = False
        context = None
        came = None
        ep = -1
        fd = -1
        flush = None
        watched = False
        reading = False
        readable = False
        writable = False
        hup = False
        exact = False
        queued = False
        direct = False
        holds = False
        held = None
        held_bytes = 0
        cork = None
        lost = 0

    def __init__(self, transport, fd, ep, came, cork, exact):
        self.transport = transport
        self.fd = fd
        self.ep = ep  # the loop's epoll
        self.came = came
        self.cork = cork
        self.holds = True
        self.held = None  # what is held: bytes, or a list of them
        self.exact = exact
        self.flush = None  # the transport's function that writes what is buffered, while it waits for room
        self.lost = 0  # writes after the end

    def set_protocol(self, protocol, buffered):
        """Who gets what comes.  buffered: it has the buffer into which that is read (asyncio.BufferedProtocol)."""
        self.protocol = protocol
        self.buffered = buffered

    def watch(self):
        """Has the kernel report on the descriptor from now on, beginning with what is so already.  Raises OSError."""
        if not self.watched:
            net_epoll_add(self.ep, self.fd, EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET)
            self.readable = self.writable = self.hup = False
            self.watched = True

    def unwatch(self):
        """The opposite of watch."""
        if self.watched:
            self.watched = False
            net_epoll_del(self.ep, self.fd)

    def start(self, context):
        """Reads from now on, in these contextvars; None: in a copy of the caller's."""
        self.context = copy_context() if context is None else context
        self.reading = True
        if self.readable:
            enqueue(self)

    def stop(self):
        """Reads no more.  True if it did."""
        was: cython.bint = self.reading
        self.reading = False
        return was

    def flushes(self, callback, context):
        """Calls the transport's callback() as long as there is room, until stop_flush, in the contextvars in which it
        reads, else in these, else in a copy of the caller's.  False: it is not the transport's."""
        if getattr(callback, "__self__", None) is not self.transport:
            return False
        self.flush = callback
        if self.context is None:
            self.context = copy_context() if context is None else context
        # The write that found no room may have taken some: only one that takes nothing is sure of an event to come.
        self.writable = True
        enqueue(self)
        return True

    def stop_flush(self):
        """Calls it no more.  True if it did."""
        was: cython.bint = self.flush is not None
        self.flush = None
        return was

    def set_direct(self, direct):
        """Whether a write may send at once."""
        self.direct = direct

    def set_holds(self, holds):
        """Whether a small write may be held."""
        self.holds = holds

    def let_go(self):
        """Sends what is held."""
        if self.held is not None:
            release(self.cork)

    def end(self):
        """The transport has no descriptor any more; it is not watched."""
        if self.held is not None:
            self.held = self.cork.stream = None
        self.reading = self.direct = False
        self.transport = self.protocol = self.flush = self.context = None

    def polls(self):
        """What it waits for, as selectors has it: 1 reading, 2 writing.  0 when it is not watched."""
        return self.watched * (self.reading + 2 * (self.flush is not None))

    def write(self, data):
        """Sends data, and keeps what does not go at once.  Follows WriteTransport.write (asyncio)."""
        if self.direct and type(data) is bytes:
            if self.holds and holding(self.cork):
                hold(self, data)
            elif len(data) != 0:
                send(self, data)
            return None
        if self.held is not None:
            release(self.cork)
        transport: object = self.transport
        if transport is not None:
            return transport._write(data)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if data:
            if self.lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self.lost += 1
        return None


def holding(cork):
    """Whether this is the loop's thread, in a callback."""
    m: M = getm()
    return m is not None and m.procid == cork.procid


def send(st, data):
    """Sends bytes of which there are some, and leaves to the transport what does not go at once."""
    transport: object = st.transport
    n: cython.Py_ssize_t
    if not st.direct:  # what a protocol does when it is told of another stream
        if transport is not None:
            transport._write(data)
        return 0
    try:
        n = net_write(st.fd, data, 0, True)
    except Exception as e:
        transport._fatal_error(e, "Fatal write error on socket transport")
        return 0
    if n == len(data):
        return 0
    if n == NET_AGAIN:
        n = 0
    transport._write(memoryview(data)[n:] if n else data)


def hold(st, data):
    """Holds bytes until the callback returns; sends them at once if they are many."""
    cork: Cork = st.cork
    n: cython.Py_ssize_t = len(data)
    if cork.stream is not None and (cork.stream is not st or st.held_bytes + n > HELD_BYTES):
        release(cork)
    if n > HELD_BYTES or not st.direct:
        send(st, data)
    elif cork.stream is None:
        if n != 0:
            cork.stream = st
            st.held = data
            st.held_bytes = n
    elif type(st.held) is bytes:
        st.held = [st.held, data]
        st.held_bytes += n
    else:
        st.held.append(data)
        st.held_bytes += n


def release(cork):
    """Sends what is held."""
    st: Stream = cork.stream
    data: object = st.held
    cork.stream = st.held = None
    send(st, data if type(data) is bytes else b"".join(data))


def enqueue(st):
    """Gives st a turn."""
    if not st.queued and st.watched:
        st.queued = True
        rt_deque_append(st.came, st)


def event(st, mask):
    """The kernel has reported on st's descriptor."""
    if mask & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        st.readable = True
        if mask & EPOLLPRI:
            st.exact = False
        if mask & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            st.hup = True
        if st.reading:
            enqueue(st)
    if mask & (EPOLLOUT | EPOLLHUP | EPOLLERR):
        st.writable = True
        if st.flush is not None:
            enqueue(st)


def serve(st):
    """st's turn.  Raises SystemExit and KeyboardInterrupt alone, as a callback does."""
    st.queued = False
    context: object = st.context
    if not st.watched or context is None:
        return 0
    if cython.compiled:
        PyContext_Enter(context)
        try:
            step(st)
        finally:
            PyContext_Exit(context)
    else:
        context.run(step, st)


def step(st):
    """Flushes if it is to, and reads once if it is to."""
    if st.writable and st.flush is not None:
        flush_once(st)
    if st.reading and st.readable:
        if st.buffered:
            read_into(st)
        else:
            read(st)
        if st.reading and st.readable:
            enqueue(st)


def flush_once(st):
    """Has the transport write what is buffered."""
    transport: object = st.transport
    before: object = transport.get_write_buffer_size()
    st.flush()
    if st.flush is None or st.transport is None:
        return 0
    if transport.get_write_buffer_size() == before:
        st.writable = False  # nothing went: the kernel reports when there is room
    else:
        enqueue(st)


def drained(st, n, room):
    """Notes that recv has given n of `room` bytes."""
    if 0 < n < room and st.exact and not st.hup:
        st.readable = False


def read(st):
    """One recv, for a protocol that takes bytes."""
    transport: object = st.transport
    try:
        data = net_read(st.fd, READ_BYTES, True)
    except Exception as e:
        transport._fatal_error(e, "Fatal read error on socket transport")
        return 0
    if data is None:
        st.readable = st.hup = False
        return 0
    drained(st, len(data), READ_BYTES)
    if not data:
        ended(st)
        return 0
    try:
        st.protocol.data_received(data)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as e:
        transport._fatal_error(e, "Fatal error: protocol.data_received() call failed.")


def read_into(st):
    """One recv, for a protocol that has a buffer."""
    transport: object = st.transport
    protocol: object = st.protocol
    n: cython.Py_ssize_t
    room: cython.Py_ssize_t
    try:
        buffer = protocol.get_buffer(-1)
        room = len(buffer)
        if room == 0:
            raise RuntimeError("get_buffer() returned an empty buffer")
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as e:
        transport._fatal_error(e, "Fatal error: protocol.get_buffer() call failed.")
        return 0
    try:
        n = net_readinto(st.fd, buffer, True)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as e:
        transport._fatal_error(e, "Fatal read error on socket transport")
        return 0
    if n == NET_AGAIN:
        st.readable = st.hup = False
        return 0
    drained(st, n, room)
    if n == 0:
        ended(st)
        return 0
    try:
        protocol.buffer_updated(n)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as e:
        transport._fatal_error(e, "Fatal error: protocol.buffer_updated() call failed.")


def ended(st):
    """The peer has ended its side."""
    st.transport._read_ready__on_eof()
