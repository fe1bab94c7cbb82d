"""windows: the functions of kernel32 and its like that a Go program calls while it boots.

Follows runtime/os_windows.go, which lists them, and the processor's view of a thread: its block (TEB) at GS on amd64
and in X18 on arm64, with thread-local slots and the last error at fixed places; the page that the kernel shares with
every process, from which Go reads the time. Handles are small numbers; events, threads and timers are objects to wait
for.

Suspending threads, exceptions and I/O completion are not emulated beyond what a boot needs: a goroutine that spins is
not preempted, and a function that is not here ends the run with its name.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.process import EPOCH, Process, Thread
from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.record import record
from gort.xray.systems.imports import YIELDED, Imports
from gort.xray.systems.linux import BLOCKED
from gort.xray.systems.loader import STACK_SIZE, STACK_TOP, load_segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TEB = 0x7FFFF5000000
_TEB_SIZE = 16384
_SHARED = 0x7FFE0000
"""KUSER_SHARED_DATA"""
_TLS_SLOTS = 0x1480
_LAST_ERROR = 0x68
_THREAD_STACK = 256 << 10
_UNIX_EPOCH_100NS = 116_444_736_000_000_000
_WAIT_TIMEOUT = 258
_INFINITE = 0xFFFFFFFF
_OPTIONAL = (
    "NtCreateWaitCompletionPacket",
    "NtAssociateWaitCompletionPacket",
    "NtCancelWaitCompletionPacket",
    "wine_get_version",
)
"""What Go does without when it is not found."""


@record
class Object:
    kind: str
    signaled: bool = False
    manual: bool = False
    due: int | None = None
    thread: Thread | None = None


class Windows:
    def __init__(self, process: Process) -> None:
        self.p = process
        self.m = process.machine
        self.on_clone: Callable[[int, int], None] | None = None
        table: dict[str, Callable[..., int]] = {
            name.removeprefix("w_"): getattr(self, name) for name in dir(self) if name.startswith("w_")
        }
        arm = self.m.arch.name == "arm64"
        registers = self.m.arch.call_args[:8] if arm else ("rcx", "rdx", "r8", "r9")
        self.imports = Imports(process, "kernel32", table, registers)
        self._arm = arm
        self._blocks: dict[int, int] = {0: _TEB}
        self._stacks: dict[int, tuple[int, int]] = {}
        self._objects: dict[int, Object] = {}
        self._next = 0x100
        self._slots = 0
        self._env = 0
        self._command = 0
        process.before_slice = self.clock

    def _argument(self, args: tuple[int, ...], index: int) -> int:
        return args[index] if index < len(args) else self.imports.stack_argument(index - 4, skip=32)

    @property
    def _block(self) -> int:
        return self._blocks.get(self.p.current.tid, _TEB)

    def clock(self) -> None:
        """The shared page's interrupt time and system time, in units of 100 ns: low, high, high again."""
        interrupt = self.p.now // 100
        system = (EPOCH + self.p.now) // 100 + _UNIX_EPOCH_100NS
        for offset, value in ((8, interrupt), (0x14, system)):
            low, high = value & 0xFFFFFFFF, value >> 32
            self.m.write(_SHARED + offset, struct.pack("<III", low, high, high))

    def _make_block(self, at: int, stack: int, size: int) -> None:
        words = struct.pack(
            "<QQQQQQQ", 0, stack + size, stack, 0, 0, 0, at
        )  # the exception list, base, limit; self at 0x30
        self.m.write(at, words)
        self.m.write(at + 0x60, struct.pack("<Q", at + 0x3000))  # the process's block

    def setup(self, image: Image, argv: list[str], env: list[str]) -> Thread:
        """Load the program as Windows would leave it, and make its first thread."""
        m = self.m
        load_segments(image, self.p)
        memory = m.memory
        head = min(image.size, 4096)
        if memory.is_free(image.base, 4096):
            memory.load(image.base, 4096, 1, image.data[:head])
        memory.load(_TEB, _TEB_SIZE, 3, b"")
        memory.load(_SHARED, 4096, 3, b"")
        memory.load(_TEB + _TEB_SIZE, 262144, 3, b"")
        m.write(_SHARED + 0x26C, struct.pack("<II", 10, 0))
        m.write(_SHARED + 0x260, struct.pack("<I", 19045))
        self.clock()
        stack = STACK_TOP - STACK_SIZE
        if not memory.map(stack, STACK_SIZE, 3):
            raise XrayError(f"{image.path}: no room for a stack")
        self._make_block(_TEB, stack, STACK_SIZE)
        self.imports.bind(image)
        text = "\0".join(env) + "\0\0"
        self._env = _TEB + _TEB_SIZE
        raw = text.encode("utf-16-le", "replace")
        command = (" ".join(argv) + "\0").encode("utf-16-le", "replace")
        if len(raw) + len(command) > 250_000:
            raise XrayError("the arguments and environment are longer than 128 KiB")
        m.write(self._env, raw)
        self._command = self._env + len(raw) + 16 & ~15
        m.write(self._command, command)
        sp = STACK_TOP - 256
        if self._arm:
            m.set_reg("x18", _TEB)
            m.set_reg("x30", self.imports.place("ExitThread"))
        else:
            sp -= 8
            m.write(sp, struct.pack("<Q", self.imports.place("ExitThread")))
            m.set_reg("gs_base", _TEB)
        m.set_reg(m.arch.sp, sp)
        m.set_reg(m.arch.pc, image.entry)
        thread = self.p.add_thread(m.context())
        self._blocks[thread.tid] = _TEB
        self._stacks[thread.tid] = (stack, STACK_SIZE)
        return thread

    def _fail(self, error: int) -> int:
        self.m.write(self._block + _LAST_ERROR, struct.pack("<I", error))
        return 0

    def _handle(self, item: Object) -> int:
        if len(self._objects) > 4096:
            return self._fail(8)
        self._next += 4
        self._objects[self._next] = item
        return self._next

    # Functions, as w_NAME. Arguments are words; those behind the registers come from the stack.

    def _one(self, *_: int) -> int:
        return 1

    def _zero(self, *_: int) -> int:
        return 0

    w_SetErrorMode = w_GetErrorMode = w_WerSetFlags = w_timeBeginPeriod = w_timeEndPeriod = w_FlsAlloc = _zero
    w_AddVectoredExceptionHandler = w_AddVectoredContinueHandler = w_SetUnhandledExceptionFilter = _one
    w_SetConsoleCtrlHandler = w_SetProcessPriorityBoost = w_FreeEnvironmentStringsW = w_CloseHandle = _one
    w_SetHandleInformation = w_PostQueuedCompletionStatus = w_SetConsoleMode = w_FreeLibrary = _one
    w_PowerRegisterSuspendResumeNotification = w_IsProcessorFeaturePresent = w_GetVersion = w_WSAStartup = _zero
    w_GetConsoleMode = w_WerGetFlags = w_SetFileCompletionNotificationModes = _zero

    def w_LoadLibraryExW(self, *_: int) -> int:
        return 0x7FF800000000

    w_LoadLibraryW = w_LoadLibraryA = w_GetModuleHandleW = w_LoadLibraryExW

    def w_GetProcAddress(self, _library: int, name: int, *_: int) -> int:
        raw = (self.m.read(name, 64) or self.m.read(name, 16) or b"").partition(b"\0")[0]
        text = raw.decode("ascii", "replace")
        return self._fail(127) if text in _OPTIONAL or not text else self.imports.place(text)

    def w_GetSystemDirectoryA(self, buf: int, size: int, *_: int) -> int:
        text = b"C:\\Windows\\System32"
        return len(text) if size > len(text) and self.m.write(buf, text + b"\0") else 0

    def w_GetProcessAffinityMask(self, _process: int, mine: int, system: int, *_: int) -> int:
        mask = struct.pack("<Q", (1 << min(self.p.cpus, 64)) - 1)
        return int(self.m.write(mine, mask) and self.m.write(system, mask))

    def w_GetSystemInfo(self, out: int, *_: int) -> int:
        machine = 12 if self._arm else 9
        cpus = min(self.p.cpus, 64)
        self.m.write(
            out,
            struct.pack(
                "<HHIQQQIIIHH", machine, 0, 4096, 0x10000, 0x7FFFFFFEFFFF, (1 << cpus) - 1, cpus, 8664, 65536, 6, 0
            ),
        )
        return 0

    def w_RtlGetVersion(self, out: int, *_: int) -> int:
        self.m.write(out + 4, struct.pack("<IIII", 10, 0, 19045, 2))
        return 0

    def w_RtlGetNtVersionNumbers(self, major: int, minor: int, build: int, *_: int) -> int:
        for place, value in ((major, 10), (minor, 0), (build, 0xF0000000 | 19045)):
            self.m.write(place, struct.pack("<I", value))
        return 0

    def w_RtlGetCurrentPeb(self, *_: int) -> int:
        return _TEB + 0x3000

    def w_ProcessPrng(self, buf: int, n: int, *_: int) -> int:
        return int(self.m.write(buf, self.p.files.random_bytes(min(n, 1 << 16))))

    def w_QueryPerformanceCounter(self, out: int, *_: int) -> int:
        return int(self.m.write(out, struct.pack("<Q", self.p.now // 100)))

    def w_QueryPerformanceFrequency(self, out: int, *_: int) -> int:
        return int(self.m.write(out, struct.pack("<Q", 10_000_000)))

    def w_TlsAlloc(self, *_: int) -> int:
        self._slots += 1
        return min(self._slots, 63)

    def w_GetEnvironmentStringsW(self, *_: int) -> int:
        return self._env

    def w_GetCommandLineW(self, *_: int) -> int:
        return self._command

    def w_VirtualAlloc(self, addr: int, size: int, kind: int, protect: int, *_: int) -> int:
        mem = self.m.memory
        size = -(-size // 4096) * 4096
        if not 0 < size < 1 << 46:
            return self._fail(87)
        prot = {1: 0, 2: 1, 4: 3, 0x20: 5, 0x40: 7}.get(protect & 0xFF, 3)
        if kind & 0x2000:  # reserve: addresses in steps of 64 KiB
            start = addr & ~0xFFFF
            if start and not mem.is_free(start, size):
                return self._fail(487)
            if not start:
                start = mem.place(size + 65536) + 65535 & ~0xFFFF
            if not start or not mem.map(start, size, prot if kind & 0x1000 else 0):
                return self._fail(8)
            return start
        start = addr & ~4095
        end = addr + size + 4095 & ~4095
        if mem.find(start) is None or mem.find(end - 1) is None:
            return self._fail(487)
        mem.protect(start, end - start, prot)
        return start

    def w_VirtualFree(self, addr: int, size: int, kind: int, *_: int) -> int:
        mem = self.m.memory
        area = mem.find(addr)
        if area is None:
            return self._fail(487)
        if kind & 0x8000:
            mem.unmap(addr, area[1] - addr)
        else:
            size = min(-(-size // 4096) * 4096, area[1] - addr)
            mem.unmap(addr, size)
            mem.map(addr, size, 0)
        return 1

    def w_VirtualQuery(self, addr: int, out: int, _size: int, *_: int) -> int:
        area = self.m.memory.find(addr)
        stack = self._stacks.get(self.p.current.tid)
        if stack is not None and stack[0] <= addr < stack[0] + stack[1]:
            base, end = stack[0], stack[0] + stack[1]
        elif area is not None:
            base, end = area[0], area[1]
        else:
            return self._fail(487)
        page = addr & ~4095
        return (
            48 if self.m.write(out, struct.pack("<QQIIQIII4x", page, base, 4, 0, end - page, 0x1000, 4, 0x20000)) else 0
        )

    def w_GetStdHandle(self, which: int, *_: int) -> int:
        return {0xFFFFFFF6: 0x10, 0xFFFFFFF5: 0x14, 0xFFFFFFF4: 0x18}.get(which & 0xFFFFFFFF, 0)

    def w_GetFileType(self, handle: int, *_: int) -> int:
        return 2 if handle in (0x10, 0x14, 0x18) else 0  # a character device that is no console

    def w_WriteFile(self, handle: int, buf: int, n: int, written: int, *_: int) -> int:
        data = self.m.read(buf, min(n & 0xFFFFFFFF, 1 << 20))
        fd = {0x14: 1, 0x18: 2}.get(handle)
        if data is None or fd is None:
            return self._fail(6)
        self.p.files.write(fd, data)
        if written:
            self.m.write(written, struct.pack("<I", len(data)))
        return 1

    def w_NtQueryInformationFile(self, *_: int) -> int:
        return 0xC0000002  # not implemented

    def w_CreateFileA(self, *_: int) -> int:
        self._fail(2)
        return (1 << 64) - 1

    w_CreateFileW = w_CreateFileA

    def w_GetCurrentThreadId(self, *_: int) -> int:
        return self.p.current.tid

    def w_GetCurrentProcessId(self, *_: int) -> int:
        return self.p.pid

    def w_GetCurrentProcess(self, *_: int) -> int:
        return (1 << 64) - 1

    def w_DuplicateHandle(self, _from: int, _handle: int, _to: int, out: int, *_: int) -> int:
        handle = self._handle(Object("thread", thread=self.p.current))
        return int(bool(handle) and self.m.write(out, struct.pack("<Q", handle)))

    def w_ExitProcess(self, status: int, *_: int) -> int:
        self.p.end("exit", status & 0xFF, "ExitProcess")
        return 0

    def w_ExitThread(self, *_: int) -> int:
        self.p.current.state = "dead"
        return BLOCKED

    def w_SwitchToThread(self, *_: int) -> int:
        return YIELDED

    def w_Sleep(self, ms: int, *_: int) -> int:
        self.p.block(("sleep",), (ms & 0xFFFFFFFF) * 1_000_000, 0)
        return BLOCKED

    def w_CreateIoCompletionPort(self, *_: int) -> int:
        return self._handle(Object("port"))

    def w_GetQueuedCompletionStatusEx(self, *args: int) -> int:
        ms = self._argument(args, 4) & 0xFFFFFFFF
        self._fail(_WAIT_TIMEOUT)
        if ms == 0:
            return 0
        self.p.block(("completion",), None if ms == _INFINITE else ms * 1_000_000, 0)
        return BLOCKED

    # Events, timers and threads.

    def w_CreateEventA(self, _attributes: int, manual: int, initial: int, *_: int) -> int:
        return self._handle(Object("event", bool(initial & 0xFF), bool(manual & 0xFF)))

    w_CreateEventW = w_CreateEventA

    def w_CreateWaitableTimerExW(self, *_: int) -> int:
        return self._handle(Object("timer"))

    def w_SetWaitableTimer(self, handle: int, due: int, *_: int) -> int:
        item, raw = self._objects.get(handle), self.m.read(due, 8)
        if item is None or raw is None:
            return self._fail(6)
        value = struct.unpack("<q", raw)[0]
        item.signaled, item.due = False, self.p.now + max(0, -value) * 100
        return 1

    def w_SetEvent(self, handle: int, *_: int) -> int:
        item = self._objects.get(handle)
        if item is None:
            return self._fail(6)
        item.signaled = True
        for t in self.p.threads:
            if t.state == "waiting" and t.wait[0] == "object" and handle in t.wait[1]:
                item.signaled = item.manual
                self.p.wake(t, t.wait[1].index(handle))
                if not item.manual:
                    break
        return 1

    def w_ResetEvent(self, handle: int, *_: int) -> int:
        item = self._objects.get(handle)
        if item is not None:
            item.signaled = False
        return 1

    def _wait(self, handles: tuple[int, ...], ms: int) -> int:
        due: int | None = None
        first = 0
        for i, handle in enumerate(handles):
            item = self._objects.get(handle)
            if item is None:
                continue
            if item.due is not None and item.due <= self.p.now:
                item.signaled, item.due = True, None
            if item.signaled:
                item.signaled = item.manual
                return i
            if item.due is not None and (due is None or item.due < due):
                due, first = item.due, i
        if ms == 0:
            return _WAIT_TIMEOUT
        limit = None if ms == _INFINITE else ms * 1_000_000
        if due is not None and (limit is None or due - self.p.now <= limit):
            self.p.block(("object", handles), due - self.p.now, first)
        else:
            self.p.block(("object", handles), limit, _WAIT_TIMEOUT)
        return BLOCKED

    def w_WaitForSingleObject(self, handle: int, ms: int, *_: int) -> int:
        return self._wait((handle,), ms & 0xFFFFFFFF)

    def w_NtWaitForSingleObject(self, handle: int, _alertable: int, timeout: int, *_: int) -> int:
        raw = self.m.read(timeout, 8) if timeout else None
        if raw is None:
            return self._wait((handle,), _INFINITE)
        ms = max(0, -struct.unpack("<q", raw)[0]) // 10_000
        if handle not in self._objects:  # Go sleeps by waiting for its own thread
            self.p.block(("sleep",), max(0, -struct.unpack("<q", raw)[0]) * 100, _WAIT_TIMEOUT)
            return BLOCKED
        return self._wait((handle,), min(ms, _INFINITE - 1))

    def w_WSAEnumProtocolsW(self, *_: int) -> int:
        self._fail(10091)
        return (1 << 64) - 1

    def w_WaitForMultipleObjects(self, count: int, handles: int, _all: int, ms: int, *_: int) -> int:
        raw = self.m.read(handles, 8 * min(count, 64)) or b""
        return self._wait(struct.unpack(f"<{len(raw) // 8}Q", raw), ms & 0xFFFFFFFF)

    def w_CreateThread(self, *args: int) -> int:
        function, argument = args[2], args[3]
        if sum(t.state != "dead" for t in self.p.threads) >= self.p.max_threads:
            return self._fail(8)
        m, memory = self.m, self.m.memory
        block, stack = memory.place(_TEB_SIZE), memory.place(_THREAD_STACK)
        if not block or not stack or not memory.map(block, _TEB_SIZE, 3) or not memory.map(stack, _THREAD_STACK, 3):
            return self._fail(8)
        self._make_block(block, stack, _THREAD_STACK)
        context = m.context()
        child = self.p.add_thread(context, self.p.current.tid)
        self._blocks[child.tid] = block
        self._stacks[child.tid] = (stack, _THREAD_STACK)
        sp = stack + _THREAD_STACK - 256
        if self._arm:
            m.set_in(context, "x18", block)
            m.set_in(context, "x30", self.imports.place("ExitThread"))
            m.set_in(context, "x0", argument)
        else:
            sp -= 8
            m.write(sp, struct.pack("<Q", self.imports.place("ExitThread")))
            m.set_in(context, "gs_base", block)
            m.set_in(context, "rcx", argument)
        m.set_in(context, m.arch.sp, sp)
        m.set_in(context, m.arch.pc, function)
        if self.on_clone is not None:
            self.on_clone(self.p.current.tid, child.tid)
        return self._handle(Object("thread", thread=child))
