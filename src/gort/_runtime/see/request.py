"""A request to the live page: how it is read, and how it is refused.

What does not live here: who may ask (server.py).
"""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

HEAD_MAX = 16_384


class Refused(Exception):
    """The request is not answered.  args: the status, and why."""


class Request:
    """What a browser or a scraper has asked for."""

    def __init__(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise Refused(400, "not a request of HTTP")
        self.method, target, _ = parts
        self.headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                key = name.strip().lower()
                if key in self.headers and key in ("host", "origin", "authorization"):
                    raise Refused(400, f"two headers {key}")
                self.headers[key] = value.strip()
        try:
            split = urlsplit(target)
        except ValueError:
            raise Refused(400, "not a path") from None
        if split.netloc or not target.startswith("/"):
            raise Refused(400, "not a path")
        self.path = split.path
        self.query = {key: values[0] for key, values in parse_qs(split.query).items()}


def receive(c: socket.socket, patience: float) -> Request | None:
    """Reads a request, for `patience` seconds at most; None if the other side has gone before its end."""
    head = b""
    end = time.monotonic() + patience
    while b"\r\n\r\n" not in head:
        c.settimeout(max(0.001, end - time.monotonic()))  # who sends a byte now and then would keep others out
        part = c.recv(4096)
        if not part:
            return None
        head += part
        if len(head) > HEAD_MAX:
            raise Refused(400, "too long")
    return Request(head.partition(b"\r\n\r\n")[0])
