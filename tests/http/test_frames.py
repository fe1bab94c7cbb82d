"""Frames of a websocket: what is made of them in compiled code, beside wsproto, which reads the same bytes alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from gort._runtime.web.frames import Frames, framed
from support import dose

MOST = 100_000
MASK = b"\x01\x80\xff\x5a"


def frame(first: int, data: bytes = b"", *, mask: bytes = MASK, size: int | None = None, wide: int = 0) -> bytes:
    """A client's frame.  size: what it says of its length.  wide: in so many bytes, where that is not the least."""
    n = len(data) if size is None else size
    wide = wide or (0 if n < 126 else 2 if n < 65536 else 8)
    length = {0: n, 2: 126, 8: 127}[wide]
    head = bytes([first, length | (128 if mask else 0)]) + (n.to_bytes(wide, "big") if wide else b"")
    return head + mask + (bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if mask else data)


class Heard:
    """What a reader has made of a stream: messages, control frames, and how it has ended."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._parts: list[Any] = []
        self._proto = FrameProtocol(client=False, extensions=[])
        self.over = False

    def message(self, data: str | bytes) -> None:
        """A whole one."""
        self.all.append(data)

    def feed(self, data: bytes) -> None:
        """Has wsproto read it."""
        if self.over:
            return
        try:
            self._proto.receive_bytes(data)
            for got in self._proto.received_frames():
                if got.opcode.iscontrol():
                    self.all.append((got.opcode, got.payload))
                    self.over = self.over or got.opcode is Opcode.CLOSE
                    continue
                self._parts.append(got.payload)
                if got.message_finished:
                    self.message(self._parts[0][:0].join(self._parts))
                    self._parts.clear()
        except ParseFailed as e:
            self.all.append(("wrong", e.code))
            self.over = True


def read(pieces: list[bytes]) -> tuple[list[Any], int]:
    """What Frames and wsproto make of it together, and how many messages wsproto has not seen."""
    frames, heard, made = Frames(MOST), Heard(), 0
    for data in pieces:
        frames.feed(data)
        while not heard.over:
            if frames.take():
                assert frames.message is not None
                heard.message(frames.message)
                made += 1
            elif frames.piece:
                heard.feed(frames.piece)
            else:
                break
    return heard.all, made


def alone(data: bytes) -> list[Any]:
    """What wsproto makes of it."""
    heard = Heard()
    heard.feed(data)
    return heard.all


GOOD = {
    "text": frame(0x81, "ä".encode()),
    "bytes": frame(0x82, b"x" * 125),
    "nothing": frame(0x81) + frame(0x82),
    "two bytes of length": frame(0x82, b"x" * 126) + frame(0x81, b"y" * 65535),
    "eight bytes of length": frame(0x82, b"x" * 65536),
}
OTHER = {
    "in parts": frame(0x01, b"\xc3") + frame(0x89, b"?") + frame(0x00) + frame(0x80, b"\xa4"),
    "ping, pong": frame(0x89, b"1") + frame(0x8A, b"2"),
    "close": frame(0x88, b"\x03\xe8") + frame(0x81, b"too late"),
    "too large": frame(0x82, b"x" * (MOST + 1)),
    "no text": frame(0x81, b"\xff"),
    "text within a text": frame(0x01, b"a") + frame(0x81, b"b"),
    "a continuation of nothing": frame(0x80, b"a"),
    "not masked": frame(0x81, b"a", mask=b""),
    "reserved bits": frame(0xA1, b"a"),
    "compressed": frame(0xC2, b"a"),
    "reserved opcode": frame(0x83, b"a"),
    "reserved control opcode": frame(0x8B),
    "ping in parts": frame(0x09),
    "long ping": frame(0x89, b"x" * 126),
    "two bytes are too many": frame(0x82, b"a", wide=2),
    "eight bytes are too many": frame(0x82, b"a" * 200, wide=8),
    "beyond 63 bits": frame(0x82, size=1 << 63),
    "63 bits": frame(0x89, b"1") + frame(0x82, b"a", size=(1 << 63) - 1),
    "63 bits, after which the head has no room": frame(0x89, b"1") + frame(0x80, size=(1 << 63) - 14),
}


@pytest.mark.parametrize("kind", [*GOOD, *OTHER])
def test_each_kind_of_frames(kind: str) -> None:
    """Whole, byte by byte, and between two messages.  What is good never comes to wsproto."""
    data = GOOD.get(kind) or OTHER[kind]
    assert alone(data)
    got, made = read([data])
    assert got == alone(data)
    assert made == (len(got) if kind in GOOD else 0)
    whole = frame(0x81, b"before") + data + frame(0x82, b"after")
    assert read([whole])[0] == alone(whole)
    if len(data) < 1000:
        assert read([whole[i : i + 1] for i in range(len(whole))])[0] == alone(whole)
    for at in range(1, min(len(whole), 40)):
        assert read([whole[:at], whole[at:]])[0] == alone(whole)


def test_random_frames_in_random_pieces() -> None:
    """Also what is wrong: wsproto says the same as if it had read all."""
    rng = random.Random(1)
    kinds = [*GOOD.values(), *OTHER.values()]
    for _ in range(dose(1000)):
        data = b"".join(rng.choices(kinds, [20] * len(GOOD) + [1] * len(OTHER), k=rng.randrange(1, 8)))
        if rng.random() < 0.3:
            at = rng.randrange(len(data))
            data = data[:at] + rng.randbytes(rng.randrange(20)) + data[at + rng.randrange(20) :]
        pieces = []
        while sum(map(len, pieces)) < len(data):
            at = sum(map(len, pieces))
            pieces.append(data[at : at + rng.choice((1, 2, 7, 100, 70_000))])
            if len(pieces) > 2000:
                pieces.append(data[sum(map(len, pieces)) :])
        assert read(pieces)[0] == alone(data)


def test_messages_as_they_go_out() -> None:
    """As wsproto frames them."""
    proto = FrameProtocol(client=False, extensions=[])
    for n in (0, 1, 125, 126, 65535, 65536, 100_000):
        for message in ("a" * n, b"b" * n):
            assert framed(message) == bytes(proto.send_data(message, True))
    assert framed("ä") == b"\x81\x02\xc3\xa4"
