"""Places in the code as a user names them: a function, an address, or a line of a source file."""

from __future__ import annotations

from gort.xray.errors import XrayError
from gort.xray.file.symbols import Symbols
from gort.xray.record import frozen

_MAX_SUGGESTED = 5000
_MAX_PLACES = 1000


@frozen
class Place:
    """A place: its text, and the addresses of the code that is there."""

    text: str
    addresses: list[int]
    """More than one where a line's code was inlined or instantiated several times."""
    function: bool
    """True for the beginning of a function, where its calls arrive."""


def find_place(text: str, symbols: Symbols, option: str = "--until") -> Place:
    """Returns the place that the text names. Raises `XrayError`, with suggestions, when there is none.

    It is `main.main`, `0x47f7a0`, `main.main+0x12` or `hello.go:10`. Where a function has an ABI wrapper it is the
    function itself, at which gdb's breakpoint would be.
    """
    func = symbols.func(text)
    if func is not None:
        return Place(text, [func.entry], True)
    if text.startswith("0x"):
        return _address(text, symbols, option)
    name, plus, offset = text.rpartition("+")
    if plus and offset.startswith("0x"):
        func = symbols.func(name)
        if func is None:
            raise XrayError(f"{option} {text}: {_no_such(name, symbols)}")
        inside = _address(hex(func.entry + _hex(offset, text, option)), symbols, option)
        return Place(text, inside.addresses, inside.function)
    file, colon, line = text.rpartition(":")
    if colon and line.isdigit() and file:
        return _line(text, file, int(line), symbols, option)
    raise XrayError(f"{option} {text}: {_no_such(text, symbols)}")


def _hex(number: str, text: str, option: str) -> int:
    try:
        return int(number, 16)
    except ValueError:
        raise XrayError(f"{option} {text}: {number} is no number") from None


def _address(text: str, symbols: Symbols, option: str) -> Place:
    address = _hex(text, text, option)
    func = symbols.at(address) or symbols.at(address + symbols.image.bias)
    if func is None:
        raise XrayError(f"{option} {text}: there is no function of Go at this address")
    if not func.entry <= address < func.end:
        address += symbols.image.bias  # as the file has it
    return Place(text, [address], address == func.entry)


def _line(text: str, file: str, line: int, symbols: Symbols, option: str) -> Place:
    found, behind, known = symbols.tab.line_addresses(file, line)
    if found:
        return Place(text, found[:_MAX_PLACES], False)
    if not known:
        raise XrayError(f"{option} {text}: no code comes from a file of this name")
    after = f"; the next line that has some is {behind}" if behind else ", and none behind it has"
    raise XrayError(f"{option} {text}: line {line} has no code{after}")


def _no_such(name: str, symbols: Symbols) -> str:
    import difflib

    prefix = name.rpartition(".")[0]
    known = [f.name for f in symbols.tab.names(prefix + "." if prefix else "main.")[:_MAX_SUGGESTED]]
    close = difflib.get_close_matches(name, known, 3)
    if close:
        return f"no such function in the file; did you mean {', '.join(close)}?"
    return "no such function in the file (use the full name, as main.main or runtime.schedinit)"
