"""Done: who is told that a goroutine has ended (G.done).

The scheduler calls it on g0, after it has given the goroutine's G back: so it names the goroutine by its number.  What a
goroutine's end means does not live here: for a group see gort/group.py, for a wait group gort/sync.py, for the program
boot/main.py, for a thread in gort.wait boot/wait.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Done:
    """Base of all that newproc takes as `done`.  No lock is held when it is called, and it must not block."""

    # True: an exception that nobody catches in the goroutine ends the program before this is told.
    panics = False

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Goroutine goid has returned value, or ended with exc."""
        raise NotImplementedError

    def abandoned(self, goid: int) -> None:
        """The program has ended and has closed goroutine goid; finished will not be called."""
