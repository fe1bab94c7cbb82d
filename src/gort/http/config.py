"""What a server is told: its limits.  Every limit has a default that a public server can live with.

What does not live here: the options of the command (gort/cli/serve.py), what they mean to a connection (h1.py).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take of a server.  Times are seconds; None is without a limit.

    head_bytes: of a request's line and headers (431).  headers: how many of them (431).  body_bytes: of a request's body
    (413).  head_s: from a request's first byte to the end of its headers (408).  body_s: without a byte of the body
    (408).  idle_s: of a connection between two requests.  write_s: in which the client takes nothing of a response.
    rate: bytes a second, on average, that a client must send of a body, and take of a response, once the server has
    waited for body_s (write_s); None: any.  connections: open at a time; more wait until one ends.  handshakes: of TLS
    that are not whole at a time; for one more, the oldest are ended that have taken three seconds.  requests: served at
    a time; more get 503.
    message_bytes: of a websocket's message (1009).  ping_s: without a word from a websocket's client, after which it is
    asked; as much again, and the websocket ends."""

    head_bytes: int = 65536
    headers: int = 100
    body_bytes: int | None = None
    head_s: float | None = 20.0
    body_s: float | None = 30.0
    idle_s: float | None = 60.0
    write_s: float | None = 30.0
    rate: int | None = 240
    connections: int | None = None
    handshakes: int | None = 500
    requests: int | None = None
    message_bytes: int = 1 << 24
    ping_s: float | None = 20.0
