# netpoll.pxd: the C types of netpoll.py, the poller.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport Sched
from gort._runtime.poll.polldesc cimport NetOp, Poller, PollDesc

cdef extern from *:
    """
    #define GORT_EPOLLET 0x80000000u
    """
    unsigned int EPOLLET "GORT_EPOLLET"

cpdef enum:
    OWN_FOUND = 1
    OWN_BELL = 2
    IN_EPOLL = 1
    IN_OWN = 2

cdef class OwnWait(NetOp):
    cpdef int own_poll(self, int64_t delay, int64_t spin) except -1

cdef class Netpoll(Poller):
    cdef int inwait
    cdef int wakesig
    cdef int epfd
    cdef int evfd
    cdef int wakefd
    cdef int bellfd
    cdef list descs
    cdef object mu
    cdef bint shared
    cdef public int64_t spinns
    cdef public int64_t spun
    cdef bint quick
    cdef int hurried
    cpdef open(self)
    cpdef shut(self)
    cpdef forget(self)
    cpdef watch(self, int fd, bint wlate)
    cpdef unwatch(self, int fd)
    cpdef bint waiters(self)
    cpdef bint poll(self, int64_t delay) except -1
    cpdef poll_late(self, int64_t now)
    cpdef wake(self)
    cpdef int bell(self)
    cpdef close(self)

cpdef Netpoll netpoll_of(Sched s)
cpdef hurry(Netpoll np, int by)
cdef OwnWait alone(Netpoll np)
cdef bint enter_own(Netpoll np) noexcept
cdef int leave_own(Netpoll np, int woken) noexcept
cdef PollDesc lookup(Netpoll np, int fd)
