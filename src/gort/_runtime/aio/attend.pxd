# attend.pxd: the C types of attend.py.
from gort._runtime.aio.core cimport LoopCore
from gort._runtime.core.runtime2 cimport M

cdef int attend(LoopCore core, M m) except -1
