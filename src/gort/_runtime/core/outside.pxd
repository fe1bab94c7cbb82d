# outside.pxd: the C signatures of outside.py, Gs that stand for threads.
from gort._runtime.core.runtime2 cimport G, Op, Sched

cpdef G thread_g(Sched s)
cpdef G task_g(Sched s, object done)
cpdef G stand_in(G g, G w)
cpdef bint thread_park(G g, Op op)
cpdef count_parked(G g)
