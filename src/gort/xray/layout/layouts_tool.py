"""Makes known_layouts.py: `python -m gort.xray.layout.layouts_tool FILE…`, with an unstripped program of each Go release.

m holds a signal mask, whose size depends on the system; so there is a table for each release and system. Several files
may be given for one of them, built for different processors: a field is kept only when they all agree.
"""

from __future__ import annotations

import sys
import textwrap

from gort.xray.errors import XrayError
from gort.xray.file.dwarf import Layout, read_layouts
from gort.xray.file.gobuild import read_buildinfo
from gort.xray.file.open import load
from gort.xray.layout.layout import FIELDS, clean

Tables = dict[tuple[int, str], dict[str, Layout]]
"""(1.N, system) -> structure -> field -> (offset, size)"""

_HEAD = '''"""Field offsets and sizes of g, m, p and schedt per Go release (1.N) and system, for stripped files.

Written by `python -m gort.xray.layout.layouts_tool` from the DWARF of programs built with each release; the test
`test_layout.py` compares it with the DWARF of freshly built ones. Do not edit.

A table is text, `field offset size` after `field offset size`, so that seven releases of three systems stay readable.
"""

from __future__ import annotations

_TABLES: dict[tuple[int, str], dict[str, str]] = {
'''

_TAIL = """}


def _fields(text: str) -> dict[str, tuple[int, int]]:
    words = text.split()
    return {words[i]: (int(words[i + 1]), int(words[i + 2])) for i in range(0, len(words), 3)}


KNOWN: dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]] = {
    key: {name: _fields(text) for name, text in table.items()} for key, table in _TABLES.items()
}
"""


def write(table: Tables) -> str:
    """Returns the text of known_layouts.py."""
    out = [_HEAD]
    for minor, system in sorted(table):
        out.append(f'    ({minor}, "{system}"): {{\n')
        for struct, fields in table[minor, system].items():
            items = [f"{f} {offset} {size}" for f, (offset, size) in sorted(fields.items(), key=lambda kv: kv[1])]
            lines = textwrap.wrap("  ".join(items), 104, break_long_words=False, break_on_hyphens=False)
            out.append(f'        "{struct}": (\n')
            out += [f'            "{line}{" " if i + 1 < len(lines) else ""}"\n' for i, line in enumerate(lines)]
            out.append("        ),\n")
        out.append("    },\n")
    out.append(_TAIL)
    return "".join(out)


def main(paths: list[str]) -> None:
    """Print known_layouts.py, made from these programs. Raises `XrayError` for a file that no release built."""
    table: Tables = {}
    for path in paths:
        with load(path) as image:
            build = read_buildinfo(image)
            if build is None or build.minor is None:
                raise XrayError(f"{path}: no release of Go")
            key = build.minor, image.os
            found = clean(read_layouts(image, FIELDS))
        if key not in table:
            table[key] = found
            continue
        for struct, fields in table[key].items():
            for field in list(fields):
                if found.get(struct, {}).get(field) != fields[field]:
                    print(f"{path}: {struct}.{field} differs: left out", file=sys.stderr)
                    del fields[field]
    sys.stdout.write(write(table))


if __name__ == "__main__":
    main(sys.argv[1:])
