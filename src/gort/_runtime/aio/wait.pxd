# wait.pxd: the C types of wait.py.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport M
from gort._runtime.poll.netpoll cimport OwnWait
from gort._runtime.aio.core cimport LoopCore

cdef class LoopWait(OwnWait):
    pass

cdef int take_events(LoopCore core, int64_t delay, int64_t spin) except -1
cpdef object advance(LoopCore core, object m)
cdef bint wait_in_place(LoopCore core, M m) except -1
cdef int64_t deadline(LoopCore core, int64_t now) except -1
cpdef object next_wait(LoopCore core)
cdef int hear(LoopCore core) except -1
