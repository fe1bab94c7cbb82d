"""gort xray: the boot of a real Go executable, read and emulated, never run. It knows nothing of gort's own runtime.

From the file to the report, room by room; a room uses only those before it:

- file: `open` picks a reader (elf, macho, pe) and makes an image. gobuild, pclntab, symbols and dwarf read what Go put
  into it.
- emulate: the processor (machine, memory, native, arch, clock, disasm), and a process on it (process, thread, signals,
  vfs).
- systems: what a program sees of Linux, darwin and windows; `system` is their base. layout: where the runtime's
  structures lie (layout, known_layouts, globals), and their contents (state).
- ask: questions of a user: places, expressions, watched variables (places, expression, watch, frames, tabletypes).
- boot: what is watched, and the stations that come of it (watchlist, pieces, chains, stations, recorder); calltree is
  the boot as the code alone tells it. `follow.xray` puts everything together.
- show: the report as text, JSON and a page, beside gort's own boot, and how long it takes; lists; two builds compared.
- step: the debugger (session, looks, prompt).

Nothing is imported here, so `gort xray --help` works without the libraries of the extra.
"""
