# predict.pxd: the C types of predict.py, the predictor of calls that block.
cimport cython
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport G, M, Sched


@cython.final
cdef class Stretch:
    cdef public int64_t procid
    cdef public int64_t place
    cdef public bint away
    cdef public bint fresh
    cdef public bint locked
    cdef public int64_t since
    cdef public int64_t cpu
    cdef public int64_t sleeps


@cython.final
cdef class Predictor:
    cdef public dict places
    cdef public list fresh
    cdef public object told
    cdef public bint on
    cdef public bint always
    cdef public int64_t turn
    cdef public int64_t recent
    cdef public int64_t hits
    cdef public int64_t misses
    cdef public int64_t ns
    cpdef tell(self)
    cpdef learn(self, object s, int64_t place)
    cpdef look(self, M m)
    cdef int enter(self, M m, int64_t place) except -1
    cdef bint may_begin(self, Sched s, int64_t place, object count) except -1
    cpdef int leave(self, M m, bint take) except -1
    cdef int judge(self, M m, Stretch st) except -1
    cdef int settled(self, Stretch st) except -1
    cdef int seen(self, Stretch st) except -1
    cpdef settle(self, bint asks)
    cpdef look_after(self, Sched s, int64_t now)


cdef int lookahead(M m, G g) except -1
