# scopes.pxd: the C signatures of scopes.py, the scopes and cancellations of goroutines.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport G, Scope

cdef int put_back(G g) except -1
cdef int pick(G g) except -1
cdef object taken(G g)
cpdef take_cancel(G g)
cdef bint request(G g, int64_t goid, Scope scope, object exc, bint force) except -1
cpdef enter_scope(G g, Scope scope)
cpdef leave_scope(Scope scope)
cpdef bint rearm(G g, object exc)
