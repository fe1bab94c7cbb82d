"""What gort.cluster raises, and how an exception goes from one process to another.

A remote exception arrives as what it was.  Its cause is a RemoteTraceback, whose text is the traceback on the node that
raised it.  What cannot be pickled arrives as a RemoteError.  What does not live here: how values are pickled (wire.py).
"""

from __future__ import annotations

import traceback
from typing import Any

from gort._runtime.core.errors import Cancelled
from gort.cluster import wire

__all__ = ["ClusterError", "NodeDied", "RemoteError", "RemoteTraceback", "pack", "unpack"]


class ClusterError(Exception):
    """The base of the errors that gort.cluster itself raises."""


class NodeDied(ClusterError):
    """The node that ran a goroutine, or that holds a channel, is gone or silent.  `node` is its name."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(node, why)
        self.node: str = node

    def __str__(self) -> str:
        return f"node {self.args[0]} is gone: {self.args[1]}"


class RemoteError(ClusterError):
    """A remote goroutine raised what cannot be pickled, or not be unpickled here.  The text names it."""


class RemoteTraceback(Exception):
    """The cause of an exception that comes from another process: its text is the traceback there."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def pack(exc: BaseException, where: str) -> tuple[Any, ...]:
    """The exception as a tuple for the wire.  where: the node's name.  Runs code of the user's, and never raises."""
    if isinstance(exc, Cancelled):
        return ("cancelled",)
    try:
        text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__)).rstrip()
    except BaseException as e:
        text = f"(its traceback cannot be shown: {type(e).__name__})"
    kind = type(exc)
    try:
        name = f"{kind.__module__}.{kind.__qualname__}: {exc}"
    except BaseException:
        name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        sealed = wire.seal(exc)
        wire.unseal(sealed)  # some exceptions can be pickled and not unpickled
    except BaseException:
        sealed = None
    return ("raised", sealed, name, f"on node {where}:\n{text}")


def unpack(packed: tuple[Any, ...]) -> BaseException:
    """The exception that pack has made a tuple of."""
    if packed[0] == "cancelled":
        return Cancelled("the remote goroutine was cancelled")
    if packed[0] == "died":
        return NodeDied(packed[1], packed[2])
    _, sealed, name, text = packed
    exc: Any = None
    if sealed is not None:
        try:
            exc = wire.unseal(sealed)
        except Exception:
            exc = None
    if not isinstance(exc, BaseException):
        exc = RemoteError(name)
    raised: BaseException = exc
    raised.__cause__ = RemoteTraceback(text)
    return raised
