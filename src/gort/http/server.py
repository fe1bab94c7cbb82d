"""The server: listeners, connections, the graceful end.

What does not live here: a connection's protocol (h1.py), the interfaces of applications (wsgi.py, asgi.py).
"""

from __future__ import annotations

from typing import Any

from gort.http.config import Limits


class Server:
    """A server of one application."""

    def __init__(self, app: Any, limits: Limits | None = None) -> None:
        self.app = app
        self.limits = limits or Limits()


async def serve(app: Any, limits: Limits | None = None) -> None:
    """Serves an application until the goroutine is cancelled."""
    raise NotImplementedError
