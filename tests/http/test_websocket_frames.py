"""Frames of a websocket that a client should not send: each ends the websocket with the code of RFC 6455, and nothing is
said on standard error.  And what compression lets a client hide in a small frame."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from servekit import Ws, client, fetch, get, serving
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits
from wsproto.handshake import server_extensions_handshake

import gort
from gort.http import Limits
from gort.http.deflate import Deflate
from support import PATIENCE_S, dose

pytestmark = pytest.mark.once  # wsproto's and zlib's work, the same in both cores
DEFLATE = "permessage-deflate; client_max_window_bits"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says everything back."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True, size: int = -1
) -> bytes:
    """A frame.  size: what it says of its length, in eight bytes; -1: the truth."""
    n = len(data)
    bit = 128 if mask else 0
    if size >= 0:
        length = bytes([127 | bit]) + struct.pack("!Q", size)
    elif n < 126:
        length = bytes([n | bit])
    else:
        length = bytes([126 | bit]) + struct.pack("!H", n) if n < 65536 else bytes([127 | bit]) + struct.pack("!Q", n)
    return bytes([fin << 7 | rsv << 4 | opcode]) + length + (bytes(4) if mask else b"") + data


def deflated(data: bytes) -> bytes:
    """A message as a client compresses it."""
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (c.compress(data) + c.flush(zlib.Z_SYNC_FLUSH))[:-4]


WRONG = {
    "not masked": (frame(TEXT, b"x", mask=False), 1002),
    "a reserved opcode": (frame(3, b"x"), 1002),
    "a reserved control opcode": (frame(11), 1002),
    "a reserved bit": (frame(TEXT, b"x", rsv=2), 1002),
    "compressed, which was not agreed": (frame(TEXT, b"x", rsv=4), 1002),
    "a ping in parts": (frame(PING, fin=False), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a long close": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "a continuation of nothing": (frame(0, b"x"), 1002),
    "a message within another": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "text that is none": (frame(TEXT, b"\xff\xfe"), 1007),
    "text that ends within a letter": (frame(TEXT, b"\xc3"), 1007),
    "text that is none, in parts": (frame(TEXT, b"\xc3", fin=False) + frame(0, b"\x28"), 1007),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close with no code": (frame(CLOSE, struct.pack("!H", 999)), 1002),
    "a close with a code for nobody": (frame(CLOSE, struct.pack("!H", 1006)), 1002),
    "a close with a reserved code": (frame(CLOSE, struct.pack("!H", 1016)), 1002),
    "a close whose reason is no text": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "a length beyond 63 bits": (frame(BINARY, size=1 << 63), 1002),
    "a length that could be shorter": (frame(BINARY, b"x", size=1), 1002),
    "too large": (frame(BINARY, b"x" * 60_000, fin=False) + frame(0, b"x" * 60_000), 1009),
    "empty parts without end": (frame(BINARY, fin=False) + frame(0, fin=False) * 100_001, 1009),
}
COMPRESSED = {
    "no deflate": (frame(BINARY, b"\xff\xff\xff\xff", rsv=4), 1007),
    "a ping, compressed": (frame(PING, rsv=4), 1002),
    "a continuation that says it is compressed": (
        frame(BINARY, deflated(b"x"), rsv=4, fin=False) + frame(0, b"x", rsv=4),
        1002,
    ),
    "text that is none": (frame(TEXT, deflated(b"\xff"), rsv=4), 1007),
    "a bomb": (frame(BINARY, deflated(bytes(1 << 26)), rsv=4), 1009),
    "a bomb in parts": (
        frame(BINARY, deflated(bytes(1 << 26))[:30_000], rsv=4, fin=False)
        + frame(0, deflated(bytes(1 << 26))[30_000:], fin=True),
        1009,
    ),
}
CASES = [(k, False) for k in WRONG] + [(k, True) for k in COMPRESSED]


async def code_of(ws: Ws) -> int:
    """The code with which the server ends the websocket; -1: none."""
    code = -1
    try:
        while (event := await ws.next()) is not None:
            if isinstance(event, CloseConnection):
                code = int(event.code)
                break
        while await ws.conn.read():
            pass
    except OSError:
        pass
    return code


@pytest.mark.parametrize(("kind", "compress"), CASES)
def test_a_frame_that_is_wrong(kind: str, compress: bool, capfd: pytest.CaptureFixture[str]) -> None:
    data, code = (COMPRESSED if compress else WRONG)[kind]

    async def main() -> None:
        limits = Limits(message_bytes=100_000)
        async with serving(echo, loop="native", limits=limits) as server, client(server) as c:
            ws = Ws(c)
            await ws.open(extensions=[PerMessageDeflate()] if compress else [])
            async with gort.timeout(PATIENCE_S):
                try:
                    await c.conn.write(data)
                except OSError:
                    pass  # it has ended before
                assert await code_of(ws) == code

    gort.run(main)
    assert capfd.readouterr().err == ""


def test_a_bomb_takes_no_memory() -> None:
    """A frame of 64 KiB that would become 64 MiB: no more than the limit is inflated."""
    bomb = frame(BINARY, deflated(bytes(1 << 26)), rsv=4)

    async def main() -> int:
        limits = Limits(message_bytes=100_000)
        async with serving(echo, loop="native", limits=limits) as server, client(server) as c:
            ws = Ws(c)
            await ws.open(extensions=[PerMessageDeflate()])
            tracemalloc.start()
            try:
                await c.conn.write(bomb)
                assert await code_of(ws) == 1009
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert gort.run(main) < 4_000_000


def test_what_follows_the_last_block_is_not_kept() -> None:
    """A block says that it is the last one, and the frame goes on: zlib would keep all of what follows."""
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    final = c.compress(b"x") + c.flush(zlib.Z_FINISH)
    shut = Deflate(1 << 24)
    assert shut.accept("permessage-deflate") == ""
    proto: Any = None
    shut.frame_inbound_header(proto, Opcode.BINARY, RsvBits(True, False, False), 1 << 40)
    assert shut.frame_inbound_payload_data(proto, final) == b"x"
    assert shut.frame_inbound_payload_data(proto, b"\xff" * 65536) is CloseReason.INVALID_FRAME_PAYLOAD_DATA


def test_last_blocks_within_a_message() -> None:
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    final = c.compress(b"one, ") + c.flush(zlib.Z_FINISH)
    shut = Deflate(1 << 24)
    shut.accept("permessage-deflate")
    proto: Any = None
    for sent in (3 * final, 2 * final + deflated(b"one, ")):
        shut.frame_inbound_header(proto, Opcode.BINARY, RsvBits(True, False, False), len(sent))
        got = shut.frame_inbound_payload_data(proto, sent)
        rest = shut.frame_inbound_complete(proto, True)
        assert (got, rest or b"") == (b"one, one, one, ", b"")


@pytest.mark.parametrize("first", ["=10", "=9; server_max_window_bits=8"])
def test_one_offer_of_several_is_accepted(first: str) -> None:
    """The answer names the numbers that are used then."""
    shut = Deflate(1 << 24)
    answer = server_extensions_handshake([f"{DEFLATE}{first}", "permessage-deflate"], [shut])
    expected = b"; client_max_window_bits=10" if first == "=10" else b""
    assert answer == b"permessage-deflate" + expected
    assert shut.client_max_window_bits == (10 if first == "=10" else 15)


@pytest.mark.parametrize("takeover", [False, True])
def test_compressed_messages(takeover: bool) -> None:
    """In parts, with a ping between them, with an empty one, and after a block that says it is the last."""
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    final = last.compress(b"the last block") + last.flush(zlib.Z_FINISH) + b"\0"
    words = "many words, and again many words, " * 1000
    shut = deflated(words.encode())

    async def main() -> list[Any]:
        async with serving(echo, loop="native") as server, client(server) as c:
            ws = Ws(c)
            extension = PerMessageDeflate(client_no_context_takeover=not takeover)
            await ws.open(extensions=[extension])
            await c.conn.write(
                frame(TEXT, shut[:20], rsv=4, fin=False)
                + frame(PING, b"ping")
                + frame(0, b"", fin=False)
                + frame(0, shut[20:])
                + frame(BINARY, b"plain")
                + frame(TEXT, deflated(b""), rsv=4)
                + frame(BINARY, final, rsv=4)
                + frame(TEXT, deflated(b"after it"), rsv=4)
            )
            got: list[Any] = []
            part: Any = None
            while len(got) < 5:
                event = await ws.next()
                if isinstance(event, TextMessage | BytesMessage):
                    part = event.data if part is None else part + event.data
                    if event.message_finished:
                        got.append(part)
                        part = None
            return got

    assert gort.run(main) == [words, b"plain", "", b"the last block", "after it"]


@pytest.mark.parametrize(
    "offer", ["x", "permessage-deflate; client_max_window_bits=x", f"{DEFLATE}=8", f"{DEFLATE}=99"]
)
def test_an_offer_that_is_none_is_declined(offer: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with serving(echo, loop="native") as server, client(server) as c:
            head = get(
                "/",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                f"Sec-WebSocket-Extensions: {offer}",
            )
            await c.conn.write(head)
            said = await c.conn.read_until(b"\r\n\r\n")
            assert b" 101 " in said
            assert b"sec-websocket-extensions" not in said.lower()
            await c.conn.write(frame(TEXT, b"hello"))
            assert await c.conn.read_exactly(7) == b"\x81\x05hello"

    gort.run(main)
    assert capfd.readouterr().err == ""


def test_any_frames(capfd: pytest.CaptureFixture[str]) -> None:
    """Frames at random, changed at random: the websocket ends or not, others are served, and nothing is said."""
    rng = random.Random(7)

    def some() -> bytes:
        parts = [data for data, _ in (*WRONG.values(), *COMPRESSED.values()) if len(data) < 1000]
        parts += [frame(TEXT, b"fine"), frame(PING, b"x"), frame(PONG), frame(BINARY, deflated(b"y" * 50), rsv=4)]
        data = bytearray(b"".join(rng.choices(parts, k=rng.randrange(1, 6))))
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.randrange(1, len(data) + 1)])

    async def main() -> None:
        async with serving(echo, loop="native", linger_s=0.0) as server:
            for i in range(dose(100)):
                async with client(server) as c:
                    ws = Ws(c)
                    await ws.open(extensions=[PerMessageDeflate()] if i % 2 else [])
                    try:
                        await c.conn.write(some())
                        c.conn.close_write()
                        async with gort.timeout(PATIENCE_S):
                            while await c.conn.read():
                                pass
                    except ConnectionError:
                        pass
            assert (await fetch(server, get()))[0] == 500  # echo serves websockets alone

    gort.run(main)
    assert "Traceback" not in capfd.readouterr().err


def test_others_have_their_turn_between_many_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read brings thousands of them."""
    from gort.http import ws as module

    turns = 0

    async def counted(adapter: Any) -> None:
        nonlocal turns
        turns += 1
        await gort.gosched()

    async def main() -> None:
        async with serving(echo, loop="native") as server, client(server) as c:
            ws = Ws(c)
            await ws.open()
            await c.conn.write(frame(PING, b"?") * 160 + frame(CLOSE, b"\x03\xe8"))
            assert await code_of(ws) == 1000

    monkeypatch.setattr(module, "make_way", counted)
    gort.run(main)
    assert turns == 160 // module.TURN
