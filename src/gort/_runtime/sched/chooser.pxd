# chooser.pxd: the C types of chooser.py, which decides who goes on in an explored schedule.
cimport cython
from libc.stdint cimport int64_t, uint64_t
from gort._runtime.core.runtime2 cimport G, M, Op, P, Sched

cpdef enum:
    REPLAY = 0
    RANDOM = 1
    PCT = 2

cpdef enum:
    RUNNING = 0
    ENDED = 1
    ASLEEP = 2
    ENDLESS = 3


@cython.final
cdef class Chooser:
    cdef public int how
    cdef public dict deviations
    cdef public uint64_t rand
    cdef public int64_t interrupt
    cdef public object falls
    cdef public list priorities
    cdef public int64_t lowest
    cdef public list ready
    cdef public G forced
    cdef public object begun
    cdef public int64_t position
    cdef public int64_t steps
    cdef public int64_t limit
    cdef public int over
    cdef public bint returned
    cdef public list record
    cdef public object observer
    cpdef reset(self, M m, int how, int64_t seed, dict deviations, int64_t interrupt, object falls)
    cpdef int run(self, M m) except -1
    cpdef bint before(self, M m, Op op) except -1
    cpdef bint after(self, M m, Op op) except -1
    cpdef reuse(self, M m, G g)
    cpdef clear(self, M m)
    cdef bint switches(self, M m) except -1
    cdef int drain(self, M m) except -1
    cdef int choose(self, G mine, int n) except -1
    cdef int highest(self, G mine, int n, int64_t position) except -1
    cdef uint64_t draw(self)
