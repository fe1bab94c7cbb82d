# response.pxd: the C types of response.py.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from gort._runtime.web.line cimport Line
from gort._runtime.web.request cimport Incoming

cpdef enum:
    NO_BODY = 0
    COUNTED = 1
    CHUNKED = 2
    TO_THE_END = 3

# Without the tuple, the buffers and the checks of bytes.join.
cdef inline bytes joined(bytes head, bytes end, bytes body):
    cdef Py_ssize_t n = len(head), m = len(end), k = len(body)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, n + m + k)
    cdef char *to = PyBytes_AS_STRING(made)
    memcpy(to, PyBytes_AS_STRING(head), n)
    memcpy(to + n, PyBytes_AS_STRING(end), m)
    memcpy(to + n + m, PyBytes_AS_STRING(body), k)
    return made

cpdef object date_line()
cdef int64_t number_of(bytes value) except -1

cdef class Fields:
    cdef public object method
    cdef public object target
    cdef public list headers
    cdef public object version
    cdef public object length
    cdef public object upgrade
    cdef public object scheme
    cdef public object client
    cdef public object server
    cdef public bint started
    cdef public int status
    cdef public int64_t sent
    cdef public object refusal
    cdef public bint lost

cdef class Answer(Fields):
    cdef public Line _c
    cdef public Incoming _request
    cdef public int64_t _got
    cdef public object _head
    cdef public int _mode
    cdef public int64_t _left
    cdef public bint _ended
    cdef public object _comes
    cdef public object _goes
    cdef public object _over
    cdef public object _idle
    cdef public bint _watching
    cdef object arrived(self)
    cpdef start(self, object status, object reason, object headers, object known=*)
    cpdef object take_head(self, object body)
    cpdef object whole(self, object status, object reason, object headers, object body)
