# line.pxd: the C types of line.py.
from gort._runtime.web.request cimport Parser

cdef class Line:
    cdef public object owner
    cdef public object server
    cdef public object conn
    cdef public object client
    cdef public object where
    cdef public object scheme
    cdef public Parser parser
    cdef public object exchange
    cdef public list spare
    cdef public bint asleep
    cdef public bint drowsy
    cdef public bint idle
    cdef public bint keep
    cdef public bint broken
    cdef public bint over
    cdef public double read_until
    cdef public double write_until
    cpdef queued(self)
    cpdef bint rests(self) except -1
    cpdef came(self, object data)
    cpdef double write_begins(self) except? -1
