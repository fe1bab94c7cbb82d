"""A web application, one of whose views blocks.  It stalls nobody.

gort serve webapp:app --app-dir examples
time (for i in $(seq 100); do curl -s localhost:8000/slow & done; wait)     # 100 views that sleep: one second
time curl -s localhost:8000/                                                # meanwhile: a few milliseconds
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A WSGI application."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1)  # or requests, or a database driver: whatever blocks its thread
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done\n"]
