# locked.pxd: the C signatures of locked.py, threads that are locked to a goroutine.
from gort._runtime.core.runtime2 cimport G, M

cdef G schedule_locked(M m)
cdef int startlockedm(M m, G g) except -1
