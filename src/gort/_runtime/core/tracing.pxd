# tracing.pxd: the C signatures of tracing.py.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport G, M, Op, P, Sched

cpdef enum:
    HOOK_MIGRATION = 1
    HOOK_TRACE = 2
    HOOK_LATENCY = 4
    HOOK_RUNS = 6
    HOOK_SEED = 8
    HOOK_WAITS = 16

cpdef enum:
    EV_START = 1
    EV_BLOCK = 2
    EV_STOP = 3
    EV_END = 4
    EV_CREATE = 5
    EV_READY = 6
    EV_SYSCALL = 7
    EV_EXITSYS = 8
    EV_PSTOP = 9
    EV_TAKE = 10
    EV_CREATE_OUT = 11
    EV_READY_OUT = 12
    EV_DISCARD = 13
    EV_PROCS = 14
    EV_STW_BEGIN = 15
    EV_STW_END = 16
    EV_USER = 17

cdef int put(M m, int kind, int64_t goid, int64_t arg, int how, object of, object begins) except -1
cdef int put_outside(Sched s, int kind, int p, int64_t goid, int64_t arg, object begins) except -1
cdef int timed(G g) except -1
cdef int ran(M m, G g) except -1
cdef int started(M m, G g) except -1
cdef int blocked(M m, G g, Op op) except -1
cdef int stopped(M m, G g) except -1
cdef int ended(M m, G g) except -1
cdef int created(M m, G g) except -1
cdef int discarded(M m, G g) except -1
cdef int readied(G g) except -1
cdef int waits(G g, Op op) except -1
cdef int waited(G g) except -1
cdef int entered(M m) except -1
cdef int exited(M m) except -1
cdef int gave_up(M m, P p) except -1
cdef int taken_from(Sched s, P p, int64_t victim) except -1
cdef int resized(M m, int64_t n) except -1
cdef int world(M m, bint stops) except -1
