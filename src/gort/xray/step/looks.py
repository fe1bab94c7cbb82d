"""What can be looked at where a run has stopped: source, code, calls, threads, goroutines, registers, memory."""

from __future__ import annotations

import os
import stat

from gort.xray.ask.frames import callers
from gort.xray.errors import XrayError
from gort.xray.layout.layout import g_status
from gort.xray.show.paper import Paper, bold, cyan, dim, green, plain, yellow
from gort.xray.step.session import Session

_AROUND = 5
"""Source lines before and behind the current one."""
_CODE_LINES = 24
_MAX_SOURCE = 8 << 20
_MAX_GOROUTINES = 1000
_WORDS_IN_LINE = 2


def source_line(file: str, line: int) -> str:
    """Returns a line of a source file that is on this machine; empty where there is none."""
    lines = _source(file)
    return lines[line - 1].rstrip() if 0 < line <= len(lines) else ""


def _source(file: str) -> list[str]:
    """Returns the lines of a source file. The name is the program's word, so only regular Go sources are read."""
    if not file.endswith((".go", ".s")):
        return []
    try:
        found = os.stat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_SOURCE:
            return []
        with open(file, encoding="utf-8", errors="replace") as f:
            return f.read().splitlines()
    except (OSError, ValueError):
        return []


def where(session: Session, paper: Paper) -> None:
    """Print where the run has stopped."""
    if session.ended is not None:
        paper.print(yellow(plain(session.why)))
        return
    symbols, pc = session.static.symbols, session.pc
    if session.why:
        paper.print(yellow(plain(session.why)))
    place = session.place(pc)
    who = f"thread {session.process.current.tid}"
    number = goroutine_number(session, place.owner)
    if number:
        who = f"goroutine {number} on {who}"
    at = symbols.where(pc)
    name = symbols.describe(pc)
    paper.print(f"{bold(plain(name))} {plain(at)} {dim(f'· {who} · instruction {session.number:,}')}", wrap=False)
    text = source_line(*place.position)
    if text:
        paper.print(f"{place.position[1]}\t{plain(text)}", wrap=False)
    for line in _code(session, 1):
        paper.print(line, wrap=False)


def goroutine_number(session: Session, g: int) -> int:
    """Returns a goroutine's number; 0 for what is none."""
    goid = session.layouts.offset("runtime.g", "goid")
    return (session.process.machine.u64(g + goid) or 0) if goid is not None and g > 1 << 16 else 0


def _code(session: Session, count: int) -> list[str]:
    func = session.static.symbols.at(session.pc)
    if func is None:
        return [dim(f"=> {session.pc:#x}")]
    lines = session.disasm.text(func, 1 << 16)
    at = next((i for i, (address, *_) in enumerate(lines) if address == session.pc), 0)
    first = max(0, at - count // 3) if count > 1 else at
    out = []
    for address, text, comment in lines[first : first + count]:
        mark = "=>" if address == session.pc else "  "
        note = dim(plain(f"  ; {comment}")) if comment else ""
        out.append(f"{mark} {address:#x}  {plain(text)}{note}")
    return out


def code(session: Session, paper: Paper) -> None:
    """Print the code around the current instruction."""
    for line in _code(session, _CODE_LINES):
        paper.print(line, wrap=False)


def listing(session: Session, paper: Paper) -> None:
    """Print the source around the current line. Raises `XrayError` when it is not on this machine."""
    file, line = session.position(session.pc)
    lines = _source(file)
    if not lines:
        raise XrayError(f"{file or 'the source'} is not on this machine")
    for i in range(max(1, line - _AROUND), min(len(lines), line + _AROUND) + 1):
        mark = "=>" if i == line else "  "
        paper.print(f"{mark} {i}\t{plain(lines[i - 1].rstrip())}", wrap=False)


def backtrace(session: Session, paper: Paper) -> None:
    """Print the calls that are open, the innermost first."""
    symbols, machine = session.static.symbols, session.process.machine
    user = session.state.goroutine(session.state.current_g())
    for i, at in enumerate(callers(symbols, machine, session.layouts, user, session.pc)):
        place = at if i == 0 else at - 1
        paper.print(
            f"#{i:<3} {at:#x} {bold(plain(symbols.describe(at)))} {dim(plain(symbols.where(place)))}", wrap=False
        )


def registers(session: Session, paper: Paper) -> None:
    """Print the registers."""
    for name, value in session.process.machine.registers().items():
        known = session.scope.name_of(value) if value else ""
        paper.print(f"{cyan(f'{name:>10}')}  {value:#018x}" + (f"  {plain(known)}" if known else ""), wrap=False)


def threads(session: Session, paper: Paper) -> None:
    """Print the threads, and what each does."""
    process, symbols = session.process, session.static.symbols
    for t in process.threads:
        mark = "*" if t is process.current else " "
        if t.state == "waiting" and t.wait is not None:
            does = f"waits: {t.wait.kind}"
        else:
            does = "has ended" if t.state == "dead" else "runs" if t is process.current else "is runnable"
        pc = session.pc if t is process.current else process.machine.in_context(t.context, process.machine.arch.pc)
        paper.print(f"{mark} thread {t.tid}  {does}  {plain(symbols.describe(pc))}", wrap=False)


def goroutines(session: Session, paper: Paper) -> None:
    """Print every goroutine in allgs. Raises `XrayError` where the file does not say where that is."""
    m, symbols, layouts = session.process.machine, session.static.symbols, session.layouts
    allgs = symbols.address("runtime.allgs")
    fields = [layouts.offset("runtime.g", f) for f in ("goid", "atomicstatus", "startpc", "sched.pc")]
    if allgs is None or None in fields:
        raise XrayError("the file does not say where the list of goroutines is (it is stripped)")
    goid, status, start, pc = (f or 0 for f in fields)
    first, count = m.pointer(allgs) or 0, m.pointer(allgs + m.arch.word) or 0
    current = session.state.goroutine(session.state.current_g())
    for i in range(min(count, _MAX_GOROUTINES)):
        g = m.pointer(first + m.arch.word * i)
        raw = m.read(g + status, 4) if g else None
        if g is None or raw is None:
            continue
        function = symbols.describe(m.pointer(g + start) or 0)
        at = session.pc if g == current else m.pointer(g + pc) or 0
        paper.print(
            f"{'*' if g == current else ' '} goroutine {m.u64(g + goid) or 0}  "
            f"{g_status(int.from_bytes(raw, 'little'))}  {plain(function)}  {dim(plain('at ' + symbols.describe(at)))}",
            wrap=False,
        )


def memory(session: Session, paper: Paper, address: int, count: int) -> None:
    """Print words of memory. Raises `XrayError` where there is none."""
    size = session.process.machine.arch.word
    for i in range(0, count, _WORDS_IN_LINE):
        words = [session.scope.word(address + size * (i + j)) for j in range(min(_WORDS_IN_LINE, count - i))]
        text = "  ".join(f"{w:#0{2 * size + 2}x}" for w in words)
        names = ", ".join(filter(None, (session.scope.name_of(w) for w in words if w)))
        paper.print(f"{address + size * i:#x}: {text}" + (green(plain(f"  {names}")) if names else ""), wrap=False)
