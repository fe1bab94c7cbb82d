# locked.pxd: the C signatures of locked.py, threads that are locked to a goroutine.
from gort._runtime.core.runtime2 cimport G, M, P, Sched

cdef int hand(P p, M m) except -1
cdef G schedule_locked(M m)
cdef bint startlockedm(M m, G g) except -1
cdef bint look(M m) except -1
cdef bint run_due_timers(Sched s, P p) except -1
cdef int leave_to_others(M m) except -1
