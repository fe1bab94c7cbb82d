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
import pickle
import secrets
import struct
import sys
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _collections_abc import Callable

    from gort.net import Conn

__all__ = [
    "Opened",
    "Refused",
    "Sealed",
    "accept",
    "encode",
    "here",
    "plain",
    "prove",
    "rest",
    "seal",
    "seal_call",
    "size",
    "unseal",
    "unseal_call",
    "whole",
]

MAGIC = b"gortcl03"
NONCE = 32
PROOF = 32
HEAD = struct.Struct("<QI")  # bytes of the pickle, number of large values behind it
LARGE = 1 << 16  # from this size on a pickled value lies behind the frame's pickle
HEAD_SIZE = HEAD.size
SMALL_FRAME = 1 << 12  # up to this size one copy is cheaper than a write of two buffers
READ_SIZE = 1 << 16
CO_COROUTINE = 0x80  # inspect's
CUT = "the connection ended in the middle of a message"


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


def encode(batch: list[Any]) -> bytes | list[Any]:
    """A frame: a small one as bytes, a large one as buffers to be written one after the other."""
    behind: list[Any] = []
    body = pickle.dumps(batch, 5, buffer_callback=behind.append)
    if behind:
        behind = [b.raw() for b in behind]
    elif len(body) < SMALL_FRAME:
        return HEAD.pack(len(body), 0) + body
    return [head(body, behind), body, *behind]


def head(body: Any, behind: list[Any]) -> bytes:
    """What a frame begins with."""
    sizes = struct.pack(f"<{len(behind)}Q", *[len(b) for b in behind])
    return HEAD.pack(len(body), len(behind)) + sizes


def whole(data: bytes, at: int) -> tuple[list[Any] | None, int]:
    """The batch of the frame that begins at data[at], and where it ends.  (None, at) for a frame that is not all there,
    or behind which large values lie: `rest` reads it.  All but few frames are whole, so this is a plain function."""
    start = at + HEAD_SIZE
    if start > len(data):
        return None, at
    size, n = HEAD.unpack_from(data, at)
    end = start + size
    if n or end > len(data):
        return None, at
    return pickle.loads(memoryview(data)[start:end]), end


async def rest(conn: Conn, data: bytes, at: int, heard: Callable[[], None]) -> tuple[list[Any], bytes, int]:
    """The batch of a frame that begins at data[at] and goes on in what the connection brings; and, as (data, at), what
    has been read behind it.  Calls heard() whenever bytes have come: a long frame is a sign of life too.  EOFError if
    the connection ends in the middle."""
    parts = _Parts(conn, data, at, heard)
    size, n = HEAD.unpack(await parts.take(HEAD_SIZE))
    sizes = struct.unpack(f"<{n}Q", await parts.take(8 * n))
    body = await parts.take(size)
    behind = [await parts.take(s) for s in sizes]
    return pickle.loads(body, buffers=behind), parts.data, parts.at


class _Parts:
    """What comes over a connection, in pieces of given sizes."""

    def __init__(self, conn: Conn, data: bytes, at: int, heard: Callable[[], None]) -> None:
        self._conn = conn
        self._heard = heard
        self.data = data
        self.at = at  # what lies before it has been taken

    async def take(self, n: int) -> Any:
        """The next n bytes.  EOFError if the connection ends before."""
        end = self.at + n
        if end <= len(self.data):
            part = self.data[self.at : end]
            self.at = end
            return part
        whole = bytearray(n)
        view = memoryview(whole)
        got = len(self.data) - self.at
        view[:got] = memoryview(self.data)[self.at :]
        self.data, self.at = b"", 0
        while got < n:
            if n - got >= READ_SIZE:
                read = await self._conn.readinto(view[got:])
                if not read:
                    raise EOFError(CUT)
                self._heard()
                got += read
            else:
                self.data = await self._conn.read(READ_SIZE)
                if not self.data:
                    raise EOFError(CUT)
                self._heard()
                self.at = min(n - got, len(self.data))
                view[got : got + self.at] = memoryview(self.data)[: self.at]
                got += self.at
        return whole


# ---- values -----------------------------------------------------------------------------------------------------------

SMALL = 1 << 10  # letters of a text that goes as it is
PARTS = 8  # of a tuple that does
PLAIN = 32  # about how many bytes such a value takes on the wire
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


class Opened:
    """What has become of a pickled value that was opened and then put back, for the next who receives it in this process.
    It never travels."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any, error: Exception | None = None) -> None:
        self.value: Any = value
        self.error: Exception | None = error

    def result(self) -> Any:
        """The value.  Raises what opening it has raised."""
        if self.error is not None:
            raise self.error
        return self.value


def seal(value: Any) -> Any:
    """The value as it is now, ready for the wire.  Runs code of the user's, and raises what that raises, or
    pickle.PicklingError, or TypeError for what cannot be pickled.

    What cannot change, and is small, goes as it is, and is pickled with the frame, which is far cheaper.  All else is
    pickled now.  Bytes on the wire are always such a pickle, and Sealed if they are large.  Plain pickle is ten times as
    fast as cloudpickle, so it comes first; its pickle is not used if it names __main__, which is another module in
    another process."""
    if plain(value):
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


def plain(value: Any) -> bool:
    """Whether seal gives the value itself.  Runs no code of the user's: types are compared by identity, since a
    metaclass may have an __eq__ and a __hash__ of its own."""
    kind = type(value)
    if kind is int or kind is float or kind is bool or value is None:
        return True
    if kind is str:
        return len(value) <= SMALL
    return kind is complex or (kind is tuple and _plain(value))


def _plain(parts: tuple[Any, ...]) -> bool:
    """Whether all parts are plain, and small.  (For a dict, of which there would be a copy, this takes longer than to
    pickle it.)"""
    if len(parts) > PARTS:
        return False
    for part in parts:
        kind = type(part)
        if kind is str:
            if len(part) > SMALL:
                return False
        elif not (kind is int or kind is float or kind is bool or part is None or kind is complex):
            return False
    return True


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
    if kind is Sealed:
        return pickle.loads(value.data)
    return value.result() if kind is Opened else value


def seal_call(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: dict[str, Any]) -> Any:
    """What a goroutine is to run, as it is now, ready for the wire; raises as seal.

    A function of a module with small arguments that cannot change, which is what most are, goes as (module, name, args),
    and is pickled with the frame.  What plain pickle would refuse, or what is to go by value, goes as any other value."""
    if type(fn) is FunctionType and not kwargs and not context and _plain(args):
        module, name = fn.__module__, fn.__qualname__
        if (
            getattr(sys.modules.get(module), name, None) is fn
            and module != "__main__"
            and not _by_value.list_registry_pickle_by_value()
        ):
            return module, name, args
    return seal((fn, args, kwargs, context))


def here(sealed: Any) -> Any:
    """The function of seal_call's (module, name, args), if it is an async function and its module is here; else None.
    Runs no code of the user's."""
    if type(sealed) is not tuple:
        return None
    module = sys.modules.get(sealed[0])
    if type(module) is not ModuleType:
        return None
    names = module.__dict__
    spec = names.get("__spec__")
    if type(spec) is not ModuleSpec or getattr(spec, "_initializing", False):
        return None  # another goroutine imports it now: the function may be there, and not what it needs
    fn = names.get(sealed[1])
    return fn if type(fn) is FunctionType and fn.__code__.co_flags & CO_COROUTINE else None


def unseal_call(sealed: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """(function, args, kwargs, context).  Imports the function's module; runs code of the user's, and raises what that
    raises."""
    if type(sealed) is tuple:
        module, name, args = sealed
        return getattr(importlib.import_module(module), name), args, {}, {}
    return unseal(sealed)  # type: ignore[no-any-return]


def size(sealed: Any) -> int:
    """About how many bytes it takes on the wire."""
    kind = type(sealed)
    return len(sealed) if kind is bytes else len(sealed.data) if kind is Sealed else PLAIN
