"""The prompt of `gort xray --step`: it understands the words of gdb and of dlv, and their beginnings.

Commands are methods `do_…`; `_WORDS` has the words for each. An empty line repeats the last command. The prompt reads
from a file as well (`gort xray FILE --step < commands`), and ends where that ends.
"""

from __future__ import annotations

import sys

from gort.xray.ask.expression import Expression, show
from gort.xray.ask.places import find_place
from gort.xray.boot.follow import Options, Static
from gort.xray.errors import XrayError
from gort.xray.show.paper import Paper, bold, plain
from gort.xray.step import looks
from gort.xray.step.session import Quit, Session, Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_WORDS = 512

_WORDS: dict[str, tuple[str, str]] = {
    "step": ("step s", "to the next source line, into calls"),
    "next": ("next n", "to the next source line of this function"),
    "stepi": ("stepi si step-instruction", "one instruction"),
    "nexti": ("nexti ni next-instruction", "one instruction, over calls"),
    "finish": ("finish fin stepout so", "until this function has returned"),
    "go_on": ("continue c cont", "to a breakpoint, or to the end"),
    "back_step": ("reverse-step rs", "back to the line before"),
    "back_next": ("reverse-next rn", "back to the line before in this function"),
    "back_stepi": ("reverse-stepi rsi", "back one instruction"),
    "back_nexti": ("reverse-nexti rni", "back one instruction, over calls"),
    "back_finish": ("reverse-finish rf", "back to where this function was called"),
    "back_go_on": ("reverse-continue rc rewind rw", "back to a breakpoint, or to the start"),
    "rev": ("rev", "rev step, rev next …: as reverse-step, reverse-next"),
    "goto": ("goto", "goto N: to instruction N, forwards or back"),
    "restart": ("restart r run start", "back to the first instruction"),
    "break_": ("break b", "break main.main | hello.go:10 | 0x47f7a0: stop there"),
    "tbreak": ("tbreak tb", "the same, once"),
    "watch": ("watch w", "watch runtime.gomaxprocs: stop where it has changed"),
    "delete": ("delete d clear", "delete N: forget a breakpoint"),
    "info": ("info i", "info breakpoints | registers | threads | goroutines"),
    "breakpoints": ("breakpoints bp", "the breakpoints"),
    "print_": ("print p", "print runtime.sched.maxmcount | $rsp | *runtime.g0.m"),
    "examine": ("x examinemem", "x/4 0x577448: words of memory"),
    "registers": ("registers regs", "the registers"),
    "backtrace": ("backtrace bt stack where", "the calls that are open"),
    "threads": ("threads thr", "the threads"),
    "goroutines": ("goroutines grs", "the goroutines"),
    "list_": ("list l ls", "the source here"),
    "disassemble": ("disassemble disass disas", "the code here"),
    "output": ("output", "what the program has written"),
    "when": ("when", "where it is: the number of this instruction"),
    "help": ("help h", "these words"),
    "quit": ("quit q exit", "leave"),
}
"""Command -> its words, the first of which is its name, and what it does."""

_NAMES = {word: command for command, (words, _) in _WORDS.items() for word in words.split()}


class Prompt:
    """Reads commands and does them. `read` returns the next line, or None at the end."""

    def __init__(self, read: Callable[[str], str | None], paper: Paper) -> None:
        self._read = read
        self._paper = paper
        self._last = ""
        self._count = 0
        """Breakpoints so far."""
        self._session: Session

    def __call__(self, session: Session) -> None:
        """The run has stopped: take commands until one lets it go on."""
        self._session = session
        looks.where(session, self._paper)
        while True:
            line = self._read("(xray) ")
            if line is None:
                raise Quit
            line = line.strip() or self._last
            if not line or line.startswith("#"):
                continue
            self._last = line
            try:
                if self._command(line):
                    return
            except XrayError as exc:
                self._paper.print(plain(str(exc)))

    def _command(self, line: str) -> bool:
        """Do a command. Returns True when the run goes on. Raises `XrayError` for one that is not understood."""
        word, _, rest = line.partition(" ")
        word, slash, form = word.partition("/")
        command = _NAMES.get(word)
        if command is None:
            found = sorted({c for name, c in _NAMES.items() if name.startswith(word)})
            if len(found) != 1:
                meant = f": {', '.join(_WORDS[c][0].split()[0] for c in found)}?" if found else " (help lists them)"
                raise XrayError(f"{word} is no command{meant}")
            command = found[0]
        if self._session.ended is not None and command in _NEED_A_RUN:
            raise XrayError("the program has ended: go back (reverse-step, reverse-continue), or restart")
        done: bool | None = getattr(self, f"do_{command}")(f"{slash}{form} {rest}".strip() if slash else rest.strip())
        return bool(done)

    # -- going on ----------------------------------------------------------------------------------------------

    def do_step(self, _: str) -> bool:
        """Go on to another line of the same goroutine, or of the same thread where there is none."""
        session, here = self._session, self._session.place(self._session.pc)

        def rule(pc: int) -> bool:
            position = session.position(pc)
            if not position[1] or position == here.position:
                return False
            return session.owner() == here.owner

        session.go_on(rule)
        return True

    def do_next(self, _: str) -> bool:
        """Go on to another line in the same frame, or in one that called it."""
        session, here = self._session, self._session.place(self._session.pc)

        def rule(pc: int) -> bool:
            if session.position(pc) == here.position:
                return False
            now = session.place(pc)
            return now.g == here.g and now.depth <= here.depth and now.inlined <= here.inlined

        session.go_on(rule)
        return True

    def do_stepi(self, _: str) -> bool:
        """Go on to the thread's next instruction."""
        session, thread = self._session, self._session.process.current
        session.go_on(lambda _pc: session.process.current is thread)
        return True

    def do_nexti(self, _: str) -> bool:
        """Go on to the next instruction of this frame, or of one that called it."""
        session, here = self._session, self._session.place(self._session.pc)

        def rule(pc: int) -> bool:
            now = session.place(pc)
            return now.g == here.g and now.depth <= here.depth

        session.go_on(rule)
        return True

    def do_finish(self, _: str) -> bool:
        """Go on until the frame is gone."""
        session, here = self._session, self._session.place(self._session.pc)

        def rule(pc: int) -> bool:
            now = session.place(pc)
            return now.g == here.g and now.depth < here.depth

        session.go_on(rule)
        return True

    def do_go_on(self, _: str) -> bool:
        """Go on to a breakpoint."""
        self._session.go_on()
        return True

    # -- going back --------------------------------------------------------------------------------------------

    def do_back_step(self, _: str) -> None:
        """Go back to where the line before began."""
        session = self._session
        owner = session.place(session.pc).owner if session.ended is None else session.process.current.tid
        session.back(lambda _pc: session.owner() == owner, segments=True)

    def do_back_next(self, _: str) -> None:
        """Go back to where the line before in this frame began."""
        session = self._session
        here = session.place(session.pc)

        def rule(pc: int) -> bool:
            now = session.place(pc)
            return now.g == here.g and now.depth <= here.depth and now.inlined <= here.inlined

        session.back(rule, segments=True)

    def do_back_stepi(self, _: str) -> None:
        """Go back to the thread's instruction before."""
        session, tid = self._session, self._session.process.current.tid
        session.back(lambda _pc: session.process.current.tid == tid)

    def do_back_nexti(self, _: str) -> None:
        """Go back to the instruction before in this frame."""
        session = self._session
        here = session.place(session.pc)

        def rule(pc: int) -> bool:
            now = session.place(pc)
            return now.g == here.g and now.depth <= here.depth

        session.back(rule)

    def do_back_finish(self, _: str) -> None:
        """Go back to the call of this function."""
        session = self._session
        here = session.place(session.pc)

        def rule(pc: int) -> bool:
            now = session.place(pc)
            return now.g == here.g and now.depth < here.depth

        session.back(rule)

    def do_back_go_on(self, _: str) -> None:
        """Go back to the last breakpoint."""
        self._session.back(self._session.at_stop, everywhere=True)

    def do_rev(self, rest: str) -> bool:
        """Do a command of dlv's `rev`."""
        return self._command(f"reverse-{ {'c': 'continue', 's': 'step', 'n': 'next'}.get(rest, rest) }")

    def do_goto(self, rest: str) -> bool:
        """Go to an instruction by its number."""
        self._session.go_to(_number(rest.replace(",", "")))
        return True

    def do_restart(self, _: str) -> bool:
        """Go back to the first instruction."""
        self._session.go_to(1)
        return True

    # -- breakpoints -------------------------------------------------------------------------------------------

    def do_break_(self, rest: str, temporary: bool = False) -> None:
        """Add a breakpoint."""
        session = self._session
        place = find_place(rest, session.static.symbols, "break") if rest else None
        addresses = place.addresses if place is not None else [session.pc]
        self._count += 1
        session.add(Stop(self._count, rest or hex(session.pc), addresses, temporary=temporary))
        at = session.static.symbols.where(addresses[0])
        more = f" and {len(addresses) - 1} places more" if len(addresses) > 1 else ""
        self._paper.print(plain(f"breakpoint {self._count} at {addresses[0]:#x} {at}{more}"))

    def do_tbreak(self, rest: str) -> None:
        """Add a breakpoint that stops once."""
        self.do_break_(rest, temporary=True)

    def do_watch(self, rest: str) -> None:
        """Stop where a variable changes."""
        expression = Expression(rest, self._session.scope)
        self._count += 1
        self._session.add(Stop(self._count, rest, expression=expression))
        self._paper.print(plain(f"watch {self._count}: {rest}"))

    def do_delete(self, rest: str) -> None:
        """Forget a breakpoint, or all."""
        stops = [s for s in self._session.stops if not rest or s.number == _number(rest)]
        if not stops:
            raise XrayError(f"there is no breakpoint {rest}")
        for stop in stops:
            self._session.remove(stop)

    def do_breakpoints(self, _: str) -> None:
        """Print the breakpoints."""
        for s in self._session.stops:
            kind = "watch" if s.expression else "temporary" if s.temporary else "breakpoint"
            at = ", ".join(f"{a:#x}" for a in s.addresses[:4])
            self._paper.print(plain(f"{s.number:>3}  {kind}  {s.text}  {at}  hit {s.hits} times"))

    # -- looking -----------------------------------------------------------------------------------------------

    def do_info(self, rest: str) -> None:
        """Print one of several lists."""
        lists = {
            "breakpoints": self.do_breakpoints,
            "registers": self.do_registers,
            "threads": self.do_threads,
            "goroutines": self.do_goroutines,
        }
        found = [show_ for name, show_ in lists.items() if rest and name.startswith(rest)]
        if len(found) != 1:
            raise XrayError(f"info {rest}: give one of {', '.join(lists)}")
        found[0]("")

    def do_print_(self, rest: str) -> None:
        """Print a value."""
        value = Expression(rest, self._session.scope).value()
        kind = f" {value.type.name}" if value.type.name != "?" else ""
        self._paper.print(plain(f"{show(self._session.scope, value)}{kind}"), wrap=False)

    def do_examine(self, rest: str) -> None:
        """Print memory."""
        count = 1
        if rest.startswith("/"):
            form, _, rest = rest[1:].partition(" ")
            count = min(_number("".join(c for c in form if c.isdigit()) or "1"), _MAX_WORDS)
        value = Expression(rest.strip(), self._session.scope).value()
        address = value.number if value.address is None else value.address
        looks.memory(self._session, self._paper, address, count)

    def do_registers(self, _: str) -> None:
        """Print the registers."""
        looks.registers(self._session, self._paper)

    def do_backtrace(self, _: str) -> None:
        """Print the open calls."""
        looks.backtrace(self._session, self._paper)

    def do_threads(self, _: str) -> None:
        """Print the threads."""
        looks.threads(self._session, self._paper)

    def do_goroutines(self, _: str) -> None:
        """Print the goroutines."""
        looks.goroutines(self._session, self._paper)

    def do_list_(self, _: str) -> None:
        """Print the source."""
        looks.listing(self._session, self._paper)

    def do_disassemble(self, _: str) -> None:
        """Print the code."""
        looks.code(self._session, self._paper)

    def do_output(self, _: str) -> None:
        """Print what the program wrote."""
        self._paper.print(plain(bytes(self._session.process.files.output).decode("utf-8", "replace")), wrap=False)

    def do_when(self, _: str) -> None:
        """Print the number of the next instruction."""
        self._paper.print(f"instruction {self._session.number:,}")

    def do_help(self, _: str) -> None:
        """Print the commands."""
        for words, what in _WORDS.values():
            self._paper.print(f"{bold(f'{words:<30}')} {what}", wrap=False)

    def do_quit(self, _: str) -> None:
        """Leave."""
        raise Quit


_NEED_A_RUN = {
    "step", "next", "stepi", "nexti", "finish", "go_on", "back_next", "back_nexti", "back_finish", "backtrace",
    "registers", "list_", "disassemble",
}  # fmt: skip


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise XrayError(f"{text or 'nothing'} is no number") from None


def _from_terminal(prompt: str) -> str | None:
    """Returns a line from standard input; None at its end. From a file, the line is shown behind the prompt."""
    if sys.stdin.isatty():
        try:
            return input(prompt)
        except EOFError:
            return None
    line = sys.stdin.readline()
    if not line:
        return None
    sys.stdout.write(prompt + line if line.endswith("\n") else f"{prompt}{line}\n")
    return line


def debug(static: Static, options: Options, first: str = "") -> None:
    """Debug a file at the terminal. `first` is a place at which it stops first, else that is the first instruction.

    Raises `XrayError` for options that do not fit the file.
    """
    import contextlib
    import signal

    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # it gives input() its keys
    waiting = [f"tbreak {first}", "continue"] if first else []

    def read(prompt: str) -> str | None:
        return waiting.pop(0) if waiting else _from_terminal(prompt)

    session = Session(static, options, Prompt(read, Paper()))

    def interrupt(*_: object) -> None:
        session.interrupted = True

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        session.run()
    finally:
        signal.signal(signal.SIGINT, before)
