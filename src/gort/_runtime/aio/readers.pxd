# readers.pxd: the C types of readers.py.
from gort._runtime.aio.core cimport LoopCore

cdef object watch(LoopCore core, object fileobj, int fd, int bit, object callback, object args, object context)
cdef int check_no_transport(LoopCore core, object fileobj) except -2
