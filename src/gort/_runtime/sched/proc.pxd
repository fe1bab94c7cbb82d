# proc.pxd: the C signatures and constants of proc.py, the scheduler's loop.
from gort._runtime.core.runtime2 cimport G, M, P, Sched

cdef G schedule(M m)
cdef inline int execute(M m, G g) except -1
cdef int tell(M m, G g, int mcall) except -1
cdef int pass_on(M m, G g) except -1
cdef inline int yielded(Sched s, G g) except -1
cdef int foreign(M m, G g) except -1
cdef int run(M m, G g)
cdef inline int resume(M m, G g) noexcept
cdef inline int call_in(M m, G g, object fn, object args, object kwargs, object via) noexcept
cdef int throw_in_c(M m, G g, object exc) noexcept
cdef inline int park(M m, G g) except -1
cdef int goexit0(M m, G g, int r) except -1
cdef int throw_in(M m, G g)
cpdef loop(M m)
cdef void begin() noexcept
cpdef in_context(G g, object fn)
cpdef mstart(M m)
cpdef mexit(M m)
