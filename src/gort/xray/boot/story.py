"""A sentence for each station of the boot, which says what it is for. The report shows it below the station's name.

What a function does can depend on the system, and on where it stands. `STORY` has what holds everywhere, `story` the
rest.

The words are ours, the names are Go's. A station without a sentence is shown with its name alone.
"""

from __future__ import annotations

STORY: dict[str, str] = {
    "_rt0_amd64": "puts argc and argv into registers, as a C main would get them",
    "runtime.rt0_go": "builds the first g and m by hand, then calls the runtime's initialization in order",
    "g0 stack": "g0 takes 64 KiB of the kernel's stack as its own: lo, hi and both guards are set",
    "cpuid": "asks the processor who it is",
    "_start": "C's first instruction: it calls __libc_start_main, which calls main; Go's main jumps to rt0_go",
    "_cgo_init": "C code of runtime/cgo: asks libc how large the stack is and moves g0.stack.lo there; rt0_go then sets"
    " both guards anew",
    "runtime.settls": "tells the kernel where this thread's local storage is: 8 bytes behind m0.tls, where g will lie",
    "tls check": "stores 0x123 through thread-local storage and checks that it arrived in m0.tls",
    "bind g0 and m0": "from here on getg() works: thread-local storage or a register holds g0, m0.g0 = g0, g0.m = m0",
    "runtime.save_g": "stores g into thread-local storage where the program uses cgo; without cgo R28 is enough",
    "runtime.check": "checks that integers, pointers and atomic operations behave as the compiler believes",
    "runtime.args": "keeps argc and argv, and reads the auxiliary vector behind the environment",
    "runtime.osinit": "asks the system how many processors there are and how large a huge page is",
    "runtime.schedinit": "makes the scheduler: heap, this M, garbage collector, arguments, and the Ps",
    "runtime.lockInit": "gives a lock its rank (only with lock ranking)",
    "runtime.moduledataverify": "checks the tables that the linker wrote",
    "runtime.moduledataverify1": "checks the tables that the linker wrote: functions in order, text where it should be",
    "runtime.stackinit": "empties the pools that stacks are taken from",
    "runtime.mallocinit": "reserves the heap's address space and makes the allocator",
    "runtime.randinit": "seeds the random numbers from the kernel's 16 bytes",
    "runtime.fastrandinit": "seeds the random numbers from the kernel's 16 bytes",
    "runtime.cpuinit": "looks for processor features that Go has faster code for",
    "runtime.alginit": "chooses the hash functions of maps",
    "internal/runtime/maps.AlgInit": "chooses the hash functions of maps",
    "runtime.mcommoninit": "gives m0 its number, its random seed and its signal goroutine, and links it into allm",
    "runtime.mpreinit": "allocates gsignal, the goroutine on whose stack signals are handled",
    "runtime.checkmcount": "checks that there are not more than maxmcount Ms",
    "runtime.mReserveID": "takes the next number for an M",
    "runtime.modulesinit": "lists the modules of the program",
    "runtime.typelinksinit": "merges types that several modules define",
    "runtime.itabsinit": "fills the table of interface methods that the linker prepared",
    "runtime.stkobjinit": "prepares the collector's description of objects on stacks",
    "runtime.goargs": "copies the arguments into os.Args",
    "runtime.goenvs": "copies the environment",
    "runtime.goenvs_unix": "copies the environment",
    "runtime.secure": "drops what is unsafe in a setuid program's environment",
    "runtime.checkfds": "checks that descriptors 0, 1 and 2 are open",
    "runtime.parsedebugvars": "reads GODEBUG",
    "runtime.parseRuntimeDebugVars": "reads GODEBUG",
    "runtime.finishDebugVarsSetup": "applies what GODEBUG asked for",
    "runtime.gcinit": "sets the garbage collector's pace from GOGC and GOMEMLIMIT",
    "runtime.sigsave": "keeps the signal mask the program was started with",
    "runtime.procresize": "makes the Ps: grows allp, initializes each, gives allp[0] to this M, the rest are idle",
    "runtime.(*p).init": "gives a P its number, caches and queues",
    "runtime.(*p).destroy": "takes a P away: its goroutines, timers and caches go to others",
    "runtime.GOMAXPROCS": "changes the number of Ps, while the world is stopped",
    "runtime.acquirep": "this M takes its P: m.p and p.m point at each other",
    "runtime.wirep": "this M takes its P: m.p and p.m point at each other",
    "runtime.(*randomOrder).reset": "prepares the order in which Ms steal work (steps coprime to the number of Ps)",
    "runtime.pidleput": "puts a P on the idle list",
    "runtime.runqempty": "checks whether a P has work",
    "runtime.newproc": "makes a goroutine and puts it into the queue of this M's P",
    "runtime.newproc1": "takes or makes a g, and writes its first registers: pc at the function, goexit as its caller",
    "runtime.malg": "allocates a g and its stack",
    "runtime.allgadd": "enters the goroutine into allgs",
    "runtime.runqput": "puts the goroutine into the P's queue, as runnext",
    "runtime.mstart": "this thread becomes a worker: it enters the scheduler and does not come back",
    "runtime.mstart0": "sets g0's guard: stackguard0 = lo + the guard",
    "runtime.mstart1": "remembers where mcall may return to, installs signal handlers on m0",
    "runtime.minit": "gives this thread its signal stack and mask",
    "runtime.mstartm0": "installs the signal handlers",
    "runtime.initsig": "installs a handler for every signal that Go wants to see",
    "runtime.schedule": "finds a goroutine and runs it",
    "runtime.findRunnable": "takes a goroutine from the local queue, the global queue, the poller, or another P",
    "runtime.findrunnable": "takes a goroutine from the local queue, the global queue, the poller, or another P",
    "runtime.execute": "makes the goroutine running: m.curg = g, status _Grunning",
    "runtime.gogo": "loads the goroutine's registers and jumps to its pc",
    "runtime.main": "the first goroutine: starts sysmon, runs every package's init, then main.main",
    "runtime.newm": "makes an M and a thread for it",
    "runtime.newm1": "makes a thread for an M",
    "runtime.allocm": "allocates an m and its g0",
    "runtime.newosproc": "asks the kernel for a thread (clone) that begins in mstart",
    "runtime.clone": "the system call; the new thread goes on in the same function",
    "runtime.sysmon": "sysmon started on a new M: it needs no P and watches over all others",
    "runtime.gcenable": "starts the goroutines that sweep and scavenge",
    "runtime.doInit": "runs the packages' init functions in order",
    "runtime.doInit1": "runs the packages' init functions in order",
    "runtime.lockOSThread": "ties the main goroutine to the main thread while the inits run",
    "runtime.unlockOSThread": "unties the main goroutine again",
    "runtime.forcegchelper": "the goroutine that starts a collection when there was none for two minutes",
    "runtime.bgsweep": "the goroutine that sweeps spans behind the collector",
    "runtime.bgscavenge": "the goroutine that gives memory back to the system",
    "runtime.exit": "the end: exit_group ends all threads",
    "main.main": "the program's own first function",
}


_ON: dict[tuple[str, str], str] = {
    ("runtime.settls", "windows"): "stores the address of m0.tls in this thread's block (TEB), by which g is found",
    ("runtime.save_g", "darwin"): "stores g in a slot of this thread's own, which signal handlers and C code read",
}
"""(station, system) -> what it does there, where that differs."""
_ENTRY = "the first instruction"
_FIRST_GOROUTINE = "makes the first goroutine, whose function is runtime.main"


def story(name: str, system: str, at_entry: bool) -> str:
    """Returns the sentence about a station; empty when there is none. `at_entry`: it is where the program begins."""
    got = _ON.get((name, system)) or STORY.get(name)
    if got is None and (at_entry or name.startswith("_rt0_")):
        if not at_entry:
            return "the way into Go's own code"
        if system == "linux":
            return f"{_ENTRY}: the kernel jumps here, with argc and argv on the stack"
        return f"{_ENTRY} of the program"
    return got or ""


def goroutine_story(function: str) -> str:
    """Returns the sentence about a call of newproc that starts this function."""
    return _FIRST_GOROUTINE if function == "runtime.main" else f"makes a goroutine, whose function is {function}"
