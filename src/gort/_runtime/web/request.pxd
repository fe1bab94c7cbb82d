# request.pxd: the C types of request.py.
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef inline bytes part(bytes data, Py_ssize_t at, Py_ssize_t end):
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + at, end - at)

@cython.final
@cython.freelist(64)
cdef class Incoming:
    cdef public object method
    cdef public object target
    cdef public list headers
    cdef public object version
    cdef public bint keep_alive
    cdef public list body
    cdef public bint complete
    cdef public object length
    cdef public bint expects
    cdef public object upgrade
    cdef public object trailers

cdef class Parser:
    cdef readonly object limits
    cdef readonly list queue
    cdef public bint partial
    cdef public object failed
    cdef readonly bint clean
    cdef bint linked
    cdef bint framed
    cdef object host
    cdef object target
    cdef Py_ssize_t most_headers
    cdef Py_ssize_t most_bytes
    cpdef check(self, Incoming request)
    cpdef only(self, object data)

cdef class Events(Parser):
    cdef public object llhttp
    cdef public object take
    cdef public Incoming now
    cdef public bint head
    cdef Py_ssize_t size
    cdef Py_ssize_t held
    cdef public Incoming resumed
    cdef bytes data
    cdef object __weakref__

cdef Incoming plain(Events parser, bytes data)
cdef bint is_clean(Parser parser, Incoming request, bytes data) except -1
