"""Compares what `gort xray` lists of executables with what GoReSym finds: `python scripts/goresym.py GORESYM FILE…`.

GORESYM is the program built from the sources of github.com/mandiant/GoReSym, which is not on PyPI; so no test runs this.
It reads no Go newer than 1.26 (at its commit 78c02cc). Compared are

- functions: addresses and names must be the same; sizes may differ only by the padding behind a function, which
  `gort xray` cuts off, as `go tool nm -size` does.
- types: each that GoReSym lists must be listed, under the same name but for the path of its package and a
  channel's direction. GoReSym lists itabs among them, which are no types.
- texts: each that GoReSym lists must be listed. It finds only those that data refers to.

Prints a line for each file, and what is missing. The status is 1 if anything is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

PADDING = 64
_ITAB = "interface_"
_PATH = re.compile(r"(?:[\w.~-]+/)+")
_CHANNEL = re.compile(r"(?:<-chan|chan<-|chan) (.*)")
_TAG = re.compile(r' "(?:[^"\\]|\\.)*"')


def listed(file: str, what: str) -> list[dict[str, Any]]:
    """What gort xray lists."""
    command = [sys.executable, "-m", "gort", "xray", file, f"--{what}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{file}: {done.stderr.strip()}")
    found: list[dict[str, Any]] = json.loads(done.stdout)[what]
    return found


def of_goresym(program: str, file: str) -> dict[str, Any]:
    """GoReSym's report."""
    done = subprocess.run([program, "-t", "-d", "-strings", file], capture_output=True, text=True, check=False)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{file}: GoReSym says: {done.stdout.strip()} {done.stderr.strip()}")
    if "error" in report:
        sys.exit(f"{file}: GoReSym says: {report['error']}")
    return report


def short(name: str) -> str:
    """A type's name with names of packages for their paths, without tags of fields and directions of channels."""
    name = _PATH.sub("", _TAG.sub("", name))
    channel = _CHANNEL.fullmatch(name)
    return f"chan({channel[1]})" if channel else name


def compare(program: str, file: str) -> int:
    """Prints how the two differ; returns the number of differences that are not explained above."""
    theirs = of_goresym(program, file)
    wrong: list[str] = []

    ours = {f["address"]: (f["name"], f["size"]) for f in listed(file, "functions")}
    functions = {f["Start"]: f for f in [*(theirs["UserFunctions"] or []), *(theirs["StdFunctions"] or [])]}
    for address in sorted(ours.keys() | functions.keys()):
        name, size = ours.get(address, ("", 0))
        other = functions.get(address)
        if other is None or other["FullName"] != name:
            wrong.append(f"function {address:#x}: {name or '–'}, GoReSym: {other['FullName'] if other else '–'}")
        elif not 0 <= other["End"] - address - size < PADDING:
            wrong.append(f"function {address:#x} {name}: {size} bytes, GoReSym: {other['End'] - address}")

    types = {t["address"]: t["name"] for t in listed(file, "types")}
    named = {t["VA"]: t["Str"] for t in [*(theirs["Types"] or []), *(theirs["Interfaces"] or [])]}
    named = {address: name for address, name in named.items() if not name.startswith(_ITAB)}
    for address, name in sorted(named.items()):
        if address not in types or short(types[address]) != short(name):
            wrong.append(f"type {address:#x}: {types.get(address, '–')}, GoReSym: {name}")

    texts = {s["text"] for s in listed(file, "strings")}
    known = set(theirs["Strings"] or [])
    wrong += [f"text {text!r} is not listed" for text in sorted(known - texts)]

    print(
        f"{file}: {len(functions)} functions, {len(named)} types ({len(types)} listed), "
        f"{len(known)} texts ({len(texts)} listed): {len(wrong)} differences"
    )
    for line in wrong:
        print(f"  {line}")
    return len(wrong)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(sum(compare(sys.argv[1], file) for file in sys.argv[2:]) > 0)
