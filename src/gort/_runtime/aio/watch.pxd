# watch.pxd: the C types of watch.py.
cimport cython

@cython.final
@cython.freelist(8)
cdef class Watch:
    cdef int fd
    cdef readonly object fileobj
    cdef readonly object reader
    cdef readonly object writer
    cdef readonly int mask
    cdef int came

@cython.final
cdef class Watches:
    cdef int ep
    cdef dict by_fd
    cdef list hits
    cdef list last

cdef int number(object fileobj) except -2
cdef Watch lookup(Watches ws, object fileobj, int fd)
cdef int add(Watches ws, object fileobj, int fd, int bit, object handle) except -1
cdef bint remove(Watches ws, object fileobj, int fd, int bit) except -1
cdef object swap(Watch w, int bit, object handle)
cdef int change(Watches ws, Watch w, int mask) except -1
cdef int hit(Watches ws, Watch w, int mask) except -1
cdef int enqueue_hits(Watches ws, object ready) except -1
cdef bint cancelled(object handle) except -1
cdef bint still(Watches ws) except -1
