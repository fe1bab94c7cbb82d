"""The build information that Go's linker puts into every executable: Go version, module, build settings.

Follows debug/buildinfo: a 32-byte header "\\xff Go buildinf:" on a 16-byte boundary, then, since Go 1.18, two strings
with their lengths before them. Older files hold pointers to the strings; they are refused.

Rejected: `go version -m`. It needs Go, and it would run a program on an untrusted file.
"""

from __future__ import annotations

from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.record import field, frozen

MAGIC = b"\xff Go buildinf:"
_HEADER_SIZE = 32
_POINTER_SIZE_AT, _FLAGS_AT = 14, 15
_INLINE_STRINGS = 2
"""Flag: the strings follow the header."""
_MARK = 16
"""Bytes of the marks around the module information, by which other tools find it."""
_MAX_STRING = 1 << 20
_PACKERS = ((b"UPX!", "UPX", "unpack it with `upx -d`"), (b"MPRESS", "MPRESS", "unpack it first"))


@frozen
class BuildInfo:
    """The information that `go version -m` would print of the file."""

    version: str
    """As `go version` prints it: go1.27.3."""
    path: str = ""
    module: str = ""
    dependencies: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def minor(self) -> int | None:
        """27 for go1.27.3; None for a version that is no release's, as a development build's."""
        text = self.version.removeprefix("go").split(" ")[0].split("-")[0]
        parts = text.split(".")
        digits = ""
        for c in parts[1] if len(parts) > 1 and parts[0] == "1" else "":
            if not c.isdigit():
                break
            digits += c
        return int(digits) if digits else None


def _varint_string(data: bytes, at: int) -> tuple[str, int]:
    """Returns the string at `at` and the offset behind it. Raises `XrayError`."""
    length = shift = 0
    while True:
        if at >= len(data) or shift > 28:
            raise XrayError("the Go build information is truncated")
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    if length > _MAX_STRING or at + length > len(data):
        raise XrayError("the Go build information is truncated")
    return data[at : at + length].decode("utf-8", "replace"), at + length


def read_buildinfo(image: Image) -> BuildInfo | None:
    """Returns the build information, or None when the file has none: it is no Go program, or a tool dropped it.

    Raises `XrayError` when it is corrupt, or of Go 1.17 or older.
    """
    section = image.section(".go.buildinfo", "__go_buildinfo")
    spans = [(section.offset, section.offset + section.file_size)] if section else []
    spans += [(s.offset, s.offset + s.file_size) for s in image.segments if "w" in s.perms or section is None]
    for start, end in spans:
        at = image.data.find(MAGIC, start, end)
        while at >= 0:
            flags = image.data[at + _FLAGS_AT] if at + _FLAGS_AT < image.size else 0
            if flags & _INLINE_STRINGS:
                try:
                    strings = at + _HEADER_SIZE
                    blob = image.data[strings : min(image.size, strings + 4 * _MAX_STRING)]
                    version, used = _varint_string(blob, 0)
                    modinfo, _ = _varint_string(blob, used)
                except XrayError as exc:
                    raise XrayError(f"{image.path}: {exc}") from None
                if not version.startswith(("go", "devel")):
                    raise XrayError(f"{image.path}: the Go build information is corrupt")
                return _parse(version, modinfo)
            if flags in (0, 1) and image.data[at + _POINTER_SIZE_AT] in (4, 8):
                raise XrayError(f"{image.path}: built by Go 1.17 or older: gort xray reads Go 1.18 and newer")
            at = image.data.find(MAGIC, at + 1, end)
    return None


def _parse(version: str, modinfo: str) -> BuildInfo:
    if len(modinfo) > 2 * _MARK and modinfo[-_MARK - 1 : -_MARK] == "\n":
        modinfo = modinfo[_MARK:-_MARK]
    path = module = ""
    deps: list[str] = []
    settings: dict[str, str] = {}
    for line in modinfo.splitlines()[:100_000]:
        kind, _, rest = line.partition("\t")
        if kind == "path":
            path = rest
        elif kind == "mod":
            module = " ".join(rest.split("\t")[:2])
        elif kind == "dep":
            deps.append(" ".join(rest.split("\t")[:2]))
        elif kind == "build":
            key, _, value = rest.partition("=")
            settings[key] = value.strip('"')
    return BuildInfo(version=version, path=path, module=module, dependencies=tuple(deps), settings=settings)


def why_not_go(image: Image) -> str:
    """Returns one line that says what a file without Go's marks is: packed, or not a Go executable."""
    head = image.data[: min(image.size, 4096)]
    tail = image.data[max(0, image.size - 4096) : image.size]
    for mark, name, remedy in _PACKERS:
        if mark in head or mark in tail:
            return f"{image.path}: packed with {name}: {remedy}"
    if any(s.name.startswith("UPX") for s in image.sections):
        return f"{image.path}: packed with UPX: unpack it with `upx -d`"
    return f"{image.path}: not a Go executable: it has no pclntab (Go's table of functions)"
