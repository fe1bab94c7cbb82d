"""Linux' system calls on threads: making and ending them, futexes, signals, time."""

from __future__ import annotations

import struct

from gort.xray.emulate.clock import SECOND
from gort.xray.emulate.errno import EAGAIN, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH, ETIMEDOUT
from gort.xray.emulate.memory import PAGE, TOP
from gort.xray.emulate.signals import HIGHEST, SIGKILL, SIGSTOP, Action
from gort.xray.emulate.thread import Signal, Wait
from gort.xray.systems.calls import BLOCKED, REPLACED, Calls

_CLONE_VM, _CLONE_THREAD, _CLONE_SETTLS = 0x100, 0x10000, 0x80000
_CLONE_PARENT_SETTID, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x100000, 0x200000, 0x1000000
SYSCALL_SIZE = 2
"""Bytes of amd64's SYSCALL instruction."""
TLS_ENTRY = 6
"""386: the descriptor of thread-local storage, the first that programs may have."""
_FUTEX_COMMAND, _FUTEX_CLOCK_REALTIME = 0x7F, 0x100
_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAIT_BITSET, _FUTEX_WAKE_BITSET = 0, 1, 9, 10
_CLONE_ARGS = struct.Struct("<8Q")
"""struct clone_args, as far as its first version goes."""
_RSEQ_SIZE = 32
_ARCH_SET = {0x1001: "gs_base", 0x1002: "fs_base"}
_ARCH_GET = {0x1003: "fs_base", 0x1004: "gs_base"}
_CLOCK_REALTIME, _CLOCK_REALTIME_COARSE = 0, 5
_TIMER_ABSTIME = 1
_SIG_BLOCK, _SIG_UNBLOCK = 0, 1
_SS_DISABLE = 2
_MAX_ALTSTACK = 1 << 32


class ThreadCalls(Calls):
    """A method sys_NAME answers the system call of that name."""

    # -- threads ---------------------------------------------------------------------------------------------

    def sys_clone(self, flags: int, stack: int, parent_tid: int, a3: int, a4: int, *_: int) -> int:
        child_tid, tls = (a3, a4) if self.is_amd64 else (a4, a3)
        if not flags & _CLONE_VM or not flags & _CLONE_THREAD:
            return -EPERM  # it would be another process
        if self.process.is_full():
            return -EAGAIN
        m = self.machine
        child = self.clone_thread()
        child.sigmask = self.process.current.sigmask
        if self.is_amd64:
            back = m.in_context(child.context, "rip") + SYSCALL_SIZE
            m.set_in(child.context, "rip", back)
            m.set_in(child.context, "rcx", back)
        m.set_in(child.context, m.arch.result, 0)
        if stack:
            m.set_in(child.context, m.arch.sp, stack)
        if flags & _CLONE_SETTLS:
            m.set_in(child.context, m.arch.tls, tls)
        if flags & _CLONE_PARENT_SETTID:
            m.write_u32(parent_tid, child.tid)
        if flags & _CLONE_CHILD_SETTID:
            m.write_u32(child_tid, child.tid)
        if flags & _CLONE_CHILD_CLEARTID:
            child.clear_tid = child_tid
        return child.tid

    def sys_clone3(self, args: int, size: int, *_: int) -> int:
        if not _CLONE_ARGS.size <= size <= PAGE:
            return -EINVAL
        raw = self.machine.read(args, _CLONE_ARGS.size)
        if raw is None:
            return -EFAULT
        flags, _pidfd, child_tid, parent_tid, _signal, stack, stack_size, tls = _CLONE_ARGS.unpack(raw)
        last = (child_tid, tls) if self.is_amd64 else (tls, child_tid)
        return self.sys_clone(flags, (stack + stack_size) % TOP if stack else 0, parent_tid, *last)

    def sys_exit(self, status: int, *_: int) -> int:
        t = self.process.current
        t.state = "dead"
        if t.clear_tid:
            self.machine.write_u32(t.clear_tid, 0)
            self._futex_wake(t.clear_tid, 1)
        self.machine.stop()
        if all(x.state == "dead" for x in self.process.threads):
            self.process.end("exit", status & 0xFF, "the last thread ended")
        return 0

    def sys_exit_group(self, status: int, *_: int) -> int:
        self.process.end("exit", status & 0xFF, "exit_group")
        return 0

    def sys_sched_yield(self, *_: int) -> int:
        if sum(t.state == "runnable" for t in self.process.threads) > 1:
            self.machine.stop()
        return 0

    def sys_sched_getaffinity(self, _pid: int, size: int, addr: int, *_: int) -> int:
        cpus = self.process.cpus
        need = -(-cpus // 64) * 8
        if size < need:
            return -EINVAL
        return need if self.machine.write(addr, ((1 << cpus) - 1).to_bytes(need, "little")) else -EFAULT

    def sys_gettid(self, *_: int) -> int:
        return self.process.current.tid

    def sys_getpid(self, *_: int) -> int:
        return self.process.pid

    def sys_getppid(self, *_: int) -> int:
        return 1

    def sys_set_tid_address(self, addr: int, *_: int) -> int:
        self.process.current.clear_tid = addr
        return self.process.current.tid

    def sys_rseq(self, area: int, size: int, flags: int, *_: int) -> int:
        if flags or size < _RSEQ_SIZE:
            return -EINVAL
        return 0 if self.machine.write_u64(area, 0) else -EFAULT  # cpu_id_start and cpu_id: it runs on processor 0

    def sys_set_robust_list(self, *_: int) -> int:
        return 0

    def sys_prctl(self, *_: int) -> int:
        return 0

    def sys_arch_prctl(self, code: int, addr: int, *_: int) -> int:
        register = _ARCH_SET.get(code)
        if register is not None:
            if addr >= TOP:
                return -EPERM
            self.machine.set_reg(register, addr)
            return 0
        register = _ARCH_GET.get(code)
        if register is not None:
            return 0 if self.machine.write_u64(addr, self.machine.reg(register)) else -EFAULT
        return -EINVAL

    # -- futexes ---------------------------------------------------------------------------------------------

    def _futex_wake(self, addr: int, limit: int) -> int:
        """Wake at most `limit` threads that wait at the address. Returns how many there were."""
        found = [t for t, on in self.process.waiting("futex") if on == (addr,)][:limit]
        for t in found:
            self.process.wake(t, 0)
        return len(found)

    def sys_futex(self, addr: int, op: int, value: int, timeout: int, _a4: int, _a5: int) -> int:
        command = op & _FUTEX_COMMAND
        if command in (_FUTEX_WAKE, _FUTEX_WAKE_BITSET):
            return self._futex_wake(addr, value & 0x7FFFFFFF)
        if command not in (_FUTEX_WAIT, _FUTEX_WAIT_BITSET):
            return -ENOSYS
        raw = self.machine.read(addr, 4)
        if raw is None:
            return -EFAULT
        if struct.unpack("<I", raw)[0] != value & 0xFFFFFFFF:
            return -EAGAIN
        ns: int | None = None
        if timeout:
            ns = self.read_timespec(timeout)
            if ns is None:
                return -EFAULT
            if command == _FUTEX_WAIT_BITSET:  # its timeout is a point in time
                ns -= self.clock.wall if op & _FUTEX_CLOCK_REALTIME else self.clock.now
        self.process.block(Wait("futex", (addr,)), ns, -ETIMEDOUT)
        return BLOCKED

    # -- time ------------------------------------------------------------------------------------------------

    def sys_clock_gettime(self, clock: int, addr: int, *_: int) -> int:
        real = clock in (_CLOCK_REALTIME, _CLOCK_REALTIME_COARSE)
        return 0 if self.write_timespec(addr, self.clock.wall if real else self.clock.now) else -EFAULT

    def sys_gettimeofday(self, addr: int, *_: int) -> int:
        seconds, ns = divmod(self.clock.wall, SECOND)
        return 0 if not addr or self.machine.write(addr, struct.pack("<qq", seconds, ns // 1000)) else -EFAULT

    def sys_time(self, addr: int, *_: int) -> int:
        now = self.clock.wall // SECOND
        return now if not addr or self.machine.write_u64(addr, now) else -EFAULT

    def sys_nanosleep(self, addr: int, *_: int) -> int:
        ns = self.read_timespec(addr)
        return -EFAULT if ns is None else self.sleep(ns)

    def sys_clock_nanosleep(self, _clock: int, flags: int, addr: int, *_: int) -> int:
        ns = self.read_timespec(addr)
        if ns is None:
            return -EFAULT
        return self.sleep(ns - self.clock.now if flags & _TIMER_ABSTIME else ns)

    def sys_setitimer(self, *_: int) -> int:
        return 0

    # -- signals ---------------------------------------------------------------------------------------------

    def sys_rt_sigaction(self, signo: int, new: int, old: int, *_: int) -> int:
        if not 1 <= signo <= HIGHEST or (new and signo in (SIGKILL, SIGSTOP)):
            return -EINVAL
        has_restorer = self.machine.arch.name != "riscv64"
        if old:
            a = self.process.signals.action(signo)
            words = (a.handler, a.flags, *((a.restorer,) if has_restorer else ()), a.mask)
            if not self.machine.write(old, struct.pack(f"<{len(words)}Q", *words)):
                return -EFAULT
        if new:
            raw = self.machine.read(new, 32 if has_restorer else 24)
            if raw is None:
                return -EFAULT
            handler, flags, *restorer, mask = struct.unpack(f"<{len(raw) // 8}Q", raw)
            self.process.signals.actions[signo] = Action(handler, flags, sum(restorer), mask)
        return 0

    def sys_rt_sigprocmask(self, how: int, new: int, old: int, *_: int) -> int:
        t = self.process.current
        if old and not self.machine.write_u64(old, t.sigmask):
            return -EFAULT
        if new:
            mask = self.machine.u64(new)
            if mask is None:
                return -EFAULT
            if how == _SIG_BLOCK:
                t.sigmask |= mask
            elif how == _SIG_UNBLOCK:
                t.sigmask &= ~mask
            else:
                t.sigmask = mask
            if t.pending:
                self.machine.stop()
        return 0

    def sys_sigaltstack(self, new: int, old: int, *_: int) -> int:
        t = self.process.current
        if old:
            base, size = t.altstack
            if not self.machine.write(old, struct.pack("<QQQ", base, 0 if size else _SS_DISABLE, size)):
                return -EFAULT
        if new:
            raw = self.machine.read(new, 24)
            if raw is None:
                return -EFAULT
            base, flags, size = struct.unpack("<QQQ", raw)
            t.altstack = (0, 0) if flags & _SS_DISABLE else (base, min(size, _MAX_ALTSTACK))
        return 0

    def sys_rt_sigreturn(self, *_: int) -> int:
        self.process.sigreturn()
        return REPLACED

    def sys_tgkill(self, _pid: int, tid: int, signo: int, *_: int) -> int:
        return self.sys_tkill(tid, signo)

    def sys_tkill(self, tid: int, signo: int, *_: int) -> int:
        t = self.process.thread(tid)
        if t is None:
            return -ESRCH
        if not 0 <= signo <= HIGHEST:
            return -EINVAL
        if signo:
            self.process.send(t, Signal(signo))
        return 0

    def sys_kill(self, pid: int, signo: int, *_: int) -> int:
        if pid != self.process.pid:
            return -ESRCH
        first = self.process.threads[0]
        return self.sys_tkill(first.tid if first.state != "dead" else self.process.current.tid, signo)
