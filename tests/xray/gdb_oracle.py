"""The same program natively under gdb: the oracle for what the emulated boot finds."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

EXPRESSIONS = {
    "g0": "&'runtime.g0'",
    "m0": "&'runtime.m0'",
    "m0.tls": "&'runtime.m0'.tls",
    "m0.tls[0]": "'runtime.m0'.tls[0]",
    "fs_base": "$fs_base",
    "sp": "$rsp",
    "g0.stack.lo": "'runtime.g0'.stack.lo",
    "g0.stack.hi": "'runtime.g0'.stack.hi",
    "g0.stackguard0": "'runtime.g0'.stackguard0",
    "g0.stackguard1": "'runtime.g0'.stackguard1",
    "g0.m": "'runtime.g0'.m",
    "m0.g0": "'runtime.m0'.g0",
    "m0.id": "'runtime.m0'.id",
    "m0.p": "'runtime.m0'.p",
    "sched.maxmcount": "'runtime.sched'.maxmcount",
    "sched.mnext": "'runtime.sched'.mnext",
    "gomaxprocs": "'runtime.gomaxprocs'",
    "len(allp)": "'runtime.allp'.len",
}
PS = {
    "allp[{i}]": "'runtime.allp'.array[{i}]",
    "allp[{i}].id": "'runtime.allp'.array[{i}]->id",
    "allp[{i}].status": "'runtime.allp'.array[{i}]->status",
    "allp[{i}].m": "'runtime.allp'.array[{i}]->m",
}
_PYTHON = """
def do(command):
    try:
        gdb.execute(command)
    except gdb.error as error:
        print("E", command, error)

def values(stops, expressions):
    for stop in stops:
        print("AT " + stop)
        for name, expression in expressions.items():
            try:
                print("V %s = %d" % (name, int(gdb.parse_and_eval(expression))))
            except gdb.error as error:
                print("E", name, error)
        do("continue")
"""


def values_at(program: Path, stops: list[str], env: dict[str, str], ps: int = 0) -> dict[str, dict[str, int]]:
    """{stop: {name: value}} at each function in `stops`, in the order in which they are reached. Skips where gdb
    cannot run programs.
    """
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("gdb is not installed")
    expressions = dict(EXPRESSIONS)
    for i in range(ps):
        expressions.update({k.format(i=i): v.format(i=i) for k, v in PS.items()})
    commands = [
        "set confirm off",
        "set pagination off",
        "set breakpoint pending off",
        "unset environment",
        "set auto-load safe-path /nonexistent",
    ]
    commands += [f"set environment {k} {v}" for k, v in env.items()]
    commands += [f"tbreak *'{s}'" for s in stops]
    commands += ["set language c", "run"]
    lines = ["import gdb", _PYTHON, *(f"do({c!r})" for c in commands), f"values({stops!r}, {expressions!r})"]
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "commands.py"
        script.write_text("\n".join(lines))
        done = subprocess.run(
            [gdb, "-nx", "-q", "-batch", "-x", str(script), str(program)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    out: dict[str, dict[str, int]] = {}
    at: dict[str, int] = {}
    for line in done.stdout.splitlines():
        if line.startswith("AT "):
            at = out[line[3:]] = {}
        elif m := re.match(r"V (.+) = (-?\d+)$", line):
            at[m[1]] = int(m[2])
    if "ptrace" in done.stderr or not any(out.values()):
        pytest.skip(f"gdb cannot run the program here: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return out


def info_files(program: Path) -> tuple[int, list[tuple[int, int, str]]]:
    """gdb's own list: entry point and (start, end, name) of each section."""
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("gdb is not installed")
    text = subprocess.run(
        [gdb, "-nx", "-q", "-batch", "-ex", "info files", str(program)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    ).stdout
    entry = re.search(r"Entry point: (0x[0-9a-f]+)", text)
    assert entry is not None, text
    return int(entry[1], 16), [
        (int(a, 16), int(b, 16), n) for a, b, n in re.findall(r"(0x[0-9a-f]+) - (0x[0-9a-f]+) is (\S+)", text)
    ]
