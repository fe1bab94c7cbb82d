# netpoll.pxd: the poller in C types.
from cpython.exc cimport PyErr_CheckSignals
cimport cython
from libc.stdint cimport int64_t
from gort._runtime.c.rt cimport rt_import, nanotime
from gort._runtime.core.runtime2 cimport Sched
from gort._runtime.c.net cimport net_close, net_epoll_add, net_epoll_create, net_epoll_del, net_epoll_wait, net_event_clear
from gort._runtime.c.net cimport net_event_fd, net_event_mask, net_event_write, net_eventfd, net_item, net_load, net_store, net_swap
from gort._runtime.poll.polldesc cimport Poller, PollDesc, event, EPOLLIN, EPOLLOUT, EPOLLRDHUP

cdef extern from *:
    """
    #define GORT_EPOLLET 0x80000000u
    """
    unsigned int EPOLLET "GORT_EPOLLET"

@cython.final
cdef class Netpoll(Poller):
    cdef int inwait
    cdef int wakesig
    cdef int epfd
    cdef int evfd
    cdef list descs
    cdef object mu
    cpdef bint waiters(self)
    cpdef bint poll(self, int64_t delay) except -1
    cpdef wake(self)
    cpdef close(self)

cpdef Netpoll netpoll_of(Sched s)
cdef PollDesc lookup(Netpoll np, int fd)
