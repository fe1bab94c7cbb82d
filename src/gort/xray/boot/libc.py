"""The functions of libc that `_cgo_init` calls: they become its station's note.

The program reaches a library's function through a slot (of its GOT), which the loader fills. A slot that is not filled
yet leads to a stub of the program, which has the loader do so at the first call. Either way a call arrives at the
address that the slot holds, so that is watched. On arm64 all slots lead to one stub, and X16 holds the slot's address.
"""

from __future__ import annotations

from gort.xray.boot.stations import Station
from gort.xray.emulate.machine import Machine
from gort.xray.file.image import Image

_SKIPS_SETTLS = "runtime.settls and its check are skipped: libc has set up thread-local storage"


class LibcCalls:
    """Writes into the note of a station which functions of libraries are called, until `leave`."""

    def __init__(self, machine: Machine, image: Image, station: Station) -> None:
        self._machine = machine
        self._station = station
        self._called: dict[str, None] = {}
        self._watched: dict[int, dict[int, str]] = {}
        """Address -> (slot that holds it -> name)."""
        self._slot_register = "x16" if image.arch == "arm64" else ""
        station.note = _SKIPS_SETTLS if image.arch == "amd64" else ""
        for item in image.imports:
            address = machine.pointer(item.slot)
            if address in self._watched:
                self._watched[address][item.slot] = item.name
            elif address and machine.watched_at(address) is None:
                self._watched[address] = {item.slot: item.name}
                machine.watch_at(address, self._arrive)

    def _arrive(self, address: int) -> None:
        names = self._watched[address]
        if self._slot_register:
            name = names.get(self._machine.reg(self._slot_register))
        else:  # two names at one address are two names of one function
            name = next(iter(names.values()))
        if name is not None:
            self._called.setdefault(name)

    def leave(self) -> None:
        """Watch no more, and complete the note."""
        for address in self._watched:
            self._machine.unwatch(address)
        if self._called:
            said = f"calls {', '.join(self._called)}"
            self._station.note = f"{said}; {self._station.note}" if self._station.note else said
