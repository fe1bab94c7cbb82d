# attend.pxd: the C types of attend.py.
from libc.stdint cimport int64_t
from gort._runtime.aio.core cimport LoopCore
from gort._runtime.core.runtime2 cimport M

cdef int64_t attend(LoopCore core, M m) except -1
