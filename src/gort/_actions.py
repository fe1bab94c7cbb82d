"""Runs the changes of an object's state one at a time, although a finalizer or a signal handler may begin one in the
middle of another.

group.py makes every change of a group this way, scope.py the changes of a deadline.
"""

from __future__ import annotations

import threading
from _collections_abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any
else:
    from _collections import deque  # as threading has it: collections itself is a millisecond

__all__ = ["Actions"]


class Actions:
    """Runs actions one at a time.  One that is begun in the middle of another, on its thread, is put off until that is
    over.  An action must not wait, and must not call anything of the user's."""

    __slots__ = ("_busy", "_later", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._busy = False  # guarded by _lock; True only while an action runs
        self._later: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def run(self, action: Callable[..., None], *args: Any) -> None:
        """Runs action(*args), now or after the action that it interrupts."""
        with self._lock:
            if self._busy:
                self._later.append((action, args))
                return
            self._busy = True
            try:
                action(*args)
                while self._later:
                    action, args = self._later.popleft()
                    action(*args)
            finally:
                self._busy = False
        if self._later:  # put off after the last look above and before _busy was False
            self.run(_nothing)


def _nothing() -> None:
    pass
