# rest.pxd: the C types of rest.py.
from gort._runtime.core.runtime2 cimport M

cdef int wake(M m) except -1
cdef int rest(M m) except -1
cdef int flush(M m) except -1
