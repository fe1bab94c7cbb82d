"""A request as the client sends it: its URL, its headers, its body; and the headers of a response.

What does not live here: connections (client_pool.py), what follows a response (client.py).
"""

from __future__ import annotations

import base64
import json as _json
import re
from _collections_abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from gort._runtime.sched.blocking import blocking
from gort.version import __version__

PIECE = 1 << 16  # bytes of a file that are sent at a time
USER_AGENT = f"gort/{__version__}"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(r"[!$&'()*+,;=\-.0-9A-Z_a-z~%]+|\[[0-9A-Fa-f:.]+(%25[!-~]+)?\]")
_VALUE = re.compile(r"[^\0\r\n]*")
_KEEP = "!$%&'()*+,-./0123456789:;=?@_~[]"  # what quote() leaves as it is in a target; % begins an escape already


Head = tuple[int, bytes, list[tuple[bytes, bytes]], str]  # of a response: status, reason, headers, version

Body = bytes | bytearray | memoryview | str | Iterable[bytes] | AsyncIterable[bytes] | None  # of a request


class Origin(NamedTuple):
    """Where a request goes: connections are shared by requests of one origin."""

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """As gort.net.dial takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """As the header Host has it: without the port that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> tuple[Origin, str, str]:
    """(origin, target, user information) of an absolute URL.  Raises ValueError for what is none.

    Characters that no request may have are quoted in the target; the fragment is left out."""
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {type(url).__name__}")
    if re.search(r"[\0-\x20\x7f]", url.strip()):
        raise ValueError(f"this URL has a space or a control character in it: {url!r}")
    parts = urlsplit(url.strip())
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise ValueError(f"a URL begins with http:// or https://: {url!r}")
    user, _, place = parts.netloc.rpartition("@")
    host, port = parts.hostname or "", parts.port
    if not host:
        raise ValueError(f"this URL has no host: {url!r}")
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError as e:
            raise ValueError(f"this host is no name: {host!r} ({e})") from None
    if not _HOST.fullmatch(f"[{host}]" if place.startswith("[") else host):
        raise ValueError(f"this host is no name: {host!r}")
    if port is None:
        port = 443 if scheme == "https" else 80
    target = quote(parts.path or "/", safe=_KEEP)
    if parts.query:
        target += "?" + quote(parts.query, safe=_KEEP)
    return Origin(scheme, host, port), target, user


class Headers(Mapping[str, str]):
    """Headers, in the order in which they came: a mapping in which case does not matter.

    headers["set-cookie"] gives the values of all headers of that name, with ", " between them; get_all(name) gives them
    one by one, and pairs() all of them as they came."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = list(pairs)

    def __getitem__(self, name: str) -> str:
        found = self.get_all(name)
        if not found:
            raise KeyError(name)
        return ", ".join(found)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._pairs})

    def __repr__(self) -> str:
        return f"<gort.http.Headers {self._pairs!r}>"

    def get_all(self, name: str) -> list[str]:
        """The values of all headers of this name."""
        name = name.lower()
        return [value for key, value in self._pairs if key.lower() == name]

    def pairs(self) -> list[tuple[str, str]]:
        """All of them: (name, value)."""
        return list(self._pairs)


def checked_headers(headers: Any) -> list[tuple[str, str]]:
    """A user's headers (a mapping, or pairs) as pairs.  Raises ValueError for one that cannot be sent."""
    if headers is None:
        return []
    if isinstance(headers, Headers):
        given: Iterable[Any] = headers.pairs()
    else:
        given = headers.items() if isinstance(headers, Mapping) else headers
    pairs = []
    for name, value in given:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"a header's name and value are str: {name!r}: {value!r}")
        value = value.strip(" \t")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"this is no header's name: {name!r}")
        if not _VALUE.fullmatch(value) or any(ord(c) > 255 for c in value):
            raise ValueError(f"the header {name} cannot have this value: {value!r}")
        if name.lower() in ("transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"):
            raise ValueError(f"the header {name} belongs to the connection, which is the client's")
        pairs.append((name, value))
    return pairs


class Request:
    """A request that can be sent.  body: bytes, None, or an iterable of bytes, async or not.

    length: of the body, None where nobody knows it.  replayable: it can be sent a second time."""

    def __init__(self, method: Any, url: str, headers: Any, body: Any, json: Any) -> None:
        if not isinstance(method, str) or not _TOKEN.fullmatch(method):
            raise ValueError(f"this is no method: {method!r}")
        self.method: str = method.upper()
        if self.method == "CONNECT":
            raise ValueError("CONNECT is for proxies, which this client does not know")
        self.url = url
        self.origin: Origin
        self.target: str  # path and query
        self.origin, self.target, user = parse_url(url)
        self.headers: list[tuple[str, str]] = checked_headers(headers)
        if json is not None:
            if body is not None:
                raise ValueError("a request has a body or json, not both")
            body = _json.dumps(json, separators=(",", ":"), ensure_ascii=False).encode()
            self._default("Content-Type", "application/json")
        self.body: bytes | Iterable[bytes] | AsyncIterable[bytes] | None = _checked_body(body)
        self.length: int | None = self._length()
        if user:
            name, _, password = user.partition(":")
            pair = f"{unquote(name)}:{unquote(password)}".encode()
            self._default("Authorization", "Basic " + base64.b64encode(pair).decode())

    def _default(self, name: str, value: str) -> None:
        if not self.has(name):
            self.headers.append((name, value))

    def has(self, name: str) -> bool:
        """Whether it has a header of this name."""
        return any(key.lower() == name.lower() for key, _ in self.headers)

    def _length(self) -> int | None:
        given = [value for name, value in self.headers if name.lower() == "content-length"]
        if len(given) > 1 or not all(value.isascii() and value.isdigit() for value in given):
            raise ValueError(f"a Content-Length is one number: {', '.join(given)}")
        if self.body is None or isinstance(self.body, bytes):
            length = len(self.body or b"")
            if given and int(given[0]) != length:
                raise ValueError(f"the body has {length} bytes, not {given[0]}")
            return length
        return int(given[0]) if given else None

    @property
    def replayable(self) -> bool:
        """Whether it can be sent twice: its body is bytes."""
        return self.body is None or isinstance(self.body, bytes)

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent twice, as Go has it: the method says so, or an Idempotency-Key."""
        return self.method in ("GET", "HEAD", "OPTIONS", "TRACE") or self.has("Idempotency-Key")

    def fields(self) -> list[tuple[str, str]]:
        """The headers to send, those that every request has first."""
        first = [] if self.has("Host") else [("Host", self.origin.authority)]
        if not self.has("User-Agent"):
            first.append(("User-Agent", USER_AGENT))
        if not self.has("Accept"):
            first.append(("Accept", "*/*"))
        rest = [pair for pair in self.headers if pair[0].lower() != "content-length"]
        if self.length or (self.body is not None and self.length == 0) or self.method in ("POST", "PUT", "PATCH"):
            if self.length is not None:
                rest.append(("Content-Length", str(self.length)))
        return first + rest

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, part by part.  Raises ValueError where it has not the length that its header says."""
        left = self.length
        body: Any = self.body
        if body is None or isinstance(body, bytes):
            if body:
                yield body
            return
        async for part in body if hasattr(body, "__aiter__") else _async(body):
            data = bytes(part)
            if left is not None:
                left -= len(data)
                if left < 0:
                    break
            if data:
                yield data
        if left:
            raise ValueError(f"the body is not of the {self.length} bytes that Content-Length says")


async def _async(body: Any) -> AsyncIterator[bytes]:
    """An iterable, or a file: that is read in pieces, off the scheduler."""
    if not hasattr(body, "read"):
        for part in body:
            yield part
        return
    while data := await blocking(body.read, PIECE):
        yield data


def _checked_body(body: Any) -> Any:
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    if isinstance(body, Mapping):
        raise TypeError("a body is bytes, str or an iterable of bytes; json=… sends a dict as JSON")
    if hasattr(body, "__aiter__") or hasattr(body, "__iter__"):
        return body
    raise TypeError(f"a body is bytes, str or an iterable of bytes, not {type(body).__name__}")
