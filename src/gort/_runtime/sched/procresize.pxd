# procresize.pxd
from gort._runtime.c.rt cimport rt_import
from gort._runtime.core.runtime2 cimport G, M, P, Sched, _Pdead, _Pgcstop, _Pidle
from gort._runtime.core.handoff cimport bind, pidleput, startm
from gort._runtime.core.runq cimport drain
from gort._runtime.sched.timers cimport movetimers
cpdef list procresize(Sched s, int n, M m)
cdef P new_p(int i)
cdef destroy(Sched s, P p)
cpdef stop_the_world(Sched s, M m)
cpdef start_the_world(Sched s, list work)
