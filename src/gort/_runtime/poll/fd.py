# cython: boundscheck=False, wraparound=False
"""Descriptors that goroutines read and write.  Follows Go's internal/poll/fd_unix.go.

A method of FD makes an operation object.  The operation makes one attempt (IOOp.attempt) and turns its outcome into a
result or an exception (IOOp.finish).

- A write is not interleaved with others: what other goroutines write goes before or after it.  If it fails half-way,
  the exception's `written` is the number of bytes that were written.
- `pushed`, from `pushedat` on, holds bytes that an operation has read and could not return: a compound read that was
  cancelled, or that looked for a delimiter and got more.  The next read begins with them.  One goroutine at a time uses
  compound reads; the lock keeps the two fields together.

What does not live here: waiting (polldesc.py, netpoll.py); addresses, options, TLS, compound operations (gort/net).
"""

from __future__ import annotations

import errno
import os
import select

import cython
from cython.cimports.gort._runtime.c.net import (
    NET_AGAIN,
    net_accept,
    net_close,
    net_dup,
    net_find,
    net_read,
    net_readinto,
    net_write,
    net_writev,
)
from cython.cimports.gort._runtime.c.rt import FREE_THREADED, rt_import, rt_usleep
from cython.cimports.gort._runtime.core.op import share
from cython.cimports.gort._runtime.core.runtime2 import READY
from cython.cimports.gort._runtime.poll.polldesc import (
    AGAIN,
    CLOSED,
    DRAINED,
    EXPIRED,
    MORE,
    OK,
    REFUSED,
    NetOp,
    PollDesc,
    Poller,
    Side,
    wakeside,
)

from gort._runtime.poll import netpoll as _netpoll  # noqa: F401  (makes the poller)
from gort._runtime.poll.neterrors import Closed, DeadlineExceeded

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    # Op.kind: even kinds read, odd kinds write.
    READ = 0  # elem: None, then the bytes; when: the largest number of bytes to read
    WRITE = 1  # elem: the buffer; when: the number of bytes written so far
    READINTO = 2  # elem: the buffer, then the number of bytes read
    WRITEV = 3  # elem: a tuple of buffers; when: the number of bytes written so far
    ACCEPT = 4  # elem: an Accepted
    CALL_W = 5  # elem: a function that raises BlockingIOError if it would block, then its result
    CALL_R = 6  # the same, for a function that reads

READ_MAX = 1 << 26  # bytes that one read makes room for, however many it may take

_WHAT = {
    0: "conn.read()",
    1: "conn.write()",
    2: "conn.readinto()",
    3: "conn.writev()",
    4: "listener.accept()",
    5: "a write",
    6: "a read",
}


def buffer_of(data, method):
    """Returns data in the form that write operations keep: bytes themselves, any other buffer as a memoryview, which
    prevents a resize.

    Raises TypeError if data is not a buffer, ValueError if it is not contiguous."""
    if type(data) is bytes:
        return data
    if isinstance(data, str):
        raise TypeError(f"{method} takes bytes, not str: write data.encode()")
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(f"{method} takes bytes or another buffer, not {type(data).__name__}") from None
    if not view.c_contiguous:
        raise ValueError(f"{method}: the memoryview is not contiguous: pass bytes(view)")
    return view


class Accepted:
    """An accepted descriptor on its way to a goroutine.  Closes it if the goroutine never takes it."""

    def __init__(self, fd, addr):
        self.fd = fd
        self.addr = addr

    def take(self):
        """Returns (descriptor, address).  The caller then owns the descriptor."""
        fd = self.fd
        self.fd = -1
        return fd, self.addr

    def __del__(self):
        if self.fd >= 0:
            net_close(self.fd)


class IOOp(NetOp):
    """One operation of an FD."""

    @property
    def what(self):
        """The operation as a user writes it, for messages."""
        return _WHAT[self.kind]

    def attempt(self):
        """Makes the system call of this kind, or takes pushed-back bytes.  Raises what the system reports."""
        fd: FD = self.c
        kind: cython.int = self.kind
        n: cython.Py_ssize_t
        total: cython.Py_ssize_t
        data: object
        if kind == READ:
            if fd.pushed is not None:
                self.elem = fd.pop(self.when)
                return MORE
            data = net_read(fd.fd, self.when, fd.sock)
            if data is None:
                return AGAIN
            if FREE_THREADED:
                share(self.g.sched, data)
            self.elem = data
            n = len(data)
            return DRAINED if fd.stream and 0 < n < self.when else MORE
        if kind == WRITE:
            total = len(self.elem) if type(self.elem) is bytes else self.elem.nbytes
            while True:
                n = net_write(fd.fd, self.elem, self.when, fd.sock)
                if n == NET_AGAIN:
                    return AGAIN
                self.when += n
                if self.when >= total:
                    return MORE
        if kind == READINTO:
            if fd.pushed is not None:
                data = fd.pop(self.elem.nbytes)
                self.elem.cast("B")[: len(data)] = data
                self.elem = len(data)
                return MORE
            total = self.elem.nbytes
            n = net_readinto(fd.fd, self.elem, fd.sock)
            if n == NET_AGAIN:
                return AGAIN
            self.elem = n
            return DRAINED if fd.stream and 0 < n < total else MORE
        if kind == WRITEV:
            total = 0
            for data in self.elem:
                total += len(data) if type(data) is bytes else data.nbytes
            while self.when < total:
                n = net_writev(fd.fd, self.elem, self.when, fd.sock)
                if n == NET_AGAIN:
                    return AGAIN
                self.when += n
            return MORE
        if kind == ACCEPT:
            data = net_accept(fd.fd, fd.lsock)
            if data is None:
                return AGAIN
            self.elem = Accepted(data[0], data[1])
            return MORE
        try:
            data = self.elem()
        except BlockingIOError:
            return AGAIN
        self.elem = data
        return MORE

    def wait_late(self):
        """A write has to wait, for the first time: has the poller watch the writing side.  True when the write is to be
        tried again, for what came before the poller looks is told to nobody.  The caller owns w.busy; nobody closes fd.

        A Unix socket tells of room for writing whenever its peer has read something; TCP does only after a write that had
        none.  So each message would wake the sender's poller for nothing: one wake-up in four between two processes that
        take turns."""
        fd: FD = self.c
        np: Poller
        attaching: cython.bint
        while True:
            fd.lock()
            np = fd.np
            attaching = fd.attaching
            if np is not None and not attaching:
                fd.wlate = False  # under the lock: a later attach, to another runtime's poller, reads it
            fd.unlock()
            if np is None:
                return False  # the attach has failed: serve says so
            if not attaching:
                break
            rt_usleep(1)  # lets the other thread register it
        try:
            np.watch_writes(fd)
        except OSError:
            fd.wlate = True  # this write fails, and the next one that has to wait tries again
            raise
        return True

    def finish(self):
        """Returns the result or raises the operation's error."""
        v: object = self.elem
        self.elem = None
        self.g = None
        if self.success == OK:
            if self.kind == WRITE or self.kind == WRITEV:
                return None
            return v
        raise failure(self)

    def refusal(self):
        """Why the operation cannot be a case of select; empty if it can."""
        if self.kind == READ or self.kind == READINTO or self.kind == ACCEPT:
            return ""
        if self.kind & 1:
            return (
                "a write may be half done when another case runs; start it in a gort.Group, and select on h, or give it "
                "its time with gort.move_on_after"
            )
        return "it is no read"

    def readiness(self):
        """The operation that waits until this read or accept may succeed, and takes nothing: for select."""
        fd: FD = self.c
        return fd.call_op(fd.readable, False)

    def cancelled(self, exc):
        """Sets `written` on the Cancelled of a write: the number of bytes that were written before."""
        if self.kind == WRITE or self.kind == WRITEV:
            exc.written = self.when


class EmptyOp(IOOp):
    """A read of no bytes.  It makes no system call, which would look like the end of the stream, and waits for nothing.
    Follows FD.Read (Go's internal/poll/fd_unix.go)."""

    def begin(self, g):
        """READY: no bytes, or the error of a closed descriptor."""
        fd: FD = self.c
        fd.lock()
        self.success = CLOSED if fd.closing else OK
        fd.unlock()
        self.elem = b"" if self.kind == READ else 0
        return READY


def failure(op):
    """The exception for an operation that has failed."""
    fd: FD = op.c
    exc: object
    if op.success == CLOSED:
        exc = Closed(f"{describe_fd(fd, op)}: use of closed {fd.noun}")
    elif op.success == EXPIRED:
        exc = DeadlineExceeded(f"{describe_fd(fd, op)}: deadline exceeded")
    else:
        exc = op.sel
        op.sel = None
        if op.success == REFUSED:
            exc = OSError(errno.EPERM, "the poller does not take the descriptor")
        if isinstance(exc, OSError) and exc.errno is not None and exc.filename is None:
            exc = type(exc)(exc.errno, f"{describe_fd(fd, op)}: {exc.strerror}")
    if op.kind == WRITE or op.kind == WRITEV:
        exc.written = op.when
    return exc


def describe_fd(fd, op):
    """The start of the message, as in Go's OpError: "read tcp 127.0.0.1:80->127.0.0.1:5000"."""
    verb = {READ: "read", READINTO: "read", CALL_R: "read", ACCEPT: "accept"}.get(op.kind, "write")
    return f"{verb} {fd.describe()}"


class FD(PollDesc):
    """A descriptor.  sock: it is a socket and not a pipe.  stream: it is a stream socket, on which a short read means
    that the kernel has no more."""

    noun = "descriptor"

    if not cython.compiled:
        pushed = None
        pushedat = 0
        lsock = None

    def __init__(self, fd, sock=False, stream=False):
        PollDesc.__init__(self, fd)
        self.sock = sock
        self.stream = stream

    def describe(self):
        """The descriptor's name in messages."""
        return f"fd {self.fd}"

    def read(self, n=65536):
        """`data = await conn.read(n)` returns up to n bytes, as soon as there are any; b"" at the end of the stream.

        read(0) returns b"" at once, as in Go.  Raises ValueError if n is negative.  The await raises what the system
        reports (ConnectionResetError, …), DeadlineExceeded, and Closed if the descriptor is closed before or during the
        wait.  A cancelled read has taken nothing from the stream."""
        op: IOOp
        if n <= 0:
            if n < 0:
                raise ValueError(f"read(n) takes a number of bytes, not {n}")
            op = EmptyOp.__new__(EmptyOp)
        else:
            if n > READ_MAX:
                n = READ_MAX
            op = IOOp.__new__(IOOp)
        op.c = self
        op.kind = READ
        op.when = n
        return op

    def readinto(self, buffer):
        """`n = await conn.readinto(buffer)` reads into a writable buffer; n is 0 at the end of the stream, and for a
        buffer without room.

        Raises TypeError if the buffer is not writable, ValueError if it is not contiguous.  The await raises
        what that of read raises."""
        op: IOOp
        view = memoryview(buffer)
        if view.readonly:
            raise TypeError(f"readinto takes a writable buffer such as bytearray, not {type(buffer).__name__}")
        if not view.c_contiguous:
            raise ValueError("readinto takes a contiguous buffer")
        op = IOOp.__new__(IOOp) if view.nbytes else EmptyOp.__new__(EmptyOp)
        op.c = self
        op.kind = READINTO
        op.elem = view
        return op

    def write(self, data):
        """`await conn.write(data)` writes all of data, and waits while the peer is slow.

        Raises TypeError or ValueError if data is not a contiguous buffer.  The await raises what the system reports
        (BrokenPipeError, ConnectionResetError, …), DeadlineExceeded and Closed.  On each of these, and on Cancelled,
        `written` is the number of bytes that were written before."""
        op: IOOp
        if type(data) is not bytes:
            data = buffer_of(data, "write")
        op = IOOp.__new__(IOOp)
        op.c = self
        op.kind = WRITE
        op.elem = data
        return op

    def writev(self, buffers):
        """`await conn.writev(buffers)` writes several buffers one after the other, without copying them together.
        Raises what write raises."""
        op: IOOp
        parts = tuple([buffer_of(b, "writev") for b in buffers])
        op = IOOp.__new__(IOOp)
        op.c = self
        op.kind = WRITEV
        op.elem = parts
        return op

    def accept_op(self):
        """Returns the operation that accepts one connection; its result is an Accepted."""
        op: IOOp = IOOp.__new__(IOOp)
        op.c = self
        op.kind = ACCEPT
        return op

    def call_op(self, fn, writes):
        """Returns the operation that calls fn() until it does not raise BlockingIOError, and waits for readiness in
        between.  Its result is fn's."""
        op: IOOp = IOOp.__new__(IOOp)
        op.c = self
        op.kind = CALL_W if writes else CALL_R
        op.elem = fn
        return op

    def readable(self):
        """Returns if a read or an accept need not wait; raises BlockingIOError if it must."""
        if self.pushed is not None:
            return
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if not poll.poll(0):
            raise BlockingIOError

    def ask(self, kind):
        """The next operation of this kind asks the system, although the poller has not seen that it may succeed."""
        side: Side
        side = self.w if kind & 1 else self.r
        self.lock()
        # Whoever is in the queue waits for the poller, which wakes nobody where it finds ready already set.
        if not side.busy and side.first is None:
            side.ready = True
        self.unlock()

    def set_stream(self):
        """For a Unix socket whose peer is known to pass no descriptors, which would end a read: a short read means that
        the kernel has no more, as on other stream sockets."""
        self.stream = True

    def set_wlate(self):
        """For a Unix connection, before a goroutine uses it: the poller watches the writing side once a write has to wait
        (wait_late)."""
        self.wlate = True

    def set_lsock(self, sock):
        """Stores the socket object with which the uncompiled core accepts."""
        self.lsock = sock

    def duplicate(self):
        """Another descriptor of the same file, for a system call that is no operation.  The caller closes it.

        Under the lock, where nobody can begin to close it: otherwise the number may be somebody else's by the time it is
        used.  Raises Closed on a closed descriptor, OSError where the system gives none."""
        copy: cython.int
        self.lock()
        copy = -1 if self.closing else net_dup(self.fd)
        self.unlock()
        if copy >= 0:
            return copy
        if self.closing:
            raise Closed(f"use of closed {self.noun}")
        raise OSError(-copy, os.strerror(-copy))

    def push(self, data, at=0):
        """Pushes data[at:] back, so that the next read begins with it.  Bytes are kept as they are, not copied, where
        nothing is kept yet."""
        start: cython.Py_ssize_t = at
        if start >= len(data):
            return
        old = self.pushed
        if type(data) is not bytes or old is not None:
            data = bytes(memoryview(data)[start:])
            start = 0
            if old is not None:
                data = b"".join(
                    (data, old[self.pushedat :])
                )  # a call: a collection that is due begins here (gcheld.py)
        self.lock()
        self.pushed = data
        self.pushedat = start
        self.unlock()
        wakeside(self, self.r, False)

    def retry_writes(self):
        """Has the first operation of the writing side make another attempt: what it waits for, beside the peer, may be
        there."""
        wakeside(self, self.w, False)

    def retry_reads(self):
        """The same for the reading side."""
        wakeside(self, self.r, False)

    def pop(self, n):
        """Takes up to n of the bytes that were pushed back."""
        data = self.pushed
        start: cython.Py_ssize_t = self.pushedat
        end: cython.Py_ssize_t = start + n
        self.lock()
        if len(data) <= end:
            self.pushed = None
        else:
            self.pushedat = end
        self.unlock()
        return data[start:end]

    def held(self):
        """(data, start): data[start:] is what was pushed back.  (b"", 0) where that is nothing, and when a read would
        fail.  Costs nothing, however much it is."""
        data: object
        start: cython.Py_ssize_t
        self.lock()
        data = None if self.closing or self.r.expired else self.pushed
        start = self.pushedat
        self.unlock()
        return (b"", 0) if data is None else (data, start)

    def skip(self, n):
        """Drops up to n of the bytes that were pushed back; how many that was."""
        data: object
        left: cython.Py_ssize_t = 0
        self.lock()
        data = self.pushed
        if data is not None:
            left = len(data) - self.pushedat
            if n < left:
                left = n
                self.pushedat += n
            else:
                self.pushed = None
        self.unlock()
        return left

    def refuses_reads(self):
        """Whether a read would fail now: it is closed, or its deadline has passed."""
        return self.closing or self.r.expired

    def take_until(self, delimiter, limit):
        """Takes the bytes that were pushed back up to and including the delimiter, without waiting: `lines` reads a large
        piece, pushes it back, and takes one line after another.  Costs the line's length, not the piece's.

        None when no delimiter ends within `limit` bytes of what was pushed back, and when a read would fail."""
        data: object
        start: cython.Py_ssize_t
        end: cython.Py_ssize_t = -1
        if type(delimiter) is not bytes:
            delimiter = bytes(delimiter)
        self.lock()
        data = self.pushed
        start = self.pushedat
        if data is not None and not self.closing and not self.r.expired:
            end = net_find(data, start, delimiter, limit)
            if end == len(data):
                self.pushed = None
            elif end >= 0:
                self.pushedat = end
        self.unlock()
        return data[start:end] if end >= 0 else None
