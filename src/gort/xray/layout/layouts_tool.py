"""Makes known_layouts.py: `python -m gort.xray.layout.layouts_tool FILE…`, with unstripped programs of Go releases.

m holds a signal mask, whose size depends on the system; so there is a table for each release and system. Several files
may be given for one of them, built for different processors with words of the same size: a field is kept only when they
all agree. A release and system of which no file is given stays as it was.

386 is known from Go 1.21 on; before, rt0_go's own stores tell of the structures.

Go 1.16, 1.17, 1.18 and 1.20 are made from their neighbours (`_BETWEEN`), because there was no unstripped program of
them. In each structure these releases have what one neighbour has; m of 1.16 and 1.17 has one more field (doesPark)
before alllink. It was checked against the code of stripped programs: esbuild 0.11.0 (go1.16.2) and 0.14.0 (go1.17.2),
turbo 1.4.0 (go1.18.3) and 1.10.16 (go1.20.10). There, mcommoninit stores alllink and fastrand, newproc1 stores gopc and
startpc, dolockOSThread stores both lockeds, runqput uses the queue, stopTheWorldWithSema stores stopwait.
"""

from __future__ import annotations

import sys
import textwrap

from gort.xray.errors import XrayError
from gort.xray.file.dwarf import Layout, read_layouts
from gort.xray.file.gobuild import read_buildinfo
from gort.xray.file.open import load
from gort.xray.layout.known_layouts import KNOWN
from gort.xray.layout.layout import FIELDS, clean, system_of

Tables = dict[tuple[int, str], dict[str, Layout]]
"""(1.N, system) -> structure -> field -> (offset, size)"""

_HEAD = '''"""Field offsets and sizes of g, m, p and schedt per Go release (1.N) and system, for stripped files.

Written by `python -m gort.xray.layout.layouts_tool` from the DWARF of programs built with each release; the test
`test_layout.py` compares it with the DWARF of freshly built ones. Do not edit.

An entry has a structure, the releases and systems that have it so, as `15-linux 16-linux`, and `field offset size` after
`field offset size`. Most releases changed only some of the structures.
"""

from __future__ import annotations

_TABLES: tuple[tuple[str, str, str], ...] = (
'''

_BETWEEN: dict[int, dict[str, int]] = {
    16: {"runtime.g": 15, "runtime.m": 15, "runtime.p": 15, "runtime.schedt": 15},
    17: {"runtime.g": 19, "runtime.m": 15, "runtime.p": 15, "runtime.schedt": 15},
    18: {"runtime.g": 19, "runtime.m": 19, "runtime.p": 19, "runtime.schedt": 19},
    20: {"runtime.g": 19, "runtime.m": 19, "runtime.p": 19, "runtime.schedt": 21},
}
"""Release -> structure -> the release whose structure is the same."""
_BEHIND_PARK = ("alllink", "schedlink", "lockedg")
"""The fields of m that lie one word higher in Go 1.16 and 1.17 than in 1.15."""
_WITH_PARK = (16, 17)

_TAIL = """)


def _fields(text: str) -> dict[str, tuple[int, int]]:
    words = text.split()
    return {words[i]: (int(words[i + 1]), int(words[i + 2])) for i in range(0, len(words), 3)}


def _known() -> dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]]:
    out: dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]] = {}
    for struct, keys, text in _TABLES:
        fields = _fields(text)
        for key in keys.split():
            minor, _, system = key.partition("-")
            out.setdefault((int(minor), system), {})[struct] = fields
    return out


# (1.N, system) -> structure -> field -> (offset, size)
KNOWN: dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]] = _known()
"""


def write(table: Tables) -> str:
    """Returns the text of known_layouts.py."""
    out = [_HEAD]
    users: dict[tuple[str, str], list[str]] = {}
    """(structure, its fields as text) -> the releases and systems that have it so"""
    for minor, system in sorted(table):
        for struct, fields in table[minor, system].items():
            items = [f"{f} {offset} {size}" for f, (offset, size) in sorted(fields.items(), key=lambda kv: kv[1])]
            users.setdefault((struct, "  ".join(items)), []).append(f"{minor}-{system}")
    for (struct, text), keys in sorted(
        users.items(), key=lambda kv: (kv[0][0], int(kv[1][0].partition("-")[0]), kv[1])
    ):
        out.append(f'    (\n        "{struct}",\n')
        for part in (" ".join(keys), text):
            lines = textwrap.wrap(part, 102, break_long_words=False, break_on_hyphens=False)
            inner = [f'"{line}{" " if i + 1 < len(lines) else ""}"' for i, line in enumerate(lines)]
            if len(inner) == 1:
                out.append(f"        {inner[0]},\n")
            else:
                out.append("        (\n" + "".join(f"            {line}\n" for line in inner) + "        ),\n")
        out.append("    ),\n")
    out.append(_TAIL)
    return "".join(out)


def between(table: Tables) -> Tables:
    """Returns the layouts of the releases in `_BETWEEN`, made from those in the table."""
    out: Tables = {}
    for minor, sources in _BETWEEN.items():
        for system in sorted({s for _, s in table}):
            if any((source, system) not in table for source in sources.values()):
                continue
            made = {struct: dict(table[source, system][struct]) for struct, source in sources.items()}
            if minor in _WITH_PARK:
                m = made["runtime.m"]
                m.update({f: (m[f][0] + 8, m[f][1]) for f in _BEHIND_PARK})
            out[minor, system] = made
    return out


def main(paths: list[str]) -> None:
    """Print known_layouts.py, made from these programs. Raises `XrayError` for a file that no release built."""
    table: Tables = {}
    for path in paths:
        with load(path) as image:
            build = read_buildinfo(image)
            if build is None or build.minor is None:
                raise XrayError(f"{path}: no release of Go")
            key = build.minor, system_of(image)
            found = clean(read_layouts(image, FIELDS))
        if key not in table:
            table[key] = found
            continue
        for struct, fields in table[key].items():
            for field in list(fields):
                if found.get(struct, {}).get(field) != fields[field]:
                    print(f"{path}: {struct}.{field} differs: left out", file=sys.stderr)
                    del fields[field]
    sys.stdout.write(write({**KNOWN, **between(table), **table}))


if __name__ == "__main__":
    main(sys.argv[1:])
