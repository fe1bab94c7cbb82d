# debugger.pxd: the C signatures of debugger.py, the trace functions of goroutines.
from gort._runtime.core.runtime2 cimport G, M

cdef int lend_trace(M m, G g) except -1
cdef int carry_trace(M m, G g) except -1
cdef bint debugged(object coro) except -1
