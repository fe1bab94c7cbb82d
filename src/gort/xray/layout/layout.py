"""The places of fields in the runtime's structures: from the file's DWARF, else from a table of Go releases.

`FIELDS` names the fields that the boot sets: runtime/runtime2.go's g, m, p and schedt. There are three sources, and the
report says which one was used:
- DWARF, where the file has it; it also covers development versions and experiments.
- known_layouts.py, for stripped files of a known release. It was made from the DWARF of the releases' own programs;
  layouts_tool.py says what it has for releases of which there were only stripped ones.
- What rt0_go itself does, where neither helps: it stores g0's stack and guards, g0.m and m0.g0, and takes the address
  of m0.tls. learn.py reads that off the code. The other fields are then left out of the report, which says so.

A field that a Go release does not have is absent from its layout. Nothing here guesses an offset.
"""

from __future__ import annotations

from gort.xray.errors import XrayError
from gort.xray.file.dwarf import Layout, has_dwarf, read_layouts
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
        "fastrand",
        "fastrand[0]",
        "fastrand[1]",
        "cheaprand",
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
"""Fields that are structures themselves; only their parts are kept."""
_HIGHEST_OFFSET = 1 << 16
"""An offset beyond it is not believed."""
_GSTATUS, _GSCAN = 0xFFF, 0x1000
"""Parts of a goroutine's status word: the status, and the garbage collector's claim on the goroutine."""

_G_STATUS = (
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
_P_STATUS = ("_Pidle", "_Prunning", "_Psyscall", "_Pgcstop", "_Pdead")


def g_status(value: int) -> str:
    """Returns a goroutine's status word as Go names it."""
    base = value & _GSTATUS
    name = _G_STATUS[base] if base < len(_G_STATUS) else f"status {base}"
    return name.replace("_G", "_Gscan", 1) if value & _GSCAN else name


def p_status(value: int) -> str:
    """Returns a P's status word as Go names it."""
    return _P_STATUS[value] if value < len(_P_STATUS) else f"status {value}"


@frozen
class Layouts:
    """The layouts for one file."""

    structs: dict[str, Layout]
    source: str
    """One line: where the layouts are from, or why there are none."""

    def offset(self, struct: str, field: str) -> int | None:
        """Returns the offset of a field, None when it is not known."""
        got = self.structs.get(struct, {}).get(field)
        return None if got is None else got[0]


def clean(structs: dict[str, Layout]) -> dict[str, Layout]:
    """Returns the layouts as every release has them: without aggregates, a field that moved under its old name."""
    out: dict[str, Layout] = {}
    for name, fields in structs.items():
        kept = {f: v for f, v in fields.items() if (name, f) not in _AGGREGATES and v[0] < _HIGHEST_OFFSET}
        if name == "runtime.schedt" and "runq.size" in kept:  # Go 1.26 moved it into the queue
            kept["runqsize"] = kept.pop("runq.size")
        if "fastrand[0]" in kept:  # two words to Go 1.17, one number to 1.21, called cheaprand since
            del kept["fastrand"]
        out[name] = kept
    return out


def find_layouts(image: Image, build: BuildInfo | None) -> Layouts:
    """Returns the layouts for this file. It never fails: `source` says what is missing and why."""
    why = "the file has no DWARF"
    try:
        found = clean(read_layouts(image, FIELDS))
        if {"runtime.g", "runtime.m"} <= found.keys():
            return Layouts(found, "DWARF")
        if has_dwarf(image):
            why = "its DWARF does not describe runtime.g"
    except XrayError as exc:
        why = str(exc).removeprefix(f"{image.path}: ")
    from gort.xray.layout.known_layouts import KNOWN  # here, because only stripped files need the table

    minor = build.minor if build else None
    experiment = build.settings.get("GOEXPERIMENT", "") if build else ""
    known = KNOWN.get((minor or 0, system_of(image)))
    if known is not None and not _is_devel(build) and "staticlockranking" not in experiment:
        known = as_patched(known, minor or 0, image)
        return Layouts(known, f"what Go 1.{minor} on {system_of(image)} is known to use ({why})")
    name = build.version if build and build.version else "an unknown Go version"
    return Layouts({}, f"none: {why}, and the layout of {name} is not known")


_SNAPSHOT = b"runtime.(*m).clearAllpSnapshot\0"
"""The name of a function, in pclntab, also where it is inlined."""
_BEHIND_SNAPSHOT = ("alllink", "schedlink", "lockedg", "cheaprand", "fastrand")
_WITHOUT, _WITH = 23, 24
"""The release whose table is that of a patch release without allpSnapshot, and the one that has it."""


def as_patched(known: dict[str, Layout], minor: int, image: Image) -> dict[str, Layout]:
    """Returns the layouts as this patch release has them.

    A repair of Go's (golang/go#74414) put a slice into m, allpSnapshot, in the middle of the patch releases of Go 1.24;
    it may be in late ones of 1.23 as well. The functions that came with it tell."""
    if minor not in (_WITHOUT, _WITH):
        return known
    has = image.data.find(_SNAPSHOT) >= 0
    if has == (minor == _WITH):
        return known
    shift = 3 * image.word * (1 if has else -1)
    m = {
        f: (-(-(at + shift) // size) * size if f in _BEHIND_SNAPSHOT else at, size)  # aligned, which matters on 386
        for f, (at, size) in known["runtime.m"].items()
    }
    return {**known, "runtime.m": m}


def system_of(image: Image) -> str:
    """The system as known_layouts.py has it: of the processors with words of 32 bits, only 386 is known."""
    return image.os if image.word == 8 else f"{image.os}/{image.arch}"


def _is_devel(build: BuildInfo | None) -> bool:
    """True when the file is not known to be built by a release."""
    return build is None or build.version.startswith("devel") or "-" in build.version.split(" ")[0]
