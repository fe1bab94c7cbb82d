"""The machine code that counts blocks: its bytes, and that it does the same work as the Python function behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gort.xray.boot.follow import Options, xray
from gort.xray.emulate import blockhook
from gort.xray.emulate.clock import Clock
from gort.xray.emulate.machine import Machine
from gort.xray.emulate.memory import EXEC, PAGE, READ
from gort.xray.emulate.native import Decoder
from gort.xray.show.tojson import boot_data

pytestmark = pytest.mark.go

_LOOP = bytes.fromhex("48ffc9 7402 ebf9 f4")
"""dec rcx; jz to the hlt; jmp to the dec: two blocks a round, of two instructions and one."""
_FIRST = 0x200000
_SECOND = _FIRST + blockhook._INDEX + 1
"""An address whose blocks share their places in the table with those at `_FIRST`."""


def _calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list that gets the address of each block for which Python is called."""
    seen: list[int] = []
    make = Machine._make_block

    def counted(self: Machine) -> Callable[[object, int], None]:
        block = make(self)

        def hook(uc: object, address: int) -> None:
            seen.append(address)
            block(uc, address)

        return hook

    monkeypatch.setattr(Machine, "_make_block", counted)
    return seen


def _machine() -> Machine:
    machine = Machine("amd64", 1 << 20, Clock())
    for address in (_FIRST, _SECOND):
        machine.memory.load(address, PAGE, READ | EXEC, _LOOP)
    return machine


def _run(machine: Machine, address: int, rounds: int, until: int = 1 << 40) -> int:
    """Run the loop; returns the instructions that were counted."""
    before = machine.instructions
    machine.set_reg("rcx", rounds)
    machine.last_address = address + len(_LOOP) - 1
    machine.run(address, until, lambda: None)
    return machine.instructions - before


def test_the_bytes_are_the_instructions_beside_them() -> None:
    code = bytes.fromhex("".join(octets for octets, _ in blockhook._CODE))
    decoded = [f"{mnemonic} {operands}".strip() for _, _, mnemonic, operands in Decoder("amd64").instructions(code, 0)]
    assert decoded == [text for _, text in blockhook._CODE]
    assert hex(blockhook._INDEX) in decoded[7]
    assert decoded[10].endswith(hex(blockhook._COUNT_BITS))


@pytest.mark.parametrize("native", [True, False])
def test_blocks_are_counted_and_slices_end(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if native and not blockhook.has_code():
        pytest.skip("there is no machine code for this host")
    monkeypatch.setattr(blockhook, "has_code", lambda: native)
    seen = _calls(monkeypatch)
    machine = _machine()
    assert _run(machine, _FIRST, 1000) == 3 * 1000 - 1
    assert (len(seen) < 10) == native
    assert _run(machine, _FIRST, 1000, machine.instructions + 499) == 500  # the slice ends after a whole block
    assert machine.reg("rcx") == 1000 - 167


def test_two_blocks_with_one_place_are_told_apart() -> None:
    machine = _machine()
    for _ in range(3):
        for address in (_FIRST, _SECOND):
            assert _run(machine, address, 100) == 3 * 100 - 1


def test_what_is_watched_later_is_seen() -> None:
    machine = _machine()
    _run(machine, _FIRST, 100)
    seen: list[int] = []
    machine.watch_at(_FIRST, seen.append)
    assert _run(machine, _FIRST, 100) == 3 * 100 - 1
    assert seen == [_FIRST] * 100
    machine.unwatch(_FIRST)
    _run(machine, _FIRST, 100)
    assert len(seen) == 100


def test_the_report_is_the_same_without_machine_code(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def report() -> dict[str, Any]:
        with xray(hello, Options(until="exit", cpus=2)) as found:
            assert found.boot is not None
            return boot_data(found.boot)

    native = blockhook.has_code()
    seen = _calls(monkeypatch)
    one = report()
    with_code = len(seen)
    monkeypatch.setattr(blockhook, "has_code", lambda: False)
    seen.clear()
    two = report()
    assert one == two
    if native:
        assert with_code * 2 < len(seen)
