# watcher.pxd: the C types of watcher.py, sysmon's sleep.
cimport cython
from libc.stdint cimport int64_t
from cpython.ref cimport PyObject
from gort._runtime.core.runtime2 cimport P, Sched

cdef enum:
    WATCHED = 64
    LOOK_NS = 50000
    CALM = 50
    DOUBLED = 2
    HOPE = 500
    RETRY = 8
    VAIN_DOUBLED = 3
    VAIN_QUIET_DOUBLED = 2
    QUIET_DOUBLED = 3
    QUIET_NS = 200000
    SURE_NS = 50000
    SOON_NS = 36000
    LATE_NS = 100000
    GLANCE_NS = 120000
    LOCK_NS = 2000000


ctypedef struct Look:
    PyObject *p
    int64_t tick
    int64_t mid
    int64_t since
    int64_t clock
    int64_t cpu
    int64_t looked
    int does
    int64_t asked


@cython.final
cdef class Watcher:
    cdef public P found
    cdef public int64_t tick
    cdef public int64_t mid
    cdef public int64_t since
    cdef public int64_t rests
    cdef public int64_t looked
    cdef public int does
    cdef public int64_t asked
    cdef public int calm
    cdef public int vain
    cdef Look looks[64]
    cpdef sleep(self, Sched s, int64_t ns)

cdef int watch(Look *looks, int n, int *note, int64_t until, PyObject *sched, int *calm, int *vain) noexcept nogil
