"""The emulator and the disassembler as C libraries: unicorn and capstone, called through ctypes without their bindings.

Their packages (`unicorn`, `capstone`) install them; only the library and the table of constants are taken from there.
To import the packages costs 60 ms, a third of the way from the command to runtime.main: they load the constants of
every processor and define a hundred classes. A package may be laid out otherwise: a distribution's, or one that
LIBUNICORN_PATH or LIBCAPSTONE_PATH leads elsewhere. Then the binding is imported, and asked for its library.

To open unicorn's library takes 10 ms, most of it in the dynamic linker. `preload` has a thread do that while the file is
read.

Invariants: a library whose version has another interface is refused with the remedy. A function has its argument types
set before it is called. A callback is held as long as the engine that calls it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from _thread import allocate_lock, start_new_thread

from gort.xray.errors import XrayError, require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

Insn = tuple[int, int, str, str]
"""address, size, mnemonic, operands of an instruction"""

_FILES = {
    "unicorn": {"linux": "libunicorn.so.2", "darwin": "libunicorn.2.dylib"},
    "capstone": {"linux": "libcapstone.so", "darwin": "libcapstone.dylib"},
}
_u32, _u64, _int, _ptr, _size = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
_UNICORN = {
    "uc_open": (_u32, _u32, _ptr),
    "uc_close": (_ptr,),
    "uc_emu_start": (_ptr, _u64, _u64, _u64, _size),
    "uc_emu_stop": (_ptr,),
    "uc_ctl": (_ptr, _u32),
    "uc_hook_add": (_ptr, _ptr, _int, _ptr, _ptr, _u64, _u64),
    "uc_mem_map": (_ptr, _u64, _size, _u32),
    "uc_mem_unmap": (_ptr, _u64, _size),
    "uc_mem_protect": (_ptr, _u64, _size, _u32),
    "uc_mem_read": (_ptr, _u64, _ptr, _size),
    "uc_mem_write": (_ptr, _u64, ctypes.c_char_p, _size),
    "uc_reg_read": (_ptr, _int, _ptr),
    "uc_reg_write": (_ptr, _int, _ptr),
    "uc_reg_read_batch": (_ptr, _ptr, _ptr, _int),
    "uc_context_alloc": (_ptr, _ptr),
    "uc_context_free": (_ptr,),
    "uc_context_save": (_ptr, _ptr),
    "uc_context_restore": (_ptr, _ptr),
    "uc_context_reg_read": (_ptr, _int, _ptr),
    "uc_context_reg_write": (_ptr, _int, _ptr),
}
_CAPSTONE = {
    "cs_open": (_int, _int, _ptr),
    "cs_close": (_ptr,),
    "cs_disasm": (_size, ctypes.c_char_p, _size, _u64, _size, _ptr),
    "cs_free": (_ptr, _size),
}
_CS_ARCH_ARM64, _CS_ARCH_X86, _CS_ARCH_RISCV = 1, 3, 15
_CS_MODE_ARM, _CS_MODE_32, _CS_MODE_64, _CS_MODE_RISCV64_COMPRESSED = 0, 1 << 2, 1 << 3, 1 << 1 | 1 << 2
_CS_MODES = {
    "amd64": (_CS_ARCH_X86, _CS_MODE_64),
    "386": (_CS_ARCH_X86, _CS_MODE_32),
    "arm64": (_CS_ARCH_ARM64, _CS_MODE_ARM),
    "riscv64": (_CS_ARCH_RISCV, _CS_MODE_RISCV64_COMPRESSED),
}
_CS_MAJOR = 5
_CS_INSN = struct.Struct("<4x4xQH24x32s160s14x")
"""struct cs_insn of capstone 5: id, address, size, bytes, mnemonic, operands, details."""

_lock = allocate_lock()
_libraries: dict[str, ctypes.CDLL] = {}
"""Package -> its library, once it is open. Written under `_lock`."""


def _find(name: str, places: list[str] | None = None) -> ModuleSpec | None:
    """Returns where the import system would find a module, or None. Imports nothing."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, places) if find is not None else None
        if spec is not None:
            return spec
    return None


def _places(package: str) -> list[str]:
    """Returns the directories of a package; none when it is not installed."""
    spec = _find(package)
    return list((spec.submodule_search_locations if spec is not None else None) or ())


def _path(package: str) -> str | None:
    """Returns the library's file where the package's wheel puts it, or None when the binding has to be asked."""
    file = _FILES[package].get(sys.platform)
    if file is None or f"LIB{package.upper()}_PATH" in os.environ:
        return None
    for place in _places(package):
        path = os.path.join(place, "lib", file)
        if os.path.exists(path):
            return path
    return None


def _open(package: str) -> ctypes.CDLL:
    path = _path(package)
    if path is not None:
        try:
            return ctypes.CDLL(path)
        except OSError as exc:
            raise XrayError(f"{path} cannot be loaded ({exc}): pip install -U {package}") from exc
    module = require(package)
    try:
        if package == "capstone":
            return ctypes.CDLL(module._cs._name)
        return ctypes.CDLL(require("unicorn.unicorn_py3.unicorn").uclib._name)
    except (AttributeError, OSError) as exc:
        raise XrayError(f"there is no library in the {package!r} package: pip install -U {package}") from exc


def _library(package: str) -> ctypes.CDLL:
    """Returns the library, opened and with its argument types. Raises `XrayError` when there is none."""
    with _lock:
        library = _libraries.get(package)
        if library is None:
            library = _open(package)
            for name, types in (_UNICORN if package == "unicorn" else _CAPSTONE).items():
                getattr(library, name).argtypes = types
            _libraries[package] = library
    return library


def preload() -> None:
    """Open unicorn's library on another thread. A failure is not seen here: `_library` opens it again and raises."""
    path = _path("unicorn") if "unicorn" not in _libraries and os.name == "posix" else None
    if path is None:
        return
    # As a foreign function dlopen releases the GIL while it works; ctypes.CDLL does not.
    dlopen = getattr(ctypes.CDLL(None), "dlopen", None)
    if dlopen is not None:
        # The linker loads one library at a time. DWARF needs zlib soon: load it before the thread keeps the linker busy.
        import zlib  # noqa: F401

        dlopen.restype = _ptr
        start_new_thread(dlopen, (os.fsencode(path), os.RTLD_NOW))


def constants(module: str) -> ModuleType:
    """Returns a module of constants (`unicorn.x86_const`); the package that it is in is not imported if that can be."""
    package = module.partition(".")[0]
    places = _places(package)
    if places and _path(package) is not None:
        found = _find(module, places)
        if found is not None and found.loader is not None:
            made = type(sys)(module)
            found.loader.exec_module(made)
            return made
    return require(module)


class Engine:
    """A processor of unicorn's. Each method raises `XrayError` when the library refuses; `start` and `read` do not."""

    def __init__(self, arch: int, mode: int) -> None:
        library = _library("unicorn")
        major, minor = _int(), _int()
        library.uc_version(ctypes.byref(major), ctypes.byref(minor))
        if (major.value, minor.value) < (2, 1) or major.value > 2:
            raise XrayError(f"it needs unicorn 2.1, not {major.value}.{minor.value}: pip install -U unicorn")
        handle = ctypes.c_void_p()
        self.library: ctypes.CDLL = library
        """For callers that cannot afford a method's call."""
        self.handle: ctypes.c_void_p = handle
        """The processor, as the library's functions want it."""
        self._callbacks: list[object] = []
        self._start = ctypes.PyDLL(library._name, handle=library._handle).uc_emu_start
        self._start.argtypes = _UNICORN["uc_emu_start"]
        self._check(library.uc_open(arch, mode, ctypes.byref(handle)), "a processor")
        emu_stop = library.uc_emu_stop
        self.stop: Callable[[], object] = lambda: emu_stop(handle)
        """Leave `start` after this instruction."""

    def __del__(self) -> None:
        handle, self.handle = getattr(self, "handle", None), ctypes.c_void_p()
        if handle:
            self.library.uc_close(handle)

    def _check(self, status: int, what: str) -> None:
        if status != 0:
            raise XrayError(f"the emulator refuses {what}: {self.message(status)}")

    def message(self, status: int) -> str:
        """Returns the library's words for what went wrong."""
        text = self.library.uc_strerror
        text.restype = ctypes.c_char_p
        return (text(_int(status)) or b"?").decode("ascii", "replace")

    def start(self, pc: int, until: int) -> int:
        """Run. Returns 0, or the number of what went wrong.

        The GIL is kept. The hooks, which are called every few instructions, would take it each time; and they are
        Python, so other threads get their turn in them.
        """
        return int(self._start(self.handle, pc, until, 0, 0))

    # -- memory ------------------------------------------------------------------------------------------------

    def map(self, address: int, size: int, protection: int) -> None:
        """Give the processor memory there."""
        self._check(self.library.uc_mem_map(self.handle, address, size, protection), f"memory at {address:#x}")

    def unmap(self, address: int, size: int) -> None:
        """Take memory away."""
        self._check(self.library.uc_mem_unmap(self.handle, address, size), f"to unmap {address:#x}")

    def protect(self, address: int, size: int, protection: int) -> None:
        """Change what the program may do with memory."""
        self._check(self.library.uc_mem_protect(self.handle, address, size, protection), f"to protect {address:#x}")

    def write(self, address: int, data: bytes) -> None:
        """Write to memory, protected or not."""
        self._check(self.library.uc_mem_write(self.handle, address, data, len(data)), f"to write at {address:#x}")

    def read(self, address: int, n: int) -> bytes | None:
        """Returns `n` bytes of memory, or None when they are not all there."""
        buffer = ctypes.create_string_buffer(n)
        if self.library.uc_mem_read(self.handle, address, buffer, n) != 0:
            return None
        return buffer.raw

    # -- hooks -------------------------------------------------------------------------------------------------

    def hook(
        self,
        kind: int,
        result: type[Any] | None,
        arguments: tuple[type[Any], ...],
        function: Callable[..., object],
        begin: int = 1,
        end: int = 0,
        *more: int,
        short: bool = False,
        over: Callable[[int], tuple[int, int] | None] | None = None,
    ) -> None:
        """Have `function` called, between addresses `begin` and `end` (begin behind end: everywhere).

        `arguments` are the C types between the engine and the user's word, which is the last argument. A `short`
        function takes no user's word, which saves its conversion. `over` gets the function's address. It returns the
        address of machine code that is called in its place, and that code's user's word; or None to have none.
        """
        callback = ctypes.CFUNCTYPE(result, _ptr, *arguments, *(() if short else (_ptr,)))(function)
        self._callbacks.append((callback, over))
        called = ctypes.cast(callback, _ptr)
        instead = over(called.value or 0) if over is not None else None
        made = _size()
        status = self.library.uc_hook_add(
            self.handle,
            ctypes.byref(made),
            kind,
            called if instead is None else _ptr(instead[0]),
            None if instead is None else _ptr(instead[1]),
            begin,
            end,
            *(_int(m) for m in more),
        )
        self._check(status, "a hook")

    # -- registers of threads that do not run ------------------------------------------------------------------

    def context(self) -> Context:
        """Returns a copy of all registers."""
        made = Context(self)
        self.save(made)
        return made

    def save(self, context: Context) -> None:
        """Copy all registers into the context."""
        self._check(self.library.uc_context_save(self.handle, context.handle), "to save registers")

    def restore(self, context: Context) -> None:
        """Copy the context into the processor's registers."""
        self._check(self.library.uc_context_restore(self.handle, context.handle), "to restore registers")


class Context:
    """The registers of a thread, outside of the processor."""

    def __init__(self, engine: Engine) -> None:
        self._library = engine.library
        self.handle: ctypes.c_void_p = ctypes.c_void_p()
        status = self._library.uc_context_alloc(engine.handle, ctypes.byref(self.handle))
        if status != 0:
            raise XrayError(f"the emulator has no memory for a thread's registers: {engine.message(status)}")

    def __del__(self) -> None:
        handle, self.handle = getattr(self, "handle", None), ctypes.c_void_p()
        if handle:
            self._library.uc_context_free(handle)

    def reg(self, number: int) -> int:
        """Returns the register of that number."""
        word = _u64()
        self._library.uc_context_reg_read(self.handle, number, ctypes.byref(word))
        return word.value

    def set_reg(self, number: int, value: int) -> None:
        """Change the register of that number."""
        word = _u64(value & (2**64 - 1))
        self._library.uc_context_reg_write(self.handle, number, ctypes.byref(word))


def _names(binding: Any, arch: str) -> tuple[int, int]:
    """Returns capstone's numbers of a processor, as this version of the binding has them."""
    if arch == "riscv64":
        return binding.CS_ARCH_RISCV, binding.CS_MODE_RISCV64 | binding.CS_MODE_RISCVC
    if arch == "arm64":
        return binding.CS_ARCH_ARM64, binding.CS_MODE_ARM
    return binding.CS_ARCH_X86, binding.CS_MODE_32 if arch == "386" else binding.CS_MODE_64


class Decoder:
    """Machine code as text, by capstone. Raises `XrayError` when it is not installed or knows no such processor."""

    def __init__(self, arch: str) -> None:
        if arch not in _CS_MODES:
            raise XrayError(f"the calls in code for {arch} are not read: there is no disassembler for it here")
        self._slow: Any = None
        """The binding's disassembler, where it is used."""
        library = self._library = _library("capstone")
        self._disasm = library.cs_disasm
        self._disasm.restype = _size
        self._list = ctypes.c_void_p()
        self._at = ctypes.byref(self._list)
        self._free = library.cs_free
        self._free.restype = None
        self._cs = _size()
        major = _int()
        library.cs_version(ctypes.byref(major), ctypes.byref(_int()))
        if major.value != _CS_MAJOR:  # its structures are laid out otherwise: the binding knows how
            binding = require("capstone")
            self._slow = binding.Cs(*_names(binding, arch))
            return
        status = library.cs_open(*_CS_MODES[arch], ctypes.byref(self._cs))
        if status != 0:
            raise XrayError(f"capstone cannot disassemble {arch} (error {status}): pip install -U capstone")

    def __del__(self) -> None:
        if getattr(self, "_cs", None):
            self._library.cs_close(ctypes.byref(self._cs))

    def instructions(self, code: bytes, address: int) -> list[Insn]:
        """Returns the instructions up to the first bytes that are none."""
        if self._slow is not None:
            return list(self._slow.disasm_lite(code, address))
        found = self._disasm(self._cs, code, len(code), address, 0, self._at)
        if not found:
            return []
        raw = ctypes.string_at(self._list.value or 0, found * _CS_INSN.size)
        self._free(self._list, found)
        return [
            (at, size, mnemonic.partition(b"\0")[0].decode("ascii"), operands.partition(b"\0")[0].decode("ascii"))
            for at, size, mnemonic, operands in _CS_INSN.iter_unpack(raw)
        ]
