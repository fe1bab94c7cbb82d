"""Facts that the operating system gives about this thread and machine: stack bounds, thread-local storage, the
processor, the auxiliary vector, the signal mask.  Follows the machine-dependent parts of Go's runtime (asm_*.s,
os_linux.go, auxv_linux.go).

If a system does not give a fact, the function returns an empty answer and never a guess.  What stays as it is for the
life of the process is asked once: a program may call gort.run often.  What does not live here: the boot that asks for
these facts (boot/rt0.py).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from _thread import allocate_lock, start_new_thread

from gort._runtime.core import runtime2
from gort._runtime.core.debugvars import gil_enabled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterable
    from typing import Any
else:
    import _signal  # the signal module without its enums: importing enum takes as long as importing all structures

STACK_GUARD = 928  # Go's stackGuard on linux: how far above lo a frame must stop

nanotime = runtime2.clock
TLS_KIND = "a C thread-local" if runtime2.COMPILED else "threading.local"

LINUX = sys.platform.startswith("linux")
RUNTIME_BYTES = 1 << 20  # more than CPython's _PyRuntime has, in which its locks are
FRAMES = 4096  # more than the frames between a semaphore of CPython's and its system call
THREAD_CPU = 6  # makes a clock's number of the complement of a thread's: CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED


def cpu_clock(m: Any) -> int | None:
    """The CPU time that m's thread has used, in ns; None where the system does not give it, or the thread has ended.

    The thread may end at any time, so the kernel is asked by its own number of the thread: it answers that there is none.
    Rejected: pthread_getcpuclockid, which reads the memory of the thread's stack, and crashes once that is unmapped."""
    return thread_clock(m.procid)


def thread_clock(tid: int) -> int | None:
    """The same of the thread with this number of the kernel's; 0 is none."""
    if not LINUX or not tid:
        return None
    try:
        return time.clock_gettime_ns((~tid << 3) | THREAD_CPU)
    except OSError:
        return None


def threads() -> list[int]:
    """The kernel's numbers of this process's threads; empty where the system does not tell."""
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return []


# What a thread does at a moment; the numbers are those of gort_rt.h.
UNKNOWN = 0  # the system does not tell, or the thread has ended
RUNS = 1  # it runs, or would if it had a processor, or memory
WAITS_FOR_GIL = 2  # another thread has the GIL
WAITS_FOR_LOCK = 3  # of the program; without the GIL only those that are none of Python's
IN_CALL = 4  # it sleeps in a system call
WAITS_INSIDE = 5  # without the GIL: for a lock of Python's or gort's, or while the collector stops the world

# Without the GIL threads wait for each other's locks; who waits no longer than this (ns) is not in a call that blocks.
LOCK_NS = 0 if gil_enabled() else 2_000_000


def blocks(what: int, ns: int) -> bool:
    """True when a thread that does `what`, and has used no CPU for ns, is in a call that blocks.  False when it would go
    on if it had a processor, the GIL, or the lock that another thread holds for a moment.  True where the system does not
    tell."""
    return what in (IN_CALL, UNKNOWN) or (what in (WAITS_FOR_LOCK, WAITS_INSIDE) and ns >= LOCK_NS)


def _doing(procid: int) -> int:
    """What the thread with this number of the kernel's does now, by the system call that it sleeps in.  Linux tells on
    which futex a thread sleeps; those of the GIL are in CPython's own static data."""
    try:
        fd = os.open(f"/proc/self/task/{procid}/syscall", os.O_RDONLY | os.O_CLOEXEC)
    except (AttributeError, OSError):
        return UNKNOWN
    try:
        words = os.read(fd, 256).split()
    except OSError:  # it has ended
        return UNKNOWN
    finally:
        os.close(fd)
    if not words or FUTEX < 0:
        return UNKNOWN
    if words[0] == b"running":
        return RUNS
    call = int(words[0])
    if call < 0 or call in FOR_MEMORY:
        return RUNS  # -1: it waits for a page of memory
    if call != FUTEX:
        return IN_CALL
    start, word = _runtime_data(), int(words[1], 16)
    if start and start <= word < start + RUNTIME_BYTES:
        return WAITS_FOR_GIL
    if LOCK_NS and (0 <= word - int(words[7], 16) < FRAMES or words[2:4] == [b"0x80", b"0x2"]):
        return WAITS_INSIDE  # gort_rt.h says why
    return WAITS_FOR_LOCK


doing = runtime2.doing if runtime2.COMPILED else _doing

# The numbers of system calls: futex, and those that wait for the kernel's lock of the memory map: mmap, munmap, mprotect,
# mremap, madvise, brk, clone, clone3, membarrier, sched_yield.
_X86, _OTHERS = (9, 11, 10, 25, 28, 12, 56, 435, 324, 24), (222, 215, 226, 216, 233, 214, 220, 435, 283, 124)
FUTEX, FOR_MEMORY = {"x86_64": (202, _X86), "aarch64": (98, _OTHERS), "riscv64": (98, _OTHERS)}.get(
    os.uname().machine if hasattr(os, "uname") else "", (-1, ())
)
_data: int | None = None


def _runtime_data() -> int:
    """The address of CPython's static data, 0 if it cannot be had."""
    global _data
    if _data is None:
        try:
            import ctypes

            _data = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
        except (ImportError, AttributeError, ValueError):  # ctypes is not there where CPython was built without libffi
            _data = 0
    return _data


def set_bounds(m: Any) -> None:
    """Writes the bounds of this thread's stack to m.  In Go they are fields of g0."""
    lo, hi = thread_stack()
    m.stacklo, m.stackhi = lo, hi
    m.stackguard0 = m.stackguard1 = lo + STACK_GUARD if lo else 0


_main_stack = (0, (0, 0))  # the main thread's identity, and the bounds of its stack
_processor: dict[str, Any] = {}
_auxv: dict[str, str] = {}


def thread_stack() -> tuple[int, int]:
    """(lo, hi), the bounds of the calling thread's stack; (0, 0) where the system does not give them.

    Those of the main thread are kept, as they were when it asked first: glibc reads all of /proc/self/maps for them."""
    global _main_stack
    ident = threading.get_ident()
    if _main_stack[0] == ident == threading.main_thread().ident:  # after a fork another thread may be the main one
        return _main_stack[1]
    bounds = _thread_stack()
    if ident == threading.main_thread().ident:
        _main_stack = ident, bounds
    return bounds


def _thread_stack() -> tuple[int, int]:
    if runtime2.COMPILED:
        lo, hi = runtime2.stack_bounds()
        return lo, hi
    if not sys.platform.startswith("linux"):
        return 0, 0
    # glibc gives the exact bounds for the main thread too.  Rejected: the mapping around a stack address; it is right
    # for other threads only.
    try:
        import ctypes
    except ImportError:
        return 0, 0
    libc = _libc()
    attr = _attr()
    if libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), attr) != 0:
        return 0, 0
    addr, size = ctypes.c_void_p(), ctypes.c_size_t()
    libc.pthread_attr_getstack(attr, ctypes.byref(addr), ctypes.byref(size))
    libc.pthread_attr_destroy(attr)
    return addr.value or 0, (addr.value or 0) + size.value


_c: Any = None
_attr: Any = None  # the type of pthread_attr_t's bytes; one, because a ctypes type is a cycle of objects


def _libc() -> Any:
    """The C library, opened once: on 3.13t each CDLL object leaks its function types."""
    global _c, _attr
    if _c is None:
        import ctypes

        _attr = ctypes.c_char * 256
        _c = ctypes.CDLL(None, use_errno=True)
        _c.pthread_self.restype = ctypes.c_void_p
    return _c


def tls_check(value: int) -> tuple[int, int]:
    """Stores value in this thread's slot and returns what this thread and another one then read; in a thread that never
    wrote, the slot reads 0.  Shows that the slot is thread-local."""
    seen = []
    if runtime2.COMPILED:
        load, store = runtime2.tls_load, runtime2.tls_store
    else:
        slot = threading.local()

        def store(v: int) -> None:
            slot.value = v

        def load() -> int:
            return getattr(slot, "value", 0)

    read = allocate_lock()
    read.acquire()

    def other() -> None:
        try:
            seen.append(load())
        finally:
            read.release()

    store(value)
    start_new_thread(other, ())  # cheaper than threading.Thread, which also waits until the thread has started
    read.acquire()
    own = load()
    store(0)
    return own, seen[0]


def one_at_a_time(numbers: Iterable[int]) -> None:
    """Makes the handlers of these signals run with all other signals blocked, as Go does (setsig, os_linux.go); faults
    are not.  Without this each of several signals that are due interrupts the handler of the one before, and the sixth
    leaves the stack that faulthandler makes for handlers: the process ends with a segmentation fault.  Does nothing where
    there is no ctypes."""
    if sys.maxsize < 1 << 32:  # the handler's address, then the mask: so it is on every 64-bit system that we know
        return
    try:
        import ctypes
    except ImportError:
        return
    libc = _libc()
    action = _attr()
    mask = ctypes.byref(action, 8)
    for n in numbers:
        if libc.sigaction(n, None, action) == 0:
            libc.sigfillset(mask)
            for fault in (_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGABRT):
                libc.sigdelset(mask, int(fault))
            libc.sigaction(n, action, None)


def os_threads() -> set[int] | None:
    """The kernel's numbers of this process's threads, whoever has started them; None where the system does not tell."""
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}
    except OSError:
        return None


def adopt(m: Any) -> None:
    """Makes the calling thread the thread of m."""
    m.ident = threading.get_ident()
    m.procid = threading.get_native_id()
    runtime2.bind_thread(m)


def cpu_identity() -> dict[str, Any]:
    """The processor's vendor, family, model and some features, as the system names them."""
    if not _processor:
        _processor.update(_cpu_identity())
    return _processor.copy()


def _cpu_identity() -> dict[str, Any]:
    facts: dict[str, Any] = {"arch": os.uname().machine if hasattr(os, "uname") else sys.platform}
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as f:
            text = f.read(4096).decode("ascii", "replace")  # the first CPU is enough
    except OSError:
        return facts | {"source": "not told by this system"}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if key in ("vendor_id", "cpu family", "model", "model name", "CPU implementer", "CPU part"):
            facts[key.replace(" ", "_").lower()] = value
        elif key in ("flags", "Features"):
            have = set(value.split())
            wanted = ("sse4_2", "avx", "avx2", "avx512f", "aes", "sha_ni", "rdtscp", "asimd", "atomics", "sha2")
            facts["features"] = [w for w in wanted if w in have]
            break
    return facts


_AT = {3: "AT_PHDR", 6: "AT_PAGESZ", 9: "AT_ENTRY", 15: "AT_PLATFORM", 16: "AT_HWCAP", 17: "AT_CLKTCK",
       23: "AT_SECURE", 25: "AT_RANDOM", 33: "AT_SYSINFO_EHDR"}  # fmt: skip


def auxv() -> dict[str, str]:
    """The entries of the process's auxiliary vector that _AT names; empty where the system does not show it."""
    if not _auxv:
        _auxv.update(_read_auxv())
    return _auxv.copy()


def _read_auxv() -> dict[str, str]:
    try:
        with open("/proc/self/auxv", "rb", buffering=0) as f:
            raw = f.read(4096)
    except OSError:
        return {}
    words = memoryview(raw).cast("P")
    facts = {}
    for tag, value in zip(words[::2], words[1::2], strict=False):
        if tag == 0:
            break
        if tag in _AT:
            facts[_AT[tag]] = hex(value)
    return facts


def huge_page_size() -> int:
    """The transparent huge page size in bytes; 0 where there is none."""
    try:
        with open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "rb", buffering=0) as f:
            return int(f.read(64))
    except (OSError, ValueError):
        return 0


def signal_mask() -> set[Any]:
    """The signals that this thread blocks; empty where the system has no signal masks."""
    return set(_signal.pthread_sigmask(_signal.SIG_BLOCK, [])) if hasattr(_signal, "pthread_sigmask") else set()
