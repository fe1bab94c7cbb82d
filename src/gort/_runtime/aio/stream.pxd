# stream.pxd: the C types of stream.py.
cimport cython

@cython.final
cdef class Stream:
    cdef object transport
    cdef object protocol
    cdef bint buffered
    cdef object context
    cdef object came
    cdef int ep
    cdef readonly int fd
    cdef object flush
    cdef readonly bint watched
    cdef bint reading
    cdef bint readable
    cdef bint writable
    cdef bint hup
    cdef bint exact
    cdef bint queued
    cdef bint direct
    cdef int lost

cdef int enqueue(Stream st) except -1
cdef int event(Stream st, unsigned int mask) except -1
cdef int serve(Stream st) except -1
cdef int step(Stream st) except -1
cdef int flush_once(Stream st) except -1
cdef void drained(Stream st, Py_ssize_t n, Py_ssize_t room) noexcept
cdef int read(Stream st) except -1
cdef int read_into(Stream st) except -1
cdef int ended(Stream st) except -1
