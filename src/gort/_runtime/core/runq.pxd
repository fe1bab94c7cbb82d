# runq.pxd: the C signatures of runq.py, the operations on run queues.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport G, P, Sched
cdef bint runqput(Sched s, P p, int64_t mid, G g, bint next) noexcept
cdef G runqget(P p, int64_t mid)
cdef bint runqgetown(P p, int64_t mid, G g) noexcept
cdef bint globrunqgetown(Sched s, G g) noexcept
cdef G runqsteal(Sched s, P p, int64_t mid, P victim, bint stealnext)
cdef void globrunqput(Sched s, G g) noexcept
cdef void globrunqputchain(Sched s, G head, G tail, int n) noexcept
cdef G globrunqget(Sched s, P p, int64_t mid, int max)
cdef void give(Sched s, P p, int64_t mid, G head, G tail, int n) noexcept
cpdef drain(Sched s, P p)
cdef void kick(P p, int64_t mid) noexcept
cdef unlink(G g)
cpdef release_queues(Sched s)
cpdef release_idle(Sched s)
