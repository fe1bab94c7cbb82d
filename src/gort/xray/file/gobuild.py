"""The build information that Go's linker puts into every executable: Go version, module, build settings.

Follows debug/buildinfo: a 32-byte header "\\xff Go buildinf:" on a 16-byte boundary, then, since Go 1.18, two strings
with their lengths before them. In older files the header has the addresses of two string variables.

Where a tool dropped it, the version is still there: the linker sets runtime.buildVersion, a string variable, and the
runtime cannot do without it. `find_version` finds the text together with the variable that points at it. A text alone
proves nothing: programs name Go versions in their messages.

Rejected: `go version -m`. It needs Go, and it would run a program on an untrusted file.
"""

from __future__ import annotations

import itertools
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.record import field, frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import Literal

MAGIC = b"\xff Go buildinf:"
_HEADER_SIZE = 32
_POINTER_SIZE_AT, _FLAGS_AT = 14, 15
_POINTERS_AT = 16
_INLINE_STRINGS = 2
"""Flag: the strings follow the header."""
_MARK = 16
"""Bytes of the marks around the module information, by which other tools find it."""
_MAX_STRING = 1 << 20
_VERSION = rb"go1\.\d{1,2}(?:\.\d{1,2}|rc\d{1,2}|beta\d{1,2})?"
_SHORTEST_VERSION = 5
"""Bytes: go1.9."""
_MAX_VERSIONS = 2000
"""Texts in a segment that are looked at, and variables."""
_MAX_DATA = 64 << 20
"""Bytes of a writable segment in which variables are looked for."""
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
    source: str = ""
    """The source of the version where it is not the build information."""

    def with_version(self, given: BuildInfo) -> BuildInfo:
        """Returns the same information with the version of `given`."""
        return BuildInfo(given.version, self.path, self.module, self.dependencies, self.settings, given.source)

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

    Raises `XrayError` when it is corrupt.
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
                found = _by_pointers(image, at)
                if found is not None:
                    return found
            at = image.data.find(MAGIC, at + 1, end)
    return None


def _by_pointers(image: Image, at: int) -> BuildInfo | None:
    """Read the information of Go 1.17 and older. Returns None when the header at this offset leads nowhere."""
    word = image.word
    version_at, modinfo_at = struct.unpack_from("<QQ" if word == 8 else "<II", image.data, at + _POINTERS_AT)
    header = next((s.address + at - s.offset for s in image.segments if s.offset <= at < s.offset + s.file_size), None)
    if image.relocations is not None and header is not None:
        version_at, modinfo_at = image.pointer(header + _POINTERS_AT), image.pointer(header + _POINTERS_AT + word)
    version = _go_string(image, version_at)
    if version is None or not version.startswith(("go", "devel")):
        return None
    return _parse(version, _go_string(image, modinfo_at) or "")


def _go_string(image: Image, variable: int) -> str | None:
    """Returns the value of a string variable, None when it has none in the file."""
    try:
        address, length = image.pointer(variable), image.pointer(variable + image.word)
        return image.read(address, length).decode("utf-8", "replace") if length <= _MAX_STRING else None
    except XrayError:
        return None


def find_version(image: Image) -> BuildInfo | None:
    """Returns the version that runtime.buildVersion has, for files without build information; None when it is not found.

    Different versions in several such variables tell nothing: then it is None as well.
    """
    import re  # here, because few files need it

    pattern = re.compile(_VERSION)
    texts: dict[int, bytes] = {}
    """Address -> the longest version that the text there can be."""
    for seg in image.segments:
        if "w" in seg.perms and "x" in seg.perms:
            continue
        # Strings follow each other without a mark between them, so the digits may go on into the next one.
        for m in itertools.islice(pattern.finditer(image.data, seg.offset, seg.offset + seg.file_size), _MAX_VERSIONS):
            texts[seg.address + m.start() - seg.offset] = m[0]
    found = {texts[address][:length] for address, length in _strings_at(image, texts) if length <= len(texts[address])}
    if len(found) != 1:
        return None
    return BuildInfo(version=found.pop().decode(), source="runtime.buildVersion")


def _strings_at(image: Image, addresses: Container[int]) -> Iterator[tuple[int, int]]:
    """Yields (address, length) of the string variables whose text is at one of these addresses.

    One pass over the relocations and one over the writable words: the texts may be many.
    """
    places: list[tuple[int, int]] = []
    code: Literal["Q", "I"] = "Q" if image.word == 8 else "I"
    if image.relocations is not None:
        places += [(where, value) for where, value in image.relocations() if value in addresses]
    for seg in image.segments:
        if "w" not in seg.perms:
            continue
        size = min(seg.file_size, _MAX_DATA) & ~7
        with memoryview(image.data) as whole, whole[seg.offset : seg.offset + size] as part, part.cast(code) as words:
            places += [(seg.address + image.word * i, word) for i, word in enumerate(words) if word in addresses]
    for where, address in places[:_MAX_VERSIONS]:
        try:
            length = image.pointer(where + image.word)
        except XrayError:
            continue  # the word is the last of its segment
        if length >= _SHORTEST_VERSION:
            yield address, length


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
