"""Compression of a websocket's messages (RFC 7692), as wsproto's extension has it, with a bound on what a message may
become: a frame of 64 KiB can hold zeros for 64 MiB, and wsproto inflates what it gets as a whole.

Also mended here: wsproto takes the message for uncompressed after a ping that comes between its frames, raises ValueError
for an offer with a number that is none, keeps the numbers of an offer that it has declined, and accepts more than one.

What does not live here: when messages are read and written (ws.py).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

if TYPE_CHECKING:
    from wsproto.frame_protocol import FrameDecoder, FrameProtocol

_TAIL = b"\x00\x00\xff\xff"  # what the sender has left off the end of a message
RESTART = 2048  # what a new inflater costs, as bytes that are inflated


class Deflate(PerMessageDeflate):
    """The server's side.  most: bytes that a message may become."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._left = most  # of it, in the message that is coming
        self.made: int = 0  # bytes that were inflated, for who sets it to 0 now and then
        self._inflater: Any = None
        self._compressed = False  # the message that is coming is
        self._control = False  # the frame that is coming is one

    def accept(self, offer: str) -> bool | str | None:
        """The answer to an offer; None: it is declined.  The first one that can be accepted counts."""
        if self.enabled():
            return None
        bits = self.client_max_window_bits, self.server_max_window_bits
        try:
            answer = super().accept(offer)
        except ValueError:
            answer = None
        if answer is None:
            self.client_max_window_bits, self.server_max_window_bits = bits
        return answer

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """A frame begins."""
        self._control = opcode.iscontrol()
        if self._control or opcode is Opcode.CONTINUATION:
            if rsv.rsv1:
                return CloseReason.PROTOCOL_ERROR
        else:
            self._compressed = rsv.rsv1
            self._left = self._most
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """A part of a frame."""
        return self._inflate(data) if self._compressed and not self._control else data

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """A frame ends."""
        if self._control or not fin or not self._compressed:
            return None
        if self._inflater is None:  # nothing has come, or the last block was the last byte: no tail was left off
            return None
        rest = self._inflate(_TAIL)
        if self.client_no_context_takeover:
            self._inflater = None
        return rest

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        whole = b""
        while True:
            inflater = self._inflater
            if inflater is None:
                inflater = self._inflater = zlib.decompressobj(-self.client_max_window_bits)
            try:
                # One byte more than may come: so what is too long is seen, and what is not leaves nothing behind in zlib.
                out: bytes = inflater.decompress(data, self._left + 1)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            if len(out) > self._left:
                return CloseReason.MESSAGE_TOO_BIG
            self._left -= len(out)
            self.made += len(out)
            whole = whole + out if whole else out
            if not inflater.eof:
                return whole
            # A block said that it is the last one (section 7.2.3.4).  Another may follow at the next byte; zlib itself
            # would only keep what follows.
            data = inflater.unused_data
            self._inflater = None
            self.made += RESTART
            if not data:
                return whole
