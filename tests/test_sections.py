"""Rules of the core that its text must keep, because no run of it would show at once that they are broken.

- Critical sections.  With the GIL the compiled core's locks are empty, so nothing between `lock()` and `unlock()` may let
  go of the GIL: no Python code, no new object that the collector tracks, no exception (HACKING.md, "Compiled critical
  sections").
- Fields that a lock guards.  runtime2.py says in a comment over each group of fields what guards it.  Here that is
  read, and each use of such a field is held against it: it is in a section of that lock, or in a function whose docstring
  says that the lock is held, or the field is marked as a hint.
- An M's own `p` may be stale.  A function that reads one asks `p.mid` too, or hands both to one that does.

What does not live here: the order in which locks nest (GODEBUG=lockrank=1, on in every test), and behaviour.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import SOURCE

pytestmark = pytest.mark.lint

RUNTIME = SOURCE / "_runtime"
HOT = [f.with_suffix(".py") for f in sorted(RUNTIME.rglob("*.pxd")) if f.parent.name != "c"]
ALL = [f for f in sorted(RUNTIME.rglob("*.py")) if f.parent.name != "c"]
LOCKS = {
    "lock": "unlock", "lock_timers": "unlock_timers", "lock_allg": "unlock_allg", "lock_state": "unlock_state",
    "sellock": "selunlock",
}  # fmt: skip
Held = tuple[tuple[str, str], ...]  # (receiver, lock method), innermost last


def lock_call(node: ast.stmt) -> tuple[str, str] | None:
    """`x.lock()` gives (x, lock); `sellock(x)` gives (x, sellock)."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        if isinstance(call.func, ast.Attribute) and not call.args:
            return ast.unparse(call.func.value), call.func.attr
        if isinstance(call.func, ast.Name) and call.func.id in ("sellock", "selunlock"):
            return ast.unparse(call.args[0]), call.func.id
    return None


def leaves(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)


def walk(body: list[ast.stmt], held: Held) -> Iterator[tuple[ast.AST, Held]]:
    """Every expression and simple statement with the locks that this function has taken before it.  Returns what is held
    at the end."""
    for node in body:
        taken = lock_call(node)
        if taken is not None and taken[1] in LOCKS:
            held = (*held, taken)
            continue
        if taken is not None and taken[1] in LOCKS.values():
            held = tuple(h for h in held if not (h[0] == taken[0] and LOCKS[h[1]] == taken[1]))
            continue
        if isinstance(node, ast.If):
            if "cython.compiled" in ast.unparse(node.test):  # the uncompiled core's locks are real
                after = yield from walk(node.body if "not" not in ast.unparse(node.test) else node.orelse, held)
                held = after
                continue
            yield node.test, held
            then = yield from walk(node.body, held)
            other = yield from walk(node.orelse, held)
            held = other if leaves(node.body) else then
        elif isinstance(node, ast.While | ast.For):
            yield (node.test if isinstance(node, ast.While) else node.iter), held
            held = yield from walk(node.body, held)
        elif isinstance(node, ast.Try):
            inside = yield from walk(node.body, held)
            for handler in node.handlers:
                yield from walk(handler.body, held)
            held = yield from walk(node.finalbody, inside)
        elif isinstance(node, ast.With):
            held = yield from walk(node.body, held)
        elif not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node, held
    return held


def functions(file: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function and method of a file, with its qualified name."""

    def of(nodes: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for node in nodes:
            if isinstance(node, ast.FunctionDef):
                yield prefix + node.name, node
            elif isinstance(node, ast.ClassDef):
                yield from of(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.If):
                yield from of([*node.body, *node.orelse], prefix)

    yield from of(ast.parse(file.read_text()).body, "")


def says_held(function: ast.FunctionDef) -> bool:
    """The docstring says that the caller holds the lock."""
    said = ast.get_docstring(function) or ""
    return re.search(r"(?<![Nn]o )lock is held|locks are held|is locked", said) is not None


def names(files: list[Path]) -> list[str]:
    return [str(f.relative_to(RUNTIME).with_suffix("")) for f in files]


# ---- critical sections ------------------------------------------------------------------------------------------------

C_FUNCTIONS = {
    name
    for pxd in RUNTIME.rglob("*.pxd")
    for name in re.findall(r"^(?:    )?c?p?(?:def )?(?:inline )?[\w* ]*?(\w+)(?: \"\w+\")?\(", pxd.read_text(), re.M)
}
# What a section may call beside C functions: on ints and C arrays, or methods that set C fields.
HARMLESS = {"len", "max", "min", "cast", "pointer", "address", "wakeup", "range"}
HARMLESS |= {"append", "extend", "pop", "clear", "remove"}  # of lists that only the section's lock guards
HARMLESS |= {"PyByteArray_GET_SIZE", "PyByteArray_Resize"}  # of Cython's, and of such bytearrays
# Sections that do what the rule forbids, and why they may.
ALLOWED: dict[tuple[str, str], str] = {}


def offence(node: ast.AST) -> str | None:
    """What in this statement may let go of the GIL, or None."""
    for part in ast.walk(node):
        if isinstance(part, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.JoinedStr | ast.Raise):
            return type(part).__name__
        if isinstance(part, ast.Call):
            called = part.func.attr if isinstance(part.func, ast.Attribute) else ast.unparse(part.func)
            if called not in C_FUNCTIONS | HARMLESS:
                return f"call of {called}"
    return None


@pytest.mark.parametrize("file", HOT, ids=names(HOT))
def test_no_python_in_a_critical_section(file: Path) -> None:
    wrong = []
    for name, function in functions(file):
        start: Held = (("its caller's", "lock"),) if says_held(function) else ()
        for node, held in walk(function.body, start):
            if held and (what := offence(node)) and (file.stem, name) not in ALLOWED:
                wrong.append(f"{file.name}:{getattr(node, 'lineno', '?')} {name}: {what} under {held[-1]}")
    assert wrong == []


# ---- fields and the locks that guard them -----------------------------------------------------------------------------


def guarded() -> dict[str, dict[str, str]]:
    """Class -> field -> the lock that every use needs, as runtime2.py's comments say: `# Under lock()`; a field whose own
    comment begins with `*` or speaks of a hint may be read without."""
    found: dict[str, dict[str, str]] = {}
    cls, lock = "", ""
    for line in (RUNTIME / "core" / "runtime2.py").read_text().splitlines():
        if m := re.match(r"class (\w+)", line):
            cls, lock = m[1], ""
        elif m := re.match(r"        # (.*)", line):
            if not re.match(r"        # [a-z]", line) or "Under" in line:
                under = re.match(r"Under (sched\.)?(\w+)\(\)", m[1])
                lock = (under[1] or "") + under[2] if under else ""
        elif (m := re.match(r"        (\w+) = [^#]*(?:# (.*))?$", line)) and lock:
            comment = m[2] or ""
            if not comment.startswith("*") and "hint" not in comment.lower():
                found.setdefault(cls, {})[m[1]] = lock
    return found


GUARDED = guarded()
TYPES = {"s": "Sched", "p": "P", "p2": "P", "victim": "P", "src": "P", "dst": "P"}
# Uses without the lock that are right, and why.
UNLOCKED: dict[tuple[str, str], str] = {
    ("rt0", "*"): "the boot: no second thread is there",
    ("main", "*"): "the end: every M has left",
    ("procresize", "new_p"): "nobody knows it yet",
    ("procresize", "procresize"): "the world is stopped",
    ("runq", "release_queues"): "the end",
    ("runq", "release_idle"): "the end",
    ("sysmon", "retake"): "reads the hint mid, and asks again under the lock in handoffp",
    ("reports", "schedtrace"): "prints single numbers, which may be old by the time they are read",
    ("looks", "counters"): "shows single numbers, as schedtrace does",
    ("looks", "processors"): "the same",
    ("looks", "sample"): "the same: which M has lost its P is a hint",
    ("looks", "look"): "the same",
    ("metrics", "created"): "the same",
    ("metrics", "values"): "the same",
    ("handoff", "checkmcount"): "maxmcount: a limit that is checked again with each thread",
    ("newproc", "disown"): "the end",
    ("timers", "movetimers"): "locks both heaps, in the order of their addresses",
}


def test_guards_are_read_from_the_comments() -> None:
    """The check below checks something."""
    assert GUARDED["Sched"]["runqhead"] == "lock"
    assert GUARDED["P"]["timers"] == "lock_timers"
    assert GUARDED["P"]["link"] == "sched.lock"
    assert "npidle" not in GUARDED["Sched"], "a hint"
    assert sum(map(len, GUARDED.values())) > 20


@pytest.mark.parametrize("file", ALL, ids=names(ALL))
def test_guarded_fields_are_used_under_their_lock(file: Path) -> None:
    wrong = []
    for name, function in functions(file):
        if (file.stem, "*") in UNLOCKED or (file.stem, name) in UNLOCKED:
            continue
        if says_held(function):
            continue
        for node, held in walk(function.body, ()):
            for part in ast.walk(node):
                if not (isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)):
                    continue
                lock = GUARDED.get(TYPES.get(part.value.id, ""), {}).get(part.attr)
                if lock is None:
                    continue
                owner = "s" if lock.startswith("sched.") else part.value.id
                if (owner, lock.removeprefix("sched.")) not in held:
                    wrong.append(f"{file.name}:{part.lineno} {name}: {ast.unparse(part)} without {owner}.{lock}()")
    assert wrong == []


# ---- an M's own p -----------------------------------------------------------------------------------------------------

# Functions that read an M's `p` without asking `mid`, and why they may.
TRUSTING: dict[tuple[str, str], str] = {
    ("proc", "execute"): "counts a switch, for sysmon: a P that was lost meanwhile is none the worse",
    ("chooser", "Chooser.run"): "in an explored schedule there is one M, and no sysmon",
    ("timers", "arm"): "a heap may be used by anybody who locks it, and a dead P is noticed under that lock",
}


@pytest.mark.parametrize("file", ALL, ids=names(ALL))
def test_who_reads_an_ms_p_asks_whose_it_is(file: Path) -> None:
    """`m.p` may have been taken by sysmon.  Only `p.mid == m.id`, under the P's lock or as a hint that is checked again,
    says that it is still ours: each function that reads `m.p` mentions mid or id, where it compares them or passes them
    on."""
    wrong = []
    for name, function in functions(file):
        reads = [
            n
            for n in ast.walk(function)
            if isinstance(n, ast.Attribute) and n.attr == "p" and isinstance(n.ctx, ast.Load)
            and isinstance(n.value, ast.Name) and n.value.id in ("m", "lm", "m0")
        ]  # fmt: skip
        text = ast.unparse(function)
        asks = re.search(r"\bmid\b|\bm0?\.id\b", text) is not None
        if reads and not asks and (file.stem, name) not in TRUSTING:
            wrong.append(f"{file.name}:{reads[0].lineno} {name}")
    assert wrong == []
