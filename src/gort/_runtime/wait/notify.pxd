# notify.pxd: the C types of notify.py.
from gort._runtime.wait.sema cimport Waitq

cdef class Notify(Waitq):
    pass
