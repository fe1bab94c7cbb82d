"""gort xray: the boot of a real Go executable, read and emulated, never run. It knows nothing of gort's own runtime.

From the file to the report: image (elf, macho, pe) and gobuild read the headers; pclntab, symbols and disasm find code
and names; layout (dwarf, known_layouts) and globals find the runtime's structures; machine and memory are the emulated
processor; process, linux, signals and vfs the emulated system (darwin, windows and imports for the others); state and
stations follow the boot; report, tojson, html and vs_gort tell it. `follow.xray` puts them together.

Nothing is imported here: `gort xray --help` works without the libraries of the extra.
"""
