"""Watches: the descriptors that add_reader and add_writer watch, in the epoll of their loop.  Follows _add_reader and its
relatives in asyncio's selector_events.py.

A library that waits for its own descriptor (psycopg, zmq) adds a reader and removes it for each answer.  So that must
cost little: an epoll_ctl each, and what the loop's wait has found is taken from there, without a second look.

Invariants
- The loop's thread alone uses what is here.
- A watch is in `by_fd` as long as its descriptor is in the epoll, level-triggered, for the events in `mask`.  A reader is
  there where mask has EPOLLIN, a writer where it has EPOLLOUT.
- `hits`: the watches of which an event has come, which is in their `came`, and whose callbacks are not enqueued yet.
- `last`: the watches of the last look that found any.  While one of them is watched its descriptor may still be ready:
  the kernel tells of it at each look, but tells whoever waits for the epoll itself only once.  So the loop looks again
  before it waits.

What does not live here: when the loop looks (core.py); the descriptors of transports (stream.py).
"""

from __future__ import annotations

import selectors
import socket
from collections import deque

import cython
from cython.cimports.gort._runtime.aio.handles import Handle
from cython.cimports.gort._runtime.c.net import net_epoll_add, net_epoll_del, net_epoll_mod
from cython.cimports.gort._runtime.c.rt import rt_deque_append, rt_deque_learn, rt_import
from cython.cimports.gort._runtime.poll.polldesc import EPOLLIN, EPOLLOUT

rt_import()
if cython.compiled:
    rt_deque_learn(deque)

_socket = socket.socket
_MOST = 0x7FFFFFFF  # what a C int holds


class Watch:
    """A descriptor with a reader, a writer or both: handles of callbacks.  fileobj: as the program gave it."""

    if not cython.compiled:
        fd = -1
        fileobj = None
        reader = None
        writer = None
        mask = 0
        came = 0

    def key(self):
        """The same, as asyncio has it in its selector."""
        events: object = (self.mask & EPOLLIN and selectors.EVENT_READ) | (
            self.mask & EPOLLOUT and selectors.EVENT_WRITE
        )
        return selectors.SelectorKey(self.fileobj, self.fd, events, (self.reader, self.writer))


class Watches:
    """Those of one loop.  ep: its epoll."""

    if not cython.compiled:
        ep = None
        by_fd = None
        hits = None
        last = None

    def __init__(self, ep):
        self.ep = ep
        self.by_fd = {}
        self.hits = []
        self.last = []

    def __len__(self):
        return len(self.by_fd)

    def by_number(self):
        """A key for each, by its descriptor, as asyncio has them in its selector."""
        return {fd: w.key() for fd, w in self.by_fd.items()}

    def clear(self):
        """Forgets them all: the epoll is closed."""
        self.by_fd.clear()
        self.hits.clear()
        self.last.clear()

    def find(self, fileobj):
        """The watch of a descriptor or a file object; None if it has none.  Raises ValueError for what is neither."""
        return lookup(self, fileobj, number(fileobj))


def number(fileobj):
    """The descriptor of an int or a plain socket; -1 for anything else, and for a closed socket: selectors knows what
    those are.  No code of the program's runs here."""
    if type(fileobj) is int:
        return fileobj if 0 <= fileobj <= _MOST else -1
    return fileobj.fileno() if type(fileobj) is _socket else -1


def lookup(ws, fileobj, fd):
    """The watch of a descriptor or a file object; None if it has none.  fd: its number().  Raises ValueError for what is
    neither."""
    w: Watch
    if fd >= 0:
        return ws.by_fd.get(fd)
    try:
        return ws.by_fd.get(selectors._fileobj_to_fd(fileobj))
    except ValueError:
        for w in ws.by_fd.values():  # perhaps it was closed
            if w.fileobj is fileobj:
                return w
        raise


def add(ws, fileobj, fd, bit, handle):
    """Watches for EPOLLIN or EPOLLOUT (bit), and has `handle` run from now on.  fd: the number() of fileobj.  Raises
    OSError, ValueError."""
    w: Watch = lookup(ws, fileobj, fd)
    old: object
    if w is None:
        if fd < 0:
            fd = fileobj if type(fileobj) is int else selectors._fileobj_to_fd(fileobj)
        net_epoll_add(ws.ep, fd, bit)
        w = Watch.__new__(Watch)
        w.fd = fd
        w.fileobj = fileobj
        w.mask = bit
        ws.by_fd[fd] = w
    elif not w.mask & bit:
        change(ws, w, w.mask | bit)
    old = swap(w, bit, handle)
    if old is not None:
        old.cancel()
    return 0


def remove(ws, fileobj, fd, bit):
    """Takes the reader or the writer away; True when there was one.  fd: the number() of fileobj.  Raises OSError,
    ValueError."""
    w: Watch = lookup(ws, fileobj, fd)
    if w is None or not w.mask & bit:
        return False
    change(ws, w, w.mask & ~bit)
    swap(w, bit, None).cancel()
    return True


def swap(w, bit, handle):
    """Puts a handle in the place of w's reader or writer, which it returns."""
    old: object
    if bit == EPOLLIN:
        old = w.reader
        w.reader = handle
    else:
        old = w.writer
        w.writer = handle
    return old


def change(ws, w, mask):
    """Watches for the events in mask, 0 for none.  Raises OSError, after which nothing is watched: the descriptor was
    closed."""
    w.mask = 0
    if mask:
        try:
            net_epoll_mod(ws.ep, w.fd, mask)
        except BaseException:
            ws.by_fd.pop(w.fd, None)
            raise
        w.mask = mask
    else:
        net_epoll_del(ws.ep, w.fd)
        ws.by_fd.pop(w.fd, None)
    return 0


def hit(ws, w, mask):
    """The kernel has reported these events."""
    if w.came == 0:
        ws.hits.append(w)
    w.came |= mask
    return 0


def enqueue_hits(ws, ready):
    """Enqueues the callbacks of what has come.  An error or an end is told to both."""
    w: Watch
    came: cython.int
    ws.last, ws.hits = ws.hits, []
    for w in ws.last:
        came = w.came
        w.came = 0
        if came & ~EPOLLOUT and w.mask & EPOLLIN:
            if cancelled(w.reader):
                remove(ws, w.fd, w.fd, EPOLLIN)
            else:
                rt_deque_append(ready, w.reader)
        if came & ~EPOLLIN and w.mask & EPOLLOUT:
            if cancelled(w.writer):
                remove(ws, w.fd, w.fd, EPOLLOUT)
            else:
                rt_deque_append(ready, w.writer)
    return 0


def cancelled(handle):
    """Whether a handle of the loop's, or of asyncio's in debug mode, was cancelled."""
    h: Handle
    if isinstance(handle, Handle):
        h = handle
        return h._cancelled
    return handle._cancelled


def still(ws):
    """Whether one of the last look's watches may still be ready."""
    w: Watch
    while ws.last:
        w = ws.last[len(ws.last) - 1]
        if w.mask:
            return True
        ws.last.pop()
    return False
