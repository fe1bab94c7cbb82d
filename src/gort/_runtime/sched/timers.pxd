# timers.pxd: the C types of timers.py, the timer heaps and sleep.
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport P, Sched, Op
cdef extern from *:  # typed constants: C would make those of an enum unsigned
    const long long MAX_WHEN "0x7FFFFFFFFFFFFFFFLL"
    const double MAX_SECONDS "9.2e9"
cpdef int64_t to_ns(object seconds) except? -1
cpdef int64_t when_after(int64_t ns) noexcept
cpdef double monotonic() noexcept
cdef class Timer:
    cdef public int64_t when
    cdef public int64_t seq
    cdef public int64_t gen
    cdef public int heapidx
    cdef public int pid
    cdef public Op op
    cdef public object f
    cdef public object arg
    cdef public Sched sched
    cdef int fire(self, int64_t gen, int64_t now) except -1
cdef class SleepOp(Op):
    pass
cpdef bint arm(Sched s, Timer t, int64_t when)
cpdef wake_for(Sched s, int64_t when)
cpdef addtimer(Sched s, Timer t, int64_t when)
cpdef bint deltimer(Timer t)
cdef bint takeout(Timer t, Op op)
cdef int64_t checktimers(Sched s, P p, int64_t now) except -1
cdef int64_t timesleepuntil(Sched s)
cpdef movetimers(P src, P dst)
cpdef cleartimers(P p)
cdef inline int64_t *keys(P p) noexcept:
    return <int64_t *>PyByteArray_AS_STRING(p.whens)
cdef inline int make_room(P p, Py_ssize_t n) except -1
cdef inline void place(list heap, int64_t *whens, int i, Timer t, int64_t when) noexcept
cdef void siftup(P p, int i) noexcept
cdef void siftdown(P p, int i) noexcept
cpdef bint only(P p, list timers) noexcept
cdef inline int push(P p, Timer t) except -1
cdef void remove(P p, int i) noexcept
