"""The fields of a response (headers and trailers) as an application gives them: what is checked before they go out.

A name is a token (RFC 9110, section 5.6.2).  A name with a space or a colon, or a value with a line end, would let what
an application has taken from one client become a header, or a response, for another.

What does not live here: a request's headers (incoming.py), which headers belong to a connection (h1.py, h2server.py).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.http.exchange import Headers

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CACHED = 1000  # names in `known`: their number may be in the hands of clients
# What a trailer would change after it has been acted upon (RFC 9110, section 6.5.1).
_NEVER_LATE = frozenset(
    (
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"host",
        b"keep-alive",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

known: dict[bytes, bytes] = {}  # a name as it was given -> in lower case; only names that were found good


def lowered(name: bytes) -> bytes:
    """The name in lower case.  Raises ValueError for one that is no token."""
    low = known.get(name)
    if low is not None:
        return low
    name = bytes(name)
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header")
    low = name.lower()
    if len(known) < _CACHED:
        known[name] = low
    return low


def checked(fields: Headers) -> Headers:
    """The fields, their names in lower case.  Raises ValueError for what cannot be sent."""
    good = []
    for name, value in fields:
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError(f"the field {name!r} has a line end in it")
        good.append((lowered(name), value))
    return good


def trailers(fields: Headers) -> Headers:
    """The same for trailers.  Raises ValueError also for those that are headers alone, such as Content-Length."""
    good = checked(fields)
    for name, _ in good:
        if name in _NEVER_LATE:
            raise ValueError(f"{name!r} cannot be a trailer")
    return good


def early(status: int) -> int:
    """The status of an answer before the response.  Raises ValueError for one that is none: 101 changes the protocol, and
    200 and more are responses."""
    if not 100 <= status < 200 or status == 101:
        raise ValueError(f"{status} is no status of an answer before the response")
    return status
