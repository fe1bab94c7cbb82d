"""What add_reader and add_writer do before a descriptor is watched.  Follows asyncio's selector_events.py.

What does not live here: the table of what is watched (watch.py).
"""

from __future__ import annotations

from asyncio import events

import cython
from cython.cimports.gort._runtime.aio.handles import make_handle
from cython.cimports.gort._runtime.aio.watch import add, number
from cython.cimports.gort._runtime.c.rt import rt_import

rt_import()


def watch(core, fileobj, fd, bit, callback, args, context):
    """Has callback(*args) called while fileobj is ready for EPOLLIN or EPOLLOUT (bit); returns its handle.  fd: the
    number() of fileobj."""
    if core._closed:
        core._check_closed()
    handle: object
    if core._debug:
        handle = events.Handle(callback, args, core, context)
    else:
        handle = make_handle(core, callback, args, context)
    add(core._watches, fileobj, fd, bit, handle)
    return handle


def check_no_transport(core, fileobj):
    """Raises RuntimeError if fileobj belongs to a transport, which alone may watch it.  Returns its number()."""
    fd: cython.int = number(fileobj)
    of: dict = core._transports.data  # a look into the WeakValueDictionary itself raises where nothing is found
    if fd < 0 or (len(of) != 0 and fd in of):
        core._ensure_fd_no_transport(fileobj)
    return fd
