# due.pxd: the C types of due.py.
from libc.stdint cimport int64_t
from gort._runtime.aio.core cimport LoopCore
from gort._runtime.aio.handles cimport TimerHandle

cdef TimerHandle schedule(LoopCore core, object when, object callback, object args, object context)
cdef int drop_cancelled(LoopCore core) except -1
cdef bint first_stays(LoopCore core, list timers) except -1
cdef bint by_the_clock(LoopCore core) except -1
cdef int run_timers(LoopCore core, int64_t now) except -1
