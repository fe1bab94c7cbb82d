"""Frames of a websocket (RFC 6455): the messages that nearly all of them are, made in compiled code.

A frame that is a whole message, and came whole, and is not compressed, is taken apart here.  All else (control frames,
parts of messages, what is compressed, what is wrong, large frames that come in several reads) is passed on to wsproto,
with which it began: so what a wrong frame does is decided there alone.

Invariants
- What is passed on ends with a frame, or `due` says how many bytes of the last one are to come, which are passed on as
  they come.  So wsproto is between two frames whenever a message is made here.
- While a message comes in parts (`open`), no frame is taken apart here.
- Of a head that has not come whole, and may be right, nothing is passed on: it waits in `rest`, 13 bytes at most.

One goroutine, or task, uses a Frames: no lock guards it.

What does not live here: who reads and writes (gort/http/ws.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.net import net_unmask
from cython.cimports.gort._runtime.c.rt import rt_import

rt_import()

_TEXT = cython.declare(cython.int, 0x81)  # the first byte of a frame that is a whole message
_BINARY = cython.declare(cython.int, 0x82)
_ALL = cython.declare(cython.longlong, 1 << 62)  # of `due`: what follows a frame that is wrong


class Frames:
    """What a client sends.

    message: after take() has returned True: a message, str or bytes.  piece: after it has returned False: bytes for
    wsproto; b"": nothing is left."""

    if not cython.compiled:
        message = None
        piece = b""

    def __init__(self, most):
        self.message = None
        self.piece = b""
        self.data = b""
        self.at = 0
        self.rest = b""
        self.due = 0
        self.open = False
        self.most = most  # bytes of a message that may be made here

    def feed(self, data: bytes):
        """Takes what has been read.  take() is called until it finds nothing more."""
        self.data = self.rest + data if self.rest else data
        self.rest = b""
        self.at = 0

    def take(self):
        """Finds the next message, or what is to be passed on."""
        data: bytes = self.data
        begin: cython.Py_ssize_t = self.at
        at: cython.Py_ssize_t = begin
        end: cython.Py_ssize_t = len(data)
        head: cython.Py_ssize_t
        size: cython.longlong
        first: cython.int
        second: cython.int
        self.message = None
        if self.due > 0:
            at = begin + min(self.due, end - begin)
            self.due -= at - begin
        while self.due == 0 and at < end:
            head = 2
            first = data[at]
            second = data[at + 1] if at + 1 < end else 0
            if second & 128:
                head = 6
            if second & 127 == 126:
                head += 2
            elif second & 127 == 127:
                head += 8
            # The length has come whole where what comes is the mask, of four bytes.
            if is_wrong(first, second, at + 1 < end) or (
                at + 1 < end and end - at >= head - 4 and length_of(data, at + 1) < 0
            ):
                self.due = _ALL  # wsproto says why, and the websocket ends
                at = end
                break
            if end - at < head:
                self.rest = data[at:]
                end = at
                break
            size = length_of(data, at + 1)
            if (
                first in (_TEXT, _BINARY)
                and second & 128
                and not self.open
                and size <= self.most
                and end - at - head >= size
            ):
                if at > begin:
                    break  # what comes before it is passed on first
                if self.make(first, at + head, size):
                    self.at = at + head + size
                    return True
            elif first & 15 < 8:
                self.open = first & 128 == 0
            self.due = min(size, _ALL) + head  # a length may be up to 2**63-1, and then there is no room for the head
            size = min(self.due, end - at)
            self.due -= size
            at += size
        self.at = at
        self.piece = data[begin:at]
        if at == end:
            self.data = b""  # an idle websocket keeps nothing of it
            self.at = 0
        return False

    def make(self, first, at, size):
        """Makes the message whose masked bytes begin at `at`.  False: it is no text, as wsproto is to find too."""
        raw: bytes = net_unmask(self.data, at, size)
        if first == _BINARY:
            self.message = raw
            return True
        try:
            self.message = raw.decode()
        except UnicodeDecodeError:
            return False
        return True


def is_wrong(first, second, both):
    """Whether the first byte of a frame, or the second where it has come, is none that a client may send."""
    control: cython.bint = first & 8 != 0
    if first & 7 > 2 or first & 0x30 or (control and first & 0xC0 != 0x80):
        return True  # a reserved opcode or bit; a control frame that is compressed, or a part
    return both and (not second & 128 or (control and second & 127 > 125))  # not masked; too long


def length_of(data: bytes, at):
    """The length that a whole head says, whose second byte is at `at`; -1: in more bytes than it needs, or too large."""
    i: cython.int
    size: cython.longlong = data[at] & 127
    if size == 126:
        size = data[at + 1] << 8 | data[at + 2]
        return size if size > 125 else -1
    if size == 127:
        if data[at + 1] & 128:
            return -1
        size = 0
        for i in range(1, 9):
            size = size << 8 | data[at + i]
        return size if size > 65535 else -1
    return size


def framed(message):
    """The frame that a whole message goes out in, which is str or bytes."""
    first: cython.int = _BINARY
    payload: bytes
    if type(message) is str:
        first = _TEXT
        payload = message.encode()
    else:
        payload = message
    n: cython.Py_ssize_t = len(payload)
    if n < 126:
        return bytes((first, n)) + payload
    if n < 65536:
        return bytes((first, 126, n >> 8, n & 255)) + payload
    return bytes((first, 127)) + n.to_bytes(8, "big") + payload
