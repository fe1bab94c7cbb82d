# net.pxd: the C side of gort_net.h for the compiled core.  net.py holds the same names for the uncompiled one.
from libc.stdint cimport int64_t

cdef extern from "gort_net.h":
    enum: NET_AGAIN
    enum: NET_EPOLL
    int net_epoll_create() except -1
    int net_eventfd() except -1
    int net_epoll_add(int epfd, int fd, unsigned int mask) except -1
    int net_epoll_mod(int epfd, int fd, unsigned int mask) except -1
    void net_epoll_del(int epfd, int fd) noexcept
    int net_epoll_wait(int epfd, int64_t delay) noexcept
    int net_epoll_spin(int epfd, int64_t ns) noexcept
    int net_event_fd(int i) noexcept
    unsigned int net_event_mask(int i) noexcept
    void net_event_write(int fd) noexcept
    void net_event_clear(int fd) noexcept
    int net_load(int *p) noexcept
    void net_store(int *p, int v) noexcept
    int net_swap(int *p, int v) noexcept
    void net_add(int *p, int v) noexcept
    object net_item(list items, Py_ssize_t i)
    Py_ssize_t net_find(object data, Py_ssize_t start, object delimiter, Py_ssize_t limit) noexcept
    bint net_has(object data, Py_ssize_t at, object text) noexcept
    Py_ssize_t net_printed(object data, Py_ssize_t start) noexcept
    object net_head(bytes line, list parts, bytes last)
    object net_unmask(object data, Py_ssize_t at, Py_ssize_t n)
    object net_read(int fd, Py_ssize_t n, int sock)
    Py_ssize_t net_readinto(int fd, object target, int sock) except -1
    Py_ssize_t net_write(int fd, object data, Py_ssize_t skip, int sock) except -1
    Py_ssize_t net_writev(int fd, object parts, Py_ssize_t skip, int sock) except -1
    object net_accept(int fd, object sock)
    void net_close(int fd) noexcept
    int net_dup(int fd) noexcept
