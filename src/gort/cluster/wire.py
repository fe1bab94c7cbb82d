"""What goes over a connection between two processes of a cluster: the handshake, frames, sealed values.

- **Handshake.** Both ends prove that they know the cluster's secret, by an HMAC over two random numbers.  Until the peer
  has proved it, nothing is read but three messages of fixed length, and nothing is unpickled.
- **Frames.** A frame is a batch of messages in one pickle.  Large values lie behind it, so that they are not copied into
  it.  A message holds only plain data and sealed values: reading a frame runs no code of the user's.
- **Sealed values.** A value is pickled when it is sent, by the goroutine that sends it, so that what happens to it later
  is not seen; and unpickled by the goroutine that receives it.  So a pickle that fails, fails that goroutine, and neither
  the connection nor a process on the way, which may lack the class.

What does not live here: who writes and reads (link.py), what the messages mean (peer.py, home.py, proxy.py).
"""

from __future__ import annotations

import hmac
import importlib
import io
import pickle
import secrets
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _collections_abc import Callable

    from gort.net import Conn

__all__ = ["Refused", "Sealed", "accept", "encode", "frames", "prove", "seal", "size", "unseal"]

MAGIC = b"gortcl02"
NONCE = 32
PROOF = 32
HEAD = struct.Struct("<QI")  # bytes of the pickle, number of large values behind it
LARGE = 1 << 16  # from this size on a pickled value lies behind the frame's pickle
READ_SIZE = 1 << 16


class Refused(ConnectionError):
    """The peer does not know the cluster's secret, or speaks another protocol."""


# ---- the handshake ----------------------------------------------------------------------------------------------------


def _proof(secret: bytes, role: bytes, theirs: bytes, ours: bytes) -> bytes:
    return hmac.digest(secret, role + theirs + ours, "sha256")


async def prove(conn: Conn, secret: bytes) -> None:
    """The handshake of the side that has dialled.  Raises Refused, EOFError, OSError."""
    mine = secrets.token_bytes(NONCE)
    await conn.write(MAGIC + mine)
    answer = await conn.read_exactly(NONCE + PROOF)
    theirs, proof = answer[:NONCE], answer[NONCE:]
    if not hmac.compare_digest(proof, _proof(secret, b"accepts", mine, theirs)):
        raise Refused("the peer has not proved that it belongs to this cluster")
    await conn.write(_proof(secret, b"dials", mine, theirs))


async def accept(conn: Conn, secret: bytes) -> None:
    """The handshake of the side that was dialled.  Raises Refused, EOFError, OSError."""
    hello = await conn.read_exactly(len(MAGIC) + NONCE)
    if hello[: len(MAGIC)] != MAGIC:
        raise Refused("the peer speaks another protocol")
    theirs, mine = hello[len(MAGIC) :], secrets.token_bytes(NONCE)
    await conn.write(mine + _proof(secret, b"accepts", theirs, mine))
    proof = await conn.read_exactly(PROOF)
    if not hmac.compare_digest(proof, _proof(secret, b"dials", theirs, mine)):
        raise Refused("the peer has not proved that it belongs to this cluster")


# ---- frames -----------------------------------------------------------------------------------------------------------


def encode(batch: list[Any]) -> list[Any]:
    """A frame as buffers for writev."""
    behind: list[Any] = []
    file = io.BytesIO()
    pickle.Pickler(file, 5, buffer_callback=lambda b: behind.append(b.raw())).dump(batch)
    body = file.getbuffer()
    return [head(body, behind), body, *behind]


def head(body: Any, behind: list[Any]) -> bytes:
    """What a frame begins with."""
    sizes = struct.pack(f"<{len(behind)}Q", *[len(b) for b in behind])
    return HEAD.pack(len(body), len(behind)) + sizes


class frames:
    """`async for batch in frames(conn, heard)`: the batches that come in, until the connection ends.  Calls heard()
    whenever bytes have come: a long frame is a sign of life too."""

    def __init__(self, conn: Conn, heard: Callable[[], None]) -> None:
        self._conn = conn
        self._heard = heard
        self._data = b""
        self._at = 0

    def __aiter__(self) -> frames:
        return self

    async def __anext__(self) -> list[Any]:
        if self._at == len(self._data) and not await self._more():
            raise StopAsyncIteration
        size, n = HEAD.unpack(await self._take(HEAD.size))
        if not n:
            return pickle.loads(await self._take(size))  # type: ignore[no-any-return]
        sizes = struct.unpack(f"<{n}Q", await self._take(8 * n))
        body = await self._take(size)
        behind = [await self._take(s) for s in sizes]
        return pickle.loads(body, buffers=behind)  # type: ignore[no-any-return]

    async def _more(self) -> bool:
        data = await self._conn.read(READ_SIZE)
        if not data:
            return False
        self._heard()
        self._data, self._at = data, 0
        return True

    async def _take(self, n: int) -> Any:
        """The next n bytes.  EOFError if the connection ends before."""
        end = self._at + n
        if end <= len(self._data):
            part = self._data[self._at : end]
            self._at = end
            return part
        whole = bytearray(n)
        view = memoryview(whole)
        got = len(self._data) - self._at
        view[:got] = memoryview(self._data)[self._at :]
        self._data, self._at = b"", 0
        while got < n:
            if n - got >= READ_SIZE:
                read = await self._conn.readinto(view[got:])
                if not read:
                    raise EOFError("the connection ended in the middle of a message")
                self._heard()
                got += read
            else:
                if not await self._more():
                    raise EOFError("the connection ended in the middle of a message")
                piece = min(n - got, len(self._data))
                view[got : got + piece] = memoryview(self._data)[:piece]
                self._at = piece
                got += piece
        return whole


# ---- values -----------------------------------------------------------------------------------------------------------

NUMBERS = frozenset((int, float, bool, type(None), complex))
PLAIN = NUMBERS | {str}
SMALL = 1 << 10  # letters of a text that goes as it is
PARTS = 8  # of a tuple that does
_by_value: Any = None  # the module cloudpickle, or the one that an engine brings


def use(name: str) -> None:
    """Names the module that pickles what plain pickle cannot: functions of __main__, closures.  An engine may bring one
    (ray.cloudpickle).  Raises ImportError with the extra's name if it is not installed."""
    global _by_value
    try:
        _by_value = importlib.import_module(name)
    except ImportError as e:
        raise ImportError(f"gort.cluster needs {name.partition('.')[0]}: pip install 'gort[cluster]'") from e


class Sealed:
    """A large pickled value, which whoever receives it opens."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data: Any = data

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (pickle.PickleBuffer(self.data),)


def seal(value: Any) -> Any:
    """The value as it is now, ready for the wire.  Runs code of the user's, and raises what that raises, or
    pickle.PicklingError, or TypeError for what cannot be pickled.

    What cannot change, and is small, goes as it is, and is pickled with the frame, which is far cheaper.  All else is
    pickled now.  Bytes on the wire are always such a pickle, and Sealed if they are large.  Plain pickle is ten times as
    fast as cloudpickle, so it comes first; its pickle is not used if it names __main__, which is another module in
    another process."""
    kind = type(value)
    if kind in NUMBERS:
        return value
    if kind is str:
        if len(value) <= SMALL:
            return value
    elif kind is tuple and _plain(value):
        return value
    if not _by_value.list_registry_pickle_by_value():
        try:
            data = pickle.dumps(value, 5)
        except (pickle.PicklingError, AttributeError, TypeError):
            data = b"__main__"
        if b"__main__" not in data:
            return data if len(data) < LARGE else Sealed(data)
    data = _by_value.dumps(value, 5)
    return data if len(data) < LARGE else Sealed(data)


def _plain(parts: tuple[Any, ...]) -> bool:
    """Whether all parts are plain, and small.  (For a dict, of which there would be a copy, this takes longer than to
    pickle it.)"""
    if len(parts) > PARTS:
        return False
    if NUMBERS.issuperset(map(type, parts)):
        return True
    return PLAIN.issuperset(map(type, parts)) and not any(type(x) is str and len(x) > SMALL for x in parts)


def seal_apart(value: Any) -> tuple[bytes, list[memoryview]]:
    """The value's pickle, and beside it the big buffers in it, which are not copied.  Raises as seal."""
    buffers: list[memoryview] = []
    data = _by_value.dumps(value, 5, lambda b: buffers.append(b.raw()))
    return data, buffers


def unseal(value: Any) -> Any:
    """The value.  Runs code of the user's, and raises what that raises."""
    kind = type(value)
    if kind is bytes:
        return pickle.loads(value)
    return pickle.loads(value.data) if kind is Sealed else value


def size(sealed: Any) -> int:
    """About how many bytes it takes on the wire."""
    kind = type(sealed)
    return len(sealed) if kind is bytes else len(sealed.data) if kind is Sealed else 32
