# contention.pxd: the C types of contention.py.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport G

cpdef enum:
    BLOCK = 0
    MUTEX = 1

cdef int64_t drawn(int64_t n) noexcept
cpdef over(G g, int64_t since)
cpdef block(object coro, int reason, int64_t since)
cpdef charge(int64_t ns, int64_t count)
cdef int add(int which, object coro, int reason, double count, double ns) noexcept
