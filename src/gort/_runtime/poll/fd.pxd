# fd.pxd: the C types of fd.py, descriptors that goroutines read and write.
cimport cython
from gort._runtime.poll.polldesc cimport NetOp, PollDesc, Poller

cpdef enum:
    READ = 0
    WRITE = 1
    READINTO = 2
    WRITEV = 3
    ACCEPT = 4
    CALL_W = 5
    CALL_R = 6

@cython.final
cdef class Accepted:
    cdef int fd
    cdef object addr
    cpdef take(self)

cdef class IOOp(NetOp):
    pass
cdef class EmptyOp(IOOp):
    pass

cdef class FD(PollDesc):
    cdef readonly bint sock
    cdef readonly bint stream
    cdef public object pushed
    cdef public Py_ssize_t pushedat
    cdef public object lsock
    cpdef push(self, data, Py_ssize_t at=*)
    cpdef pop(self, Py_ssize_t n)
    cpdef tuple held(self)
    cpdef Py_ssize_t skip(self, Py_ssize_t n) except -1
    cpdef bint refuses_reads(self) except -1
    cpdef take_until(self, object delimiter, Py_ssize_t limit)

