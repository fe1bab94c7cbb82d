# frames.pxd: the C types of frames.py.
cimport cython
from libc.stdint cimport int64_t

@cython.final
cdef class Frames:
    cdef readonly object message
    cdef readonly bytes piece
    cdef bytes data
    cdef Py_ssize_t at
    cdef bytes rest
    cdef int64_t due
    cdef bint open
    cdef int64_t most
    cpdef feed(self, bytes data)
    cpdef bint take(self) except -1
    cdef bint make(self, int first, Py_ssize_t at, Py_ssize_t size) except -1

cdef bint is_wrong(int first, int second, bint both) noexcept
cdef int64_t length_of(bytes data, Py_ssize_t at) except -2
cpdef bytes framed(object message)
