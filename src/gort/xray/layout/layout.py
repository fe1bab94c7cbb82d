"""Where the fields of the runtime's structures lie: from the file's DWARF, else from what the Go version is known to
use.

The fields named here are those that the boot sets: runtime/runtime2.go's g, m, p and schedt. Three sources, and the
report says which one was used:
- DWARF, where the file has it (it also covers development versions and experiments),
- known_layouts.py, made from the DWARF of the releases' own programs, for stripped files of a known Go version,
- none: the structures are then left out of the report, and it says so.

A field that one Go version lacks is simply absent from its layout; nothing here guesses an offset.
"""

from __future__ import annotations

from gort.xray.errors import XrayError
from gort.xray.file.gobuild import BuildInfo
from gort.xray.file.image import Image
from gort.xray.record import frozen

FIELDS: dict[str, tuple[str, ...]] = {
    "runtime.g": (
        "stack",
        "stack.lo",
        "stack.hi",
        "stackguard0",
        "stackguard1",
        "m",
        "sched",
        "sched.sp",
        "sched.pc",
        "atomicstatus",
        "goid",
        "waitreason",
        "lockedm",
        "gopc",
        "startpc",
        "parentGoid",
    ),
    "runtime.m": (
        "g0",
        "procid",
        "gsignal",
        "tls",
        "curg",
        "p",
        "nextp",
        "oldp",
        "id",
        "mallocing",
        "locks",
        "spinning",
        "blocked",
        "alllink",
        "schedlink",
        "mstartfn",
        "lockedg",
    ),
    "runtime.p": (
        "id",
        "status",
        "link",
        "schedtick",
        "syscalltick",
        "m",
        "mcache",
        "runqhead",
        "runqtail",
        "runnext",
    ),
    "runtime.schedt": (
        "goidgen",
        "lastpoll",
        "nmidle",
        "mnext",
        "maxmcount",
        "nmsys",
        "ngsys",
        "pidle",
        "npidle",
        "nmspinning",
        "runqsize",
        "runq",
        "runq.size",
        "gcwaiting",
        "stopwait",
        "sysmonwait",
        "procresizetime",
    ),
}
_AGGREGATES = {("runtime.g", "stack"), ("runtime.g", "sched"), ("runtime.schedt", "runq")}

G_STATUS = (
    "_Gidle",
    "_Grunnable",
    "_Grunning",
    "_Gsyscall",
    "_Gwaiting",
    "_Gmoribund",
    "_Gdead",
    "_Genqueue",
    "_Gcopystack",
    "_Gpreempted",
    "_Gleaked",
    "_Gdeadextra",
)
P_STATUS = ("_Pidle", "_Prunning", "_Psyscall", "_Pgcstop", "_Pdead")


def g_status(value: int) -> str:
    """A goroutine's status word as Go names it; 0x1000 is the garbage collector's claim on it."""
    base = value & 0xFFF
    name = G_STATUS[base] if base < len(G_STATUS) else f"status {base}"
    return name.replace("_G", "_Gscan", 1) if value & 0x1000 else name


def p_status(value: int) -> str:
    return P_STATUS[value] if value < len(P_STATUS) else f"status {value}"


@frozen
class Layouts:
    structs: dict[str, dict[str, tuple[int, int]]]
    source: str
    """One line: where the layouts are from, or why there are none."""

    def offset(self, struct: str, field: str) -> int | None:
        got = self.structs.get(struct, {}).get(field)
        return None if got is None else got[0]


def _clean(structs: dict[str, dict[str, tuple[int, int]]]) -> dict[str, dict[str, tuple[int, int]]]:
    out: dict[str, dict[str, tuple[int, int]]] = {}
    for name, fields in structs.items():
        kept = {f: v for f, v in fields.items() if (name, f) not in _AGGREGATES and v[0] < 1 << 16}
        if name == "runtime.schedt" and "runq.size" in kept:  # Go 1.26 moved it into the queue
            kept["runqsize"] = kept.pop("runq.size")
        out[name] = kept
    return out


def find_layouts(image: Image, build: BuildInfo | None) -> Layouts:
    """The layouts for this file; never fails: `source` tells what is missing and why."""
    why = "the file has no DWARF"
    try:
        from gort.xray.file.dwarf import read_layouts

        found = _clean(read_layouts(image, FIELDS))
        if {"runtime.g", "runtime.m"} <= found.keys():
            return Layouts(found, "DWARF")
    except XrayError as exc:
        why = str(exc).removeprefix(f"{image.path}: ")
    from gort.xray.layout.known_layouts import KNOWN

    minor = build.minor if build else None
    experiment = build.settings.get("GOEXPERIMENT", "") if build else ""
    known = KNOWN.get((minor or 0, image.os))
    if known is not None and not build_is_devel(build) and "staticlockranking" not in experiment:
        return Layouts(known, f"what Go 1.{minor} on {image.os} is known to use ({why})")
    name = build.version if build and build.version else "an unknown Go version"
    return Layouts({}, f"none: {why}, and the layout of {name} is not known: the runtime's structures are left out")


def build_is_devel(build: BuildInfo | None) -> bool:
    return build is None or build.version.startswith("devel") or "-" in build.version.split(" ")[0]
