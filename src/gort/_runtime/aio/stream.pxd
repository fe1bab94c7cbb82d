# stream.pxd: the C types of stream.py.
cimport cython
from libc.stdint cimport int64_t

@cython.final
cdef class Cork:
    cdef int64_t procid
    cdef Stream stream

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
    cdef bint holds
    cdef object held
    cdef Py_ssize_t held_bytes
    cdef Cork cork
    cdef int lost

cdef bint holding(Cork cork) except -1
cdef int send(Stream st, object data) except -1
cdef int hold(Stream st, object data) except -1
cdef int release(Cork cork) except -1
cdef int enqueue(Stream st) except -1
cdef int event(Stream st, unsigned int mask) except -1
cdef int serve(Stream st) except -1
cdef int step(Stream st) except -1
cdef int flush_once(Stream st) except -1
cdef void drained(Stream st, Py_ssize_t n, Py_ssize_t room) noexcept
cdef int read(Stream st) except -1
cdef int read_into(Stream st) except -1
cdef int ended(Stream st) except -1
