"""A network in the place of the system's: gort.testing's, which gort.net.dial and gort.net.listen ask for first.

A file of its own, because gort.testing must not import a module of gort.net, nor gort.net one of gort.testing.  What does
not live here: the network in memory (gort/testing/network.py).
"""

from __future__ import annotations

from _collections_abc import Callable
from typing import Any

# Returns the network in which the calling goroutine is, or None.  Set once, when the first network is made.
current: Callable[[], Any] | None = None


def found() -> Any:
    """The network in memory in which the calling goroutine is; None: the system's."""
    return None if current is None else current()
