# handoff.pxd: the C signatures of handoff.py (ready, cancel, and the handoff of Ps between Ms).
from libc.stdint cimport int64_t, uint64_t
from gort._runtime.core.runtime2 cimport G, M, P, Sched, Scope, Op
cdef extern from *:  # typed constants: Cython would make these numbers Python ints
    const unsigned long long MASK64 "0xFFFFFFFFFFFFFFFFULL"
cpdef int ready(G g) except -1
cdef int enqueue(G g, bint next) except -1
cpdef bint cancel(G g, int64_t goid, object exc)
cpdef bint cancel_scope(Scope scope, object exc)
cdef int deliver_cancel(G g, Op op) except -1
cdef int wake_cancelled(G g) except -1
cdef int end_place(Sched s) except -1
cpdef wakep(Sched s)
cdef int resetspinning(M m) except -1
cpdef void wake_poller(Sched s)
cpdef startm(Sched s)
cpdef M allocm(Sched s)
cpdef linkm(Sched s, M m)
cdef M takem(Sched s, M spare)
cdef launch(Sched s, M m)
cdef give(Sched s, P p, M m)
cpdef bint handoffp(Sched s, P p, int64_t mid)
cpdef bind(P p, M m)
cdef bint unbind(P p, int64_t mid)
cpdef bint acquire_idle(Sched s, M m)
cpdef pidleput(Sched s, P p)
cdef P pidleget(Sched s)
cpdef bint sysmon_may_sleep(Sched s)
cpdef entersyscall(M m)
cpdef bint exitsyscall(M m)
cpdef fatal(Sched s, object exc)
cpdef request_exit(Sched s)
cdef bint checkdead(Sched s)
cpdef bint stranded(Sched s)
cpdef bint is_dead(Sched s)
cpdef found_dead(Sched s)
cpdef uncount(G g)
cdef bint unwatched(Sched s, P p)
