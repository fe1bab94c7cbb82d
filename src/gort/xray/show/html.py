"""One page that shows a boot: the stations on a timeline, g0's stack to scale, and the links between g0, m0, the Ps and
sched as they grow.

The page holds everything (data, style, script): it loads nothing, is opened from a file, and needs no server. A slider
moves through the events (a station begins or ends). Each event carries what changed, so the page can show the structures
at any moment.

Invariant: nothing out of the examined file becomes markup. The data is JSON in which `<`, `>` and `&` are escaped, and
the script writes text nodes only.
"""

from __future__ import annotations

import json
from pathlib import Path

from gort.xray.boot.follow import Report
from gort.xray.errors import XrayError
from gort.xray.layout.state import Snapshot
from gort.xray.show.page import PAGE
from gort.xray.show.report import syscall_text
from gort.xray.show.tojson import static_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_EVENTS = 4000
_MAX_SYSCALLS = 8
_MAX_OUTPUT = 2000
_ESCAPES = (
    ("&", "\\u0026"),
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)
"""Characters that would mean something to HTML or end a line of JavaScript."""


def page_data(report: Report) -> dict[str, Any]:
    """Returns the data of the page's script. Addresses are strings: JavaScript's numbers hold 53 bits only.

    Raises `XrayError` when nothing was emulated.
    """
    boot = report.boot
    if boot is None:
        raise XrayError(f"--html: {report.why_no_boot or 'nothing was emulated'}: there is no boot to draw")
    static = static_data(report.static, calls=False)
    stations = [
        {
            "name": s.name,
            "where": s.where,
            "address": hex(s.address),
            "parent": s.parent,
            "thread": s.thread,
            "start": s.start,
            "end": s.end if s.end is not None else boot.instructions,
            "times": s.times,
            "returned": s.returned,
            "story": s.story,
            "note": s.note,
            "instructions": s.instructions,
            "syscalls": [syscall_text(*c) for c in s.syscalls[:_MAX_SYSCALLS]],
            "more": max(0, s.syscall_count - _MAX_SYSCALLS),
        }
        for s in boot.stations
    ]
    events = []
    seen: Snapshot = {}
    for e in boot.events[:_MAX_EVENTS]:
        delta = {k: str(v) for k, v in e.state.items() if seen.get(k) != v}
        seen = e.state
        events.append({"s": e.station, "b": e.begins, "i": e.instructions, "sp": str(e.sp), "d": delta})
    g = boot.globals
    return {
        "file": Path(static["file"]).name,
        "go": static["go_version"],
        "target": f"{static['os']}/{static['arch']}",
        "entry": hex(static["entry"]),
        "addresses": {k: str(v) for k, v in (("g0", g.g0), ("m0", g.m0), ("sched", g.sched)) if v},
        "stations": stations,
        "events": events,
        "instructions": boot.instructions,
        "end": f"{boot.how}: {boot.detail}",
        "output": boot.output.decode("utf-8", "replace")[:_MAX_OUTPUT],
    }


def render(report: Report) -> str:
    """Returns the page. Raises `XrayError` when nothing was emulated."""
    text = json.dumps(page_data(report), separators=(",", ":"))
    for character, code in _ESCAPES:
        text = text.replace(character, code)
    return PAGE.replace("@DATA@", text)


def write_html(report: Report, path: str) -> None:
    """Write the page. Raises `XrayError` when nothing was emulated, or when the page cannot be written."""
    text = render(report)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise XrayError(f"{path}: {exc.strerror or exc}") from exc
