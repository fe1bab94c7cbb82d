# levelpoll.pxd: the C types of levelpoll.py, the poller on poll or select.
cimport cython
from libc.stdint cimport int64_t
from gort._runtime.poll.netpoll cimport Netpoll
from gort._runtime.poll.polldesc cimport PollDesc

@cython.final
cdef class Levelpoll(Netpoll):
    cdef int how
    cdef int idle
    cdef dict wanted(self)

cdef unsigned int interest(PollDesc pd) noexcept
cdef object ask(int how, dict wanted, int64_t delay)
cdef bint closed(int fd) except -1
