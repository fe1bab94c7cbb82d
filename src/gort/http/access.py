"""The access log: a line for each request, in the common format of web servers or as JSON.

Lines are collected, and written together by a goroutine of their own after FLUSH_S, or at the end: a disk or a terminal
that is slow holds up no request.

What does not live here: where the server calls it (server.py).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from gort._runtime.sched.blocking import blocking
from gort._runtime.sched.newproc import go
from gort._runtime.sched.timers import sleep

if TYPE_CHECKING:
    from gort.http.exchange import Exchange

FLUSH_S = 0.1
MOST = 10000  # lines that wait; what comes beyond is counted and left out


class AccessLog:
    """Called for each request: `log(exchange, seconds)`.  form: "common" or "json".  file: where lines go; standard
    output when None.  Raises ValueError for another form."""

    def __init__(self, form: str = "common", file: TextIO | None = None) -> None:
        if form not in ("common", "json"):
            raise ValueError(f"access log: {form!r} is neither common nor json")
        self._line = _common if form == "common" else _json
        self._file = file
        self._mu = threading.Lock()  # guards the three below
        self._lines: list[str] = []
        self._left_out = 0
        self._busy = False  # a goroutine will write the lines

    def __call__(self, exchange: Exchange, seconds: float) -> None:
        """Notes a request that has been answered."""
        line = self._line(exchange, seconds)
        with self._mu:
            if len(self._lines) >= MOST:
                self._left_out += 1
                return
            self._lines.append(line)
            if self._busy:
                return
            self._busy = True
        go(self._write_later)

    async def _write_later(self) -> None:
        await sleep(FLUSH_S)
        with self._mu:
            self._busy = False  # before the lines are taken: who comes now starts another
        await blocking(self.flush)

    def flush(self) -> None:
        """Writes what was collected."""
        with self._mu:
            lines, self._lines = self._lines, []
            left_out, self._left_out = self._left_out, 0
        if left_out:
            lines.append(f"({left_out} requests were left out here: the log is too slow)\n")
        file = self._file or sys.stdout
        try:
            file.write("".join(lines))
            file.flush()
        except (OSError, ValueError):
            pass  # there is nobody to tell


def _plain(data: bytes) -> str:
    """What a client has sent, so that it cannot end the line or the quotes."""
    text = data.decode("latin-1")
    if text.isprintable() and '"' not in text and "\\" not in text and text.isascii():
        return text
    return "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\x{ord(c):02x}" for c in text)


def _header(exchange: Exchange, name: bytes) -> bytes:
    return next((value for key, value in exchange.headers if key == name), b"-")


def _common(exchange: Exchange, seconds: float) -> str:
    """The combined format of Apache and nginx, with the time in seconds behind it."""
    client = exchange.client[0] if exchange.client is not None else "-"
    now = time.strftime("%d/%b/%Y:%H:%M:%S %z")
    what = f"{exchange.method} {_plain(exchange.target)} HTTP/{exchange.version}"
    referer, agent = _plain(_header(exchange, b"referer")), _plain(_header(exchange, b"user-agent"))
    return f'{client} - - [{now}] "{what}" {exchange.status} {exchange.sent} "{referer}" "{agent}" {seconds:.4f}\n'


def _json(exchange: Exchange, seconds: float) -> str:
    record: dict[str, Any] = {
        "time": time.time(),
        "client": exchange.client[0] if exchange.client is not None else None,
        "method": exchange.method,
        "target": exchange.target.decode("latin-1"),
        "version": exchange.version,
        "status": exchange.status,
        "bytes": exchange.sent,
        "seconds": round(seconds, 6),
        "referer": _header(exchange, b"referer").decode("latin-1"),
        "agent": _header(exchange, b"user-agent").decode("latin-1"),
    }
    return json.dumps(record) + "\n"
