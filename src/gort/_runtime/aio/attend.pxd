# attend.pxd: the C types of attend.py.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport M

cdef int64_t attend(M m, int64_t since) except -1
