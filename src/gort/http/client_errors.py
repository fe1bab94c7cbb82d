"""What the client raises, and how long it waits.

    RequestError (an OSError)     the request has failed: no connection, the connection broke, the answer was cut off
      RequestTimeout              a phase took too long (a TimeoutError too); `phase` says which
      ProtocolError               the answer is no HTTP
      TooManyRedirects            the redirects do not end
      StatusError                 Response.check(): the status is an error; `response` is the response

`__cause__` is what was beneath: ConnectionRefusedError, ssl.SSLCertVerificationError, socket.gaierror, ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a client waits, in seconds; None is without a limit.

    pool_s: for a connection to be free.  connect_s: to connect, with the handshake of TLS.  write_s: for the server to
    take a part of the request.  read_s: for the next bytes of the response, once the request is sent.  A limit for the
    whole request is `async with gort.timeout(…)` around it, or a context (ctx=…)."""

    pool_s: float | None = 30.0
    connect_s: float | None = 10.0
    write_s: float | None = 30.0
    read_s: float | None = 30.0


class RequestError(OSError):
    """A request has failed.  method, url: of which."""

    def __init__(self, message: str, method: str = "", url: str = "") -> None:
        super().__init__(message)
        self.method = method
        self.url = url

    def __reduce__(self) -> tuple[object, ...]:
        kept = {name: value for name, value in vars(self).items() if name != "response"}  # also notes
        return type(self), (str(self), self.method, self.url), kept


class RequestTimeout(RequestError, TimeoutError):
    """A phase took longer than its limit in Timeouts.  phase: "pool", "connect", "write" or "read"."""

    def __init__(self, message: str, method: str = "", url: str = "", phase: str = "read") -> None:
        super().__init__(message, method, url)
        self.phase = phase

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.method, self.url, self.phase), vars(self)


class ProtocolError(RequestError):
    """What the server sent is no HTTP, or more than the client's limits allow."""


class TooManyRedirects(RequestError):
    """There were more redirects than allowed."""


class StatusError(RequestError):
    """The response's status is 400 or more.  response: it; None in a copy from another process."""

    def __init__(self, message: str, method: str = "", url: str = "", response: Any = None) -> None:
        super().__init__(message, method, url)
        self.response = response


class PhaseTimeout(Exception):
    """Inside the client: a limit of Timeouts has passed in this phase.  The client makes a RequestTimeout of it, with
    the request's name."""

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(f"nothing for {seconds:g} s ({phase})")
        self.phase = phase


class Malformed(Exception):
    """Inside the client: what the server sent is no HTTP.  The client makes a ProtocolError of it."""


class Unanswered(ConnectionError):
    """Inside the client: the connection ended before the first byte of a response.  On a connection that was used before
    this means that the server had closed it meanwhile, so the request may be sent again on another one."""
