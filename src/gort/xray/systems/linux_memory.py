"""Linux' system calls on memory: mappings and their protection."""

from __future__ import annotations

from gort.xray.emulate.errno import EBADF, EFAULT, EINVAL, ENOMEM
from gort.xray.emulate.memory import ANY, PAGE, READ, TOP, WRITE, whole_pages
from gort.xray.systems.calls import Calls

_MAP_FIXED, _MAP_ANONYMOUS = 0x10, 0x20
_MADV_DONTNEED = 4
_MAX_DROPPED = 64 << 20
_MAX_MINCORE = 1 << 24


class MemoryCalls(Calls):
    """A method sys_NAME answers the system call of that name."""

    def sys_mmap(self, addr: int, size: int, prot: int, flags: int, fd: int, offset: int) -> int:
        memory = self.machine.memory
        size = whole_pages(size)
        if size <= 0 or size >= TOP:
            return -EINVAL if size <= 0 else -ENOMEM
        contents = b""
        if not flags & _MAP_ANONYMOUS:
            file = self.process.files.regular(fd & 0xFFFFFFFF)
            if file is None:
                return -EBADF
            contents = file.data[offset : offset + size]
        start = memory.place_at(addr, size, bool(flags & _MAP_FIXED))
        if not start or not memory.map(start, size, prot & ANY):
            return -ENOMEM
        if contents:
            memory.protect(start, size, READ | WRITE)
            self.machine.write(start, contents)
            memory.protect(start, size, prot & ANY)
        return start

    def sys_munmap(self, addr: int, size: int, *_: int) -> int:
        if addr % PAGE or not 0 < size < TOP or addr + size > TOP:
            return -EINVAL
        self.machine.memory.unmap(addr, size)
        return 0

    def sys_mprotect(self, addr: int, size: int, prot: int, *_: int) -> int:
        if addr % PAGE or size < 0 or addr + size > TOP:
            return -EINVAL
        if size:
            self.machine.memory.protect(addr, size, prot & ANY)
        return 0

    def sys_madvise(self, addr: int, size: int, advice: int, *_: int) -> int:
        memory = self.machine.memory
        if advice == _MADV_DONTNEED and 0 < size <= _MAX_DROPPED and addr % PAGE == 0:
            area = memory.find(addr)
            if area is not None and addr + size <= area.end:  # mapped anew, it reads as zeros
                memory.unmap(addr, size)
                memory.map(addr, size, area.protection)
        return 0

    def sys_brk(self, *_: int) -> int:
        return 0

    def sys_mincore(self, addr: int, size: int, vec: int, *_: int) -> int:
        if self.machine.memory.find(addr) is None or size > _MAX_MINCORE:
            return -ENOMEM
        return 0 if self.machine.write(vec, b"\1" * (whole_pages(size) // PAGE)) else -EFAULT
