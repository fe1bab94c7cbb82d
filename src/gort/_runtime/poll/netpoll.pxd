# netpoll.pxd: the C types of netpoll.py, the poller.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport Sched
from gort._runtime.poll.polldesc cimport Poller, PollDesc

cdef extern from *:
    """
    #define GORT_EPOLLET 0x80000000u
    """
    unsigned int EPOLLET "GORT_EPOLLET"

cdef class Netpoll(Poller):
    cdef int inwait
    cdef int wakesig
    cdef int epfd
    cdef int evfd
    cdef int wakefd
    cdef list descs
    cdef object mu
    cpdef open(self)
    cpdef shut(self)
    cpdef watch(self, int fd)
    cpdef unwatch(self, int fd)
    cpdef bint waiters(self)
    cpdef bint poll(self, int64_t delay) except -1
    cpdef wake(self)
    cpdef close(self)

cpdef Netpoll netpoll_of(Sched s)
cdef PollDesc lookup(Netpoll np, int fd)
