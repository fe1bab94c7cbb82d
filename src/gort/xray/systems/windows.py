"""windows: the functions of kernel32 and its like that a Go program calls while it boots.

Follows runtime/os_windows.go, which lists them, and what a program reads without a call: the thread's block (TEB), at
GS on amd64 and in X18 on arm64, with thread-local slots and the last error at fixed places; and the page that the
kernel shares with every process, from which Go reads the time. Handles are small numbers; behind them are events,
threads and timers to wait for.

Suspending threads, exceptions and I/O completion are not emulated beyond what a boot needs. So a goroutine that spins
is not preempted. A function that is not here ends the run with its name.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.arch import ARM64
from gort.xray.emulate.memory import ANY, EXEC, NONE, PAGE, READ, WRITE, whole_pages
from gort.xray.emulate.process import Process
from gort.xray.emulate.thread import Wait
from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.record import record
from gort.xray.systems.calls import BLOCKED, MAX_TRANSFER, YIELDED, Observer
from gort.xray.systems.library import FIRST_BLOCK, Convention, LibrarySystem
from gort.xray.systems.system import STACK_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.xray.systems.calls import Handler

_CONVENTION = Convention(
    library="kernel32",
    argument_registers={"amd64": ("rcx", "rdx", "r8", "r9"), "arm64": ARM64.call_args},
    block_registers={"amd64": "gs_base", "arm64": "x18"},
    block_size=16384,
    stack_size=256 << 10,
    stack_gap=256,
    exit="ExitThread",
)
_SHADOW_SPACE = 32
"""Bytes that a caller leaves on the stack for the arguments that are in registers (amd64)."""

# The thread's block, and the process's block (PEB) that it points at.
_TEB_PEB, _TEB_LAST_ERROR = 0x60, 0x68
_PEB = 0x3000
"""Offset of the process's block in the thread's block; nothing in it is read."""
_TLS_SLOTS = 64
_STRINGS = FIRST_BLOCK + _CONVENTION.block_size
"""Address of environment and command line."""
_STRINGS_SIZE = 262144
_MAX_STRINGS = 250_000
_MAX_NAME = 256

# The page that the kernel shares with every process (KUSER_SHARED_DATA).
_SHARED = 0x7FFE0000
_INTERRUPT_TIME, _SYSTEM_TIME = 0x08, 0x14
_BUILD_NUMBER, _MAJOR_VERSION = 0x260, 0x26C
_TICK = 100
"""Nanoseconds in a unit of time."""
_UNIX_EPOCH = 116_444_736_000_000_000
"""1970 in ticks since 1601."""

_VERSION, _BUILD, _PLATFORM_NT = (10, 0), 19045, 2
_FREE_BUILD = 0xF0000000
_MACHINE_AMD64, _MACHINE_ARM64 = 9, 12
_PROCESSOR_TYPE, _PROCESSOR_LEVEL = 8664, 6
_MAX_CPUS = 64
_GRANULARITY = 65536
"""Addresses are reserved in steps of this."""
_HIGHEST_ADDRESS = 0x7FFFFFFEFFFF
_LARGEST_MAPPING = 1 << 46
_LIBRARY = 0x7FF800000000
"""The handle of every library."""

# Error numbers, and results with a meaning.
_FILE_NOT_FOUND, _INVALID_HANDLE, _NOT_ENOUGH_MEMORY, _INVALID_PARAMETER = 2, 6, 8, 87
_ENVVAR_NOT_FOUND = 203
_PROC_NOT_FOUND, _INVALID_ADDRESS, _WSASYSNOTREADY = 127, 487, 10091
_WAIT_TIMEOUT = 258
_INFINITE = 0xFFFFFFFF
_STATUS_NOT_IMPLEMENTED = 0xC0000002
_INVALID_HANDLE_VALUE = _CURRENT_PROCESS = _SOCKET_ERROR = (1 << 64) - 1

_MEM_COMMIT, _MEM_RESERVE, _MEM_RELEASE = 0x1000, 0x2000, 0x8000
_MEM_PRIVATE, _PAGE_READWRITE = 0x20000, 4
_PROTECTIONS = {
    0x01: NONE,  # PAGE_NOACCESS
    0x02: READ,  # PAGE_READONLY
    _PAGE_READWRITE: READ | WRITE,
    0x20: READ | EXEC,  # PAGE_EXECUTE_READ
    0x40: ANY,  # PAGE_EXECUTE_READWRITE
}
_STDIN, _STDOUT, _STDERR = 0x10, 0x14, 0x18
"""The handles of the standard files."""
_STD_HANDLES = {0xFFFFFFF6: _STDIN, 0xFFFFFFF5: _STDOUT, 0xFFFFFFF4: _STDERR}
"""-10, -11 and -12, as GetStdHandle wants them."""
_DESCRIPTORS = {_STDOUT: 1, _STDERR: 2}
_FILE_TYPE_UNKNOWN, _FILE_TYPE_CHAR = 0, 2
_FIRST_HANDLE = 0x100
_MAX_HANDLES = 4096
_MAX_WAIT_OBJECTS = 64

_RETURN_0 = (
    "FlsAlloc",
    "GetConsoleMode",
    "GetErrorMode",
    "GetVersion",
    "IsProcessorFeaturePresent",
    "PowerRegisterSuspendResumeNotification",
    "SetErrorMode",
    "SetFileCompletionNotificationModes",
    "WSAStartup",
    "WerGetFlags",
    "WerSetFlags",
    "timeBeginPeriod",
    "timeEndPeriod",
)
_RETURN_1 = (
    "AddVectoredContinueHandler",
    "AddVectoredExceptionHandler",
    "CloseHandle",
    "FreeEnvironmentStringsW",
    "FreeLibrary",
    "PostQueuedCompletionStatus",
    "SetConsoleCtrlHandler",
    "SetConsoleMode",
    "SetHandleInformation",
    "SetProcessPriorityBoost",
    "SetUnhandledExceptionFilter",
)
"""Functions that do nothing."""
_OPTIONAL = (
    "NtCreateWaitCompletionPacket",
    "NtAssociateWaitCompletionPacket",
    "NtCancelWaitCompletionPacket",
    "wine_get_version",
)
"""Functions that are not found, and that Go does without."""


@record
class Object:
    """The thing behind a handle. Only events and timers are ever signaled."""

    signaled: bool = False
    manual: bool = False
    """True when a wait leaves the object signaled."""
    due: int | None = None
    """The time at which a timer will be signaled, on the virtual clock."""


class Windows(LibrarySystem):
    """windows. A method w_NAME answers the function of that name; its arguments are words."""

    def __init__(self, process: Process, observer: Observer | None = None) -> None:
        super().__init__(process, observer, _CONVENTION)
        self._objects: dict[int, Object] = {}
        self._next_handle = _FIRST_HANDLE
        self._slots = 0
        """Thread-local slots in use."""
        self._variables: dict[str, str] = {}
        """The environment, by upper-case names: windows does not tell cases apart."""
        self._env = 0
        self._command = 0

    def _functions(self) -> dict[str, Handler]:
        found = {**dict.fromkeys(_RETURN_0, self._zero), **dict.fromkeys(_RETURN_1, self._one)}
        found.update(self.methods("w_"))
        return found

    def _prepare(self, image: Image, argv: list[str], env: list[str]) -> None:
        m, memory = self.machine, self.machine.memory
        if memory.is_free(image.base, PAGE):
            memory.load(image.base, PAGE, READ, image.data[: min(image.size, PAGE)])
        memory.load(FIRST_BLOCK, _CONVENTION.block_size, READ | WRITE, b"")
        memory.load(_SHARED, PAGE, READ | WRITE, b"")
        memory.load(_STRINGS, _STRINGS_SIZE, READ | WRITE, b"")
        m.write(_SHARED + _MAJOR_VERSION, struct.pack("<II", *_VERSION))
        m.write_u32(_SHARED + _BUILD_NUMBER, _BUILD)
        self.before_slice()
        self._make_block(FIRST_BLOCK, self.machine.arch.stack_top - STACK_SIZE, STACK_SIZE)
        self.imports.bind(image)
        self._write_strings(argv, env)
        sp = self.machine.arch.stack_top - 256
        leave = self.imports.place(_CONVENTION.exit)
        if self.is_amd64:
            sp -= 8
            m.write_u64(sp, leave)
        else:
            m.set_reg(m.arch.link, leave)
        m.set_reg(self._block_register, FIRST_BLOCK)
        m.set_reg(m.arch.sp, sp)

    def _write_strings(self, argv: list[str], env: list[str]) -> None:
        for item in env:
            name, _, value = item.partition("=")
            self._variables[name.upper()] = value
        environment = ("\0".join(env) + "\0\0").encode("utf-16-le", "replace")
        command = (" ".join(argv) + "\0").encode("utf-16-le", "replace")
        if len(environment) + len(command) > _MAX_STRINGS:
            raise XrayError("the arguments and environment are longer than 128 KiB")
        self._env = _STRINGS
        self._command = self._env + len(environment) + 16 & ~15
        self.machine.write(self._env, environment)
        self.machine.write(self._command, command)

    def before_slice(self) -> None:
        """Set the times in the shared page: 64 bits as low half, high half, and the high half once more."""
        times = (
            (_INTERRUPT_TIME, self.clock.now // _TICK),
            (_SYSTEM_TIME, self.clock.wall // _TICK + _UNIX_EPOCH),
        )
        for offset, value in times:
            low, high = value & 0xFFFFFFFF, value >> 32
            self.machine.write(_SHARED + offset, struct.pack("<III", low, high, high))

    def _make_block(self, block: int, stack: int, stack_size: int) -> None:
        # No exception list, then the stack's upper and lower end; the block's own address is the seventh word.
        self.machine.write(block, struct.pack("<QQQQQQQ", 0, stack + stack_size, stack, 0, 0, 0, block))
        self.machine.write_u64(block + _TEB_PEB, block + _PEB)

    def _fail(self, error: int) -> int:
        self.machine.write_u32(self._block + _TEB_LAST_ERROR, error)
        return 0

    def _handle(self, item: Object) -> int:
        if len(self._objects) > _MAX_HANDLES:
            return self._fail(_NOT_ENOUGH_MEMORY)
        self._next_handle += 4
        self._objects[self._next_handle] = item
        return self._next_handle

    def _argument(self, args: tuple[int, ...], index: int) -> int:
        """Returns an argument that may be behind those in registers."""
        registers = len(self.imports.registers)
        if index < registers:
            return args[index]
        return self.imports.stack_argument(index - registers, _SHADOW_SPACE if self.is_amd64 else 0)

    def _wide(self, address: int) -> str:
        """Returns the text in 16-bit characters at an address, of at most 256 bytes."""
        raw = b""
        while len(raw) < _MAX_NAME and (pair := self.machine.read(address + len(raw), 2)) not in (None, b"\0\0"):
            raw += pair or b""
        return raw.decode("utf-16-le", "replace")

    def _one(self, *_: int) -> int:
        return 1

    def _zero(self, *_: int) -> int:
        return 0

    # -- libraries -------------------------------------------------------------------------------------------

    def w_LoadLibraryExW(self, *_: int) -> int:
        return _LIBRARY

    def w_LoadLibraryExA(self, *_: int) -> int:
        return _LIBRARY

    def w_LoadLibraryW(self, *_: int) -> int:
        return _LIBRARY

    def w_LoadLibraryA(self, *_: int) -> int:
        return _LIBRARY

    def w_GetModuleHandleW(self, *_: int) -> int:
        return _LIBRARY

    def w_GetProcAddress(self, _library: int, name: int, *_: int) -> int:
        m = self.machine
        raw = (m.read(name, 64) or m.read(name, 16) or b"").partition(b"\0")[0]
        text = raw.decode("ascii", "replace")
        return self._fail(_PROC_NOT_FOUND) if text in _OPTIONAL or not text else self.imports.place(text)

    # -- the system and the process --------------------------------------------------------------------------

    def w_GetSystemDirectoryA(self, buf: int, size: int, *_: int) -> int:
        text = b"C:\\Windows\\System32"
        return len(text) if size > len(text) and self.machine.write(buf, text + b"\0") else 0

    def w_GetSystemDirectoryW(self, buf: int, size: int, *_: int) -> int:
        text = "C:\\Windows\\System32"
        return len(text) if size > len(text) and self.machine.write(buf, (text + "\0").encode("utf-16-le")) else 0

    def w_GetProcessAffinityMask(self, _process: int, mine: int, system: int, *_: int) -> int:
        mask = (1 << min(self.process.cpus, _MAX_CPUS)) - 1
        return int(self.machine.write_u64(mine, mask) and self.machine.write_u64(system, mask))

    def w_GetSystemInfo(self, out: int, *_: int) -> int:
        cpus = min(self.process.cpus, _MAX_CPUS)
        info = struct.pack(
            "<HHIQQQIIIHH",
            _MACHINE_AMD64 if self.is_amd64 else _MACHINE_ARM64,
            0,
            PAGE,
            _GRANULARITY,
            _HIGHEST_ADDRESS,
            (1 << cpus) - 1,
            cpus,
            _PROCESSOR_TYPE,
            _GRANULARITY,
            _PROCESSOR_LEVEL,
            0,
        )
        self.machine.write(out, info)
        return 0

    def w_RtlGetVersion(self, out: int, *_: int) -> int:
        self.machine.write(out + 4, struct.pack("<IIII", *_VERSION, _BUILD, _PLATFORM_NT))
        return 0

    def w_RtlGetNtVersionNumbers(self, major: int, minor: int, build: int, *_: int) -> int:
        for place, value in ((major, _VERSION[0]), (minor, _VERSION[1]), (build, _FREE_BUILD | _BUILD)):
            self.machine.write_u32(place, value)
        return 0

    def w_RtlGetCurrentPeb(self, *_: int) -> int:
        return FIRST_BLOCK + _PEB

    def w_GetEnvironmentStringsW(self, *_: int) -> int:
        return self._env

    def w_GetEnvironmentVariableW(self, name: int, buf: int, size: int, *_: int) -> int:
        value = self._variables.get(self._wide(name).upper())
        if value is None:
            return self._fail(_ENVVAR_NOT_FOUND)
        raw = (value + "\0").encode("utf-16-le", "replace")
        if len(raw) // 2 > size & 0xFFFFFFFF:
            return len(raw) // 2  # the room that is needed, with the zero at the end
        return len(raw) // 2 - 1 if self.machine.write(buf, raw) else 0

    def w_GetCommandLineW(self, *_: int) -> int:
        return self._command

    def w_GetCurrentProcessId(self, *_: int) -> int:
        return self.process.pid

    def w_GetCurrentProcess(self, *_: int) -> int:
        return _CURRENT_PROCESS

    def w_ExitProcess(self, status: int, *_: int) -> int:
        self.process.end("exit", status & 0xFF, "ExitProcess")
        return 0

    def w_ProcessPrng(self, buf: int, n: int, *_: int) -> int:
        return int(self.machine.write(buf, self.process.files.random_bytes(min(n, 1 << 16))))

    def w_SystemFunction036(self, *args: int) -> int:  # RtlGenRandom, which Go to 1.21 calls
        return self.w_ProcessPrng(*args)

    def w_QueryPerformanceCounter(self, out: int, *_: int) -> int:
        return int(self.machine.write_u64(out, self.clock.now // _TICK))

    def w_QueryPerformanceFrequency(self, out: int, *_: int) -> int:
        return int(self.machine.write_u64(out, 1_000_000_000 // _TICK))

    # -- memory ----------------------------------------------------------------------------------------------

    def w_VirtualAlloc(self, addr: int, size: int, kind: int, protect: int, *_: int) -> int:
        memory = self.machine.memory
        size = whole_pages(size)
        if not 0 < size < _LARGEST_MAPPING:
            return self._fail(_INVALID_PARAMETER)
        protection = _PROTECTIONS.get(protect & 0xFF, READ | WRITE)
        if kind & _MEM_RESERVE:
            start = addr & -_GRANULARITY
            if start and not memory.is_free(start, size):
                return self._fail(_INVALID_ADDRESS)
            if not start:
                start = memory.place(size + _GRANULARITY) + _GRANULARITY - 1 & -_GRANULARITY
            if not start or not memory.map(start, size, protection if kind & _MEM_COMMIT else NONE):
                return self._fail(_NOT_ENOUGH_MEMORY)
            return start
        start = addr & -PAGE
        end = addr + size + PAGE - 1 & -PAGE
        if memory.find(start) is None or memory.find(end - 1) is None:
            return self._fail(_INVALID_ADDRESS)
        memory.protect(start, end - start, protection)
        return start

    def w_VirtualFree(self, addr: int, size: int, kind: int, *_: int) -> int:
        memory = self.machine.memory
        area = memory.find(addr)
        if area is None:
            return self._fail(_INVALID_ADDRESS)
        if kind & _MEM_RELEASE:
            memory.unmap(addr, area.end - addr)
        else:  # MEM_DECOMMIT: the addresses stay reserved
            size = min(whole_pages(size), area.end - addr)
            memory.unmap(addr, size)
            memory.map(addr, size, NONE)
        return 1

    def w_VirtualQuery(self, addr: int, out: int, _size: int, *_: int) -> int:
        area = self.machine.memory.find(addr)
        place = self._places[self.process.current.tid]
        if place.stack <= addr < place.stack + place.stack_size:
            base, end = place.stack, place.stack + place.stack_size
        elif area is not None:
            base, end = area.start, area.end
        else:
            return self._fail(_INVALID_ADDRESS)
        page = addr & -PAGE
        info = struct.pack(
            "<QQIIQIII4x", page, base, _PAGE_READWRITE, 0, end - page, _MEM_COMMIT, _PAGE_READWRITE, _MEM_PRIVATE
        )
        return len(info) if self.machine.write(out, info) else 0

    # -- files -----------------------------------------------------------------------------------------------

    def w_GetStdHandle(self, which: int, *_: int) -> int:
        return _STD_HANDLES.get(which & 0xFFFFFFFF, 0)

    def w_GetFileType(self, handle: int, *_: int) -> int:
        """A standard file is a device, and GetConsoleMode says that it is no console."""
        return _FILE_TYPE_CHAR if handle in _STD_HANDLES.values() else _FILE_TYPE_UNKNOWN

    def w_WriteFile(self, handle: int, buf: int, n: int, written: int, *_: int) -> int:
        data = self.machine.read(buf, min(n & 0xFFFFFFFF, MAX_TRANSFER))
        fd = _DESCRIPTORS.get(handle)
        if data is None or fd is None:
            return self._fail(_INVALID_HANDLE)
        self.process.files.write(fd, data)
        if written:
            self.machine.write_u32(written, len(data))
        return 1

    def w_NtQueryInformationFile(self, *_: int) -> int:
        return _STATUS_NOT_IMPLEMENTED

    def w_CreateFileA(self, *_: int) -> int:
        self._fail(_FILE_NOT_FOUND)
        return _INVALID_HANDLE_VALUE

    def w_CreateFileW(self, *_: int) -> int:
        return self.w_CreateFileA()

    def w_WSAEnumProtocolsW(self, *_: int) -> int:
        self._fail(_WSASYSNOTREADY)
        return _SOCKET_ERROR

    # -- events and timers -----------------------------------------------------------------------------------

    def w_CreateEventA(self, _attributes: int, manual: int, initial: int, *_: int) -> int:
        return self._handle(Object(signaled=bool(initial & 0xFF), manual=bool(manual & 0xFF)))

    def w_CreateEventW(self, *args: int) -> int:
        return self.w_CreateEventA(*args)

    def w_CreateWaitableTimerExW(self, *_: int) -> int:
        return self._handle(Object())

    def w_CreateIoCompletionPort(self, *_: int) -> int:
        return self._handle(Object())

    def w_DuplicateHandle(self, _from: int, _handle: int, _to: int, out: int, *_: int) -> int:
        handle = self._handle(Object())
        return int(bool(handle) and self.machine.write_u64(out, handle))

    def w_SetWaitableTimer(self, handle: int, due: int, *_: int) -> int:
        item, raw = self._objects.get(handle), self.machine.read(due, 8)
        if item is None or raw is None:
            return self._fail(_INVALID_HANDLE)
        item.signaled, item.due = False, self.clock.now + _relative(raw)
        return 1

    def w_SetEvent(self, handle: int, *_: int) -> int:
        item = self._objects.get(handle)
        if item is None:
            return self._fail(_INVALID_HANDLE)
        item.signaled = True
        for t, handles in self.process.waiting("object"):
            if handle in handles:
                item.signaled = item.manual
                self.process.wake(t, handles.index(handle))
                if not item.manual:
                    break
        return 1

    def w_ResetEvent(self, handle: int, *_: int) -> int:
        item = self._objects.get(handle)
        if item is not None:
            item.signaled = False
        return 1

    def _wait(self, handles: tuple[int, ...], ms: int) -> int:
        """Wait for the first of these objects. Returns its index, `_WAIT_TIMEOUT` or `BLOCKED`."""
        now = self.clock.now
        due: int | None = None
        first = 0
        for i, handle in enumerate(handles):
            item = self._objects.get(handle)
            if item is None:
                continue
            if item.due is not None and item.due <= now:
                item.signaled, item.due = True, None
            if item.signaled:
                item.signaled = item.manual
                return i
            if item.due is not None and (due is None or item.due < due):
                due, first = item.due, i
        if ms == 0:
            return _WAIT_TIMEOUT
        limit = None if ms == _INFINITE else ms * 1_000_000
        wait = Wait("object", handles)
        if due is not None and (limit is None or due - now <= limit):
            self.process.block(wait, due - now, first)
        else:
            self.process.block(wait, limit, _WAIT_TIMEOUT)
        return BLOCKED

    def w_WaitForSingleObject(self, handle: int, ms: int, *_: int) -> int:
        return self._wait((handle,), ms & 0xFFFFFFFF)

    def w_WaitForMultipleObjects(self, count: int, handles: int, _all: int, ms: int, *_: int) -> int:
        raw = self.machine.read(handles, 8 * min(count, _MAX_WAIT_OBJECTS)) or b""
        return self._wait(struct.unpack(f"<{len(raw) // 8}Q", raw), ms & 0xFFFFFFFF)

    def w_NtWaitForSingleObject(self, handle: int, _alertable: int, timeout: int, *_: int) -> int:
        raw = self.machine.read(timeout, 8) if timeout else None
        if raw is None:
            return self._wait((handle,), _INFINITE)
        ns = _relative(raw)
        if handle not in self._objects:  # Go sleeps by waiting for its own thread
            self.process.block(Wait("sleep"), ns, _WAIT_TIMEOUT)
            return BLOCKED
        return self._wait((handle,), min(ns // 1_000_000, _INFINITE - 1))

    def w_GetQueuedCompletionStatusEx(self, *args: int) -> int:
        ms = self._argument(args, 4) & 0xFFFFFFFF
        self._fail(_WAIT_TIMEOUT)
        if ms == 0:
            return 0
        self.process.block(Wait("completion"), None if ms == _INFINITE else ms * 1_000_000, 0)
        return BLOCKED

    # -- threads ---------------------------------------------------------------------------------------------

    def w_GetCurrentThreadId(self, *_: int) -> int:
        return self.process.current.tid

    def w_TlsAlloc(self, *_: int) -> int:
        self._slots += 1
        return min(self._slots, _TLS_SLOTS - 1)

    def w_SwitchToThread(self, *_: int) -> int:
        return YIELDED

    def w_Sleep(self, ms: int, *_: int) -> int:
        return self.sleep((ms & 0xFFFFFFFF) * 1_000_000)

    def w_CreateThread(self, _attributes: int, _size: int, function: int, argument: int, *_: int) -> int:
        if self.process.is_full() or self._new_thread(function, argument) is None:
            return self._fail(_NOT_ENOUGH_MEMORY)
        return self._handle(Object())

    def w_ExitThread(self, *_: int) -> int:
        self.process.current.state = "dead"
        return BLOCKED


def _relative(raw: bytes) -> int:
    """Returns the nanoseconds of a relative time, which is negative ticks; 0 for an absolute one."""
    return int(max(0, -struct.unpack("<q", raw)[0]) * _TICK)
