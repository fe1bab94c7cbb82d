"""The channel that a context's done() gives: receive-only, as Go's `<-chan struct{}`, so that only the context closes it.

A channel is receive-only when it has something in the place of a timer: the core then refuses to send to it and to close
it.  What does not live here: contexts (context.py), channels (_runtime/wait/chan.py).
"""

from __future__ import annotations

from gort._runtime.wait.chan import Chan, close_chan

__all__ = ["close_chan", "new_done"]


class Owner:
    """Stands in the place of the timer, and never fires."""

    owner = "the channel of a context: it is receive-only; the function that with_cancel gives cancels the context"
    due = 0

    def look(self) -> None:
        """Nothing is ever due."""

    block = unblock = look


_owner = Owner()


def new_done() -> Chan[None]:
    """Makes an open one; close_chan(ch) closes it."""
    done: Chan[None] = Chan()
    done.timer = _owner
    return done
