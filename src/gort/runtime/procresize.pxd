# procresize.pxd
from gort.runtime.rt cimport rt_import
from gort.runtime.runtime2 cimport G, M, P, Sched, _Pdead, _Pgcstop, _Pidle
from gort.runtime.handoff cimport bind, pidleput, startm
from gort.runtime.runq cimport drain
from gort.runtime.timers cimport movetimers
cpdef list procresize(Sched s, int n, M m)
cdef P new_p(int i)
cdef destroy(Sched s, P p)
cpdef stop_the_world(Sched s, M m)
cpdef start_the_world(Sched s, list work)
