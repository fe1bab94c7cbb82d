/* gort_net.h: the system calls of the netpoller and of descriptors, for the compiled core.
 *
 * What lives here: one function for each system call, none of which blocks except epoll_wait; and a few atomic
 * operations.  What does not: any decision; netpoll.py and fd.py make those.  net.py has functions of the same names
 * for the uncompiled core.
 *
 * Only the part "epoll" needs Linux.  -DGORT_NO_EPOLL leaves it out there too: a test compiles the file like that.
 *
 * Results: NET_AGAIN means that the call would block; -1 (or NULL) means that a Python exception is set.
 * A call that copies at most NET_HOLD bytes keeps the GIL, because to release and take it would cost more than the
 * copy.
 */
#ifndef GORT_NET_H
#define GORT_NET_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "gort_rt.h" /* rt_gil_wanted */
#if defined(__linux__) && !defined(GORT_NO_EPOLL)
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#define NET_EPOLL 1
#else
#define NET_EPOLL 0
#endif

#define NET_AGAIN (-2)
#define NET_HOLD 65536
#define NET_EVENTS 256
#define NET_IOV 64

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0                                    /* Python ignores SIGPIPE */
#endif

static __thread char net_scratch[NET_HOLD];

static inline int net_would_block(int e) { return e == EAGAIN || e == EWOULDBLOCK; }

/* ---- epoll --------------------------------------------------------------------------------------------------- */
#if NET_EPOLL
static __thread struct epoll_event net_events[NET_EVENTS];

static inline int net_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) PyErr_SetFromErrno(PyExc_OSError);
    return fd;
}

static inline int net_eventfd(void) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) PyErr_SetFromErrno(PyExc_OSError);
    return fd;
}

static inline int net_epoll_ctl(int epfd, int op, int fd, unsigned int mask) {
    struct epoll_event ev;
    memset(&ev, 0, sizeof ev);
    ev.events = mask;
    ev.data.fd = fd;
    if (epoll_ctl(epfd, op, fd, &ev) == 0) return 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}
static inline int net_epoll_add(int epfd, int fd, unsigned int mask) { return net_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, mask); }
static inline int net_epoll_mod(int epfd, int fd, unsigned int mask) { return net_epoll_ctl(epfd, EPOLL_CTL_MOD, fd, mask); }

static inline void net_epoll_del(int epfd, int fd) {
    struct epoll_event ev;
    memset(&ev, 0, sizeof ev);
    epoll_ctl(epfd, EPOLL_CTL_DEL, fd, &ev);
}

/* Returns the number of events, which this thread can read until its next call.  delay in ns; 0: does not wait, -1:
 * waits without limit. */
static inline int net_epoll_wait(int epfd, int64_t delay) {
    int n;
    if (delay == 0) {
        n = epoll_wait(epfd, net_events, NET_EVENTS, 0);
        return n < 0 ? 0 : n;
    }
    struct epoll_event *events = net_events;
    int64_t woken;
    Py_BEGIN_ALLOW_THREADS
#ifdef SYS_epoll_pwait2
    struct timespec ts = { delay / 1000000000, delay % 1000000000 };
    n = (int)syscall(SYS_epoll_pwait2, epfd, events, NET_EVENTS, delay < 0 ? NULL : &ts, NULL, 0);
    if (n < 0 && errno == ENOSYS)
#endif
    {
        /* Milliseconds, rounded up, because a thread that wakes too early would spin until the timer is due. */
        int64_t ms = delay < 0 ? -1 : (delay + 999999) / 1000000;
        n = epoll_wait(epfd, events, NET_EVENTS, ms > INT_MAX ? INT_MAX : (int)ms);
    }
    woken = rt_gil_wanted();
    Py_END_ALLOW_THREADS
    rt_gil_taken(woken);
    return n < 0 ? 0 : n;
}
/* The same, but looks again and again for so many ns, and does not sleep. */
static inline int net_epoll_spin(int epfd, int64_t ns) {
    struct epoll_event *events = net_events;
    int64_t until = rt_nanotime() + ns, woken;
    int n;
    Py_BEGIN_ALLOW_THREADS
    while ((n = epoll_wait(epfd, events, NET_EVENTS, 0)) == 0 && rt_nanotime() < until)
        sched_yield();                                    /* whoever is to write may need this processor */
    woken = rt_gil_wanted();
    Py_END_ALLOW_THREADS
    rt_gil_taken(woken);
    return n < 0 ? 0 : n;
}
static inline int net_event_fd(int i) { return net_events[i].data.fd; }
static inline unsigned int net_event_mask(int i) { return net_events[i].events; }
#else                                                     /* NET_EPOLL is 0, so nobody calls these */
static inline int net_no_epoll(void) {
    errno = ENOSYS;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}
static inline int net_epoll_create(void) { return net_no_epoll(); }
static inline int net_eventfd(void) { return net_no_epoll(); }
static inline int net_epoll_add(int epfd, int fd, unsigned int mask) { (void)epfd; (void)fd; (void)mask; return net_no_epoll(); }
static inline int net_epoll_mod(int epfd, int fd, unsigned int mask) { (void)epfd; (void)fd; (void)mask; return net_no_epoll(); }
static inline void net_epoll_del(int epfd, int fd) { (void)epfd; (void)fd; }
static inline int net_epoll_wait(int epfd, int64_t delay) { (void)epfd; (void)delay; return 0; }
static inline int net_epoll_spin(int epfd, int64_t ns) { (void)epfd; (void)ns; return 0; }
static inline int net_event_fd(int i) { (void)i; return -1; }
static inline unsigned int net_event_mask(int i) { (void)i; return 0; }
#endif

/* ---- what wakes a poller: an eventfd, or a pipe (levelpoll.py) ------------------------------------------------ */
/* Eight bytes: both take them, and at most one such message is in a pipe. */
static inline void net_event_write(int fd) {
    uint64_t one = 1;
    ssize_t r = write(fd, &one, sizeof one);
    (void)r;
}
static inline void net_event_clear(int fd) {
    uint64_t v;
    ssize_t r = read(fd, &v, sizeof v);
    (void)r;
}

static inline int net_load(int *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void net_store(int *p, int v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline int net_swap(int *p, int v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
static inline void net_add(int *p, int v) { __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }

/* list[i], or None beyond the list's end.  Without the GIL another thread may store there, or append, at the same
 * time. */
static inline PyObject *net_item(PyObject *list, Py_ssize_t i) {
    if (i >= PyList_GET_SIZE(list)) Py_RETURN_NONE;
#ifdef Py_GIL_DISABLED
    PyObject *v = PyList_GetItemRef(list, i);
    if (v != NULL) return v;
    PyErr_Clear();                                        /* another thread has emptied the list meanwhile */
    Py_RETURN_NONE;
#else
    return Py_NewRef(PyList_GET_ITEM(list, i));
#endif
}

/* Where in data the delimiter that begins at or after `start` ends; -1 if there is none that ends within `limit` bytes. */
static inline Py_ssize_t net_find(PyObject *data, Py_ssize_t start, PyObject *delimiter, Py_ssize_t limit) {
    const char *base = PyBytes_AS_STRING(data);
    size_t n = (size_t)PyBytes_GET_SIZE(delimiter);
    Py_ssize_t left = PyBytes_GET_SIZE(data) - start;
    const char *at;
    if (left > limit) left = limit;
    if (left <= 0 || n == 0) return -1;
    if (n == 1) at = memchr(base + start, PyBytes_AS_STRING(delimiter)[0], (size_t)left);
    else at = memmem(base + start, (size_t)left, PyBytes_AS_STRING(delimiter), n);
    return at == NULL ? -1 : at - base + (Py_ssize_t)n;
}

/* Whether `text` is what data has at `at`. */
static inline int net_has(PyObject *data, Py_ssize_t at, PyObject *text) {
    Py_ssize_t n = PyBytes_GET_SIZE(text);
    return at >= 0 && n <= PyBytes_GET_SIZE(data) - at
        && memcmp(PyBytes_AS_STRING(data) + at, PyBytes_AS_STRING(text), (size_t)n) == 0;
}

/* Where in data, from `start` on, the first byte is that is neither a space nor a visible character of ASCII; the end of
 * data where there is none. */
static inline Py_ssize_t net_printed(PyObject *data, Py_ssize_t start) {
    const unsigned char *p = (const unsigned char *)PyBytes_AS_STRING(data);
    Py_ssize_t n = PyBytes_GET_SIZE(data);
    while (start < n && p[start] >= 32 && p[start] < 127) start++;
    return start;
}

/* Whether the n bytes that begin at p have a line end or a NUL among them. */
static inline int net_breaks(const char *p, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 14 && (c == '\n' || c == '\r' || c == 0)) return 1;
    }
    return 0;
}

/* The head of a response: `line`, a line "name: value" for each two of `parts`, and `last`.  None where something in
 * `parts` is not bytes.  ValueError where there is a line end or a NUL inside one of those lines; `last` is not looked at. */
static inline PyObject *net_head(PyObject *line, PyObject *parts, PyObject *last) {
    Py_ssize_t n = PyList_GET_SIZE(parts), first = PyBytes_GET_SIZE(line), end = PyBytes_GET_SIZE(last);
    Py_ssize_t size = first + end + 2 * n;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!PyBytes_CheckExact(PyList_GET_ITEM(parts, i))) Py_RETURN_NONE;
        size += PyBytes_GET_SIZE(PyList_GET_ITEM(parts, i));
    }
    int wrong = first < 2 || net_breaks(PyBytes_AS_STRING(line), first - 2);
    PyObject *made = PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL) return NULL;
    char *to = PyBytes_AS_STRING(made);
    memcpy(to, PyBytes_AS_STRING(line), (size_t)first);
    to += first;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *part = PyList_GET_ITEM(parts, i);
        Py_ssize_t length = PyBytes_GET_SIZE(part);
        memcpy(to, PyBytes_AS_STRING(part), (size_t)length);
        wrong |= net_breaks(to, length);
        to += length;
        *to++ = i & 1 ? '\r' : ':';
        *to++ = i & 1 ? '\n' : ' ';
    }
    memcpy(to, PyBytes_AS_STRING(last), (size_t)end);
    if (wrong) {
        Py_DECREF(made);
        PyErr_SetString(PyExc_ValueError, "a header of the response has a line end in it");
        return NULL;
    }
    return made;
}

/* The n bytes of a websocket's frame that begin at `at`, without the mask: the four bytes before them. */
static inline PyObject *net_unmask(PyObject *data, Py_ssize_t at, Py_ssize_t n) {
    PyObject *made = PyBytes_FromStringAndSize(NULL, n);
    if (made == NULL) return NULL;
    const unsigned char *from = (const unsigned char *)PyBytes_AS_STRING(data) + at, *mask = from - 4;
    unsigned char *to = (unsigned char *)PyBytes_AS_STRING(made);
    uint64_t word, key;
    Py_ssize_t i = 0;
    memcpy(&key, mask, 4);
    memcpy((char *)&key + 4, mask, 4);
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= key;
        memcpy(to + i, &word, 8);
    }
    for (; i < n; i++) to[i] = from[i] ^ mask[i & 3];
    return made;
}

/* ---- descriptors --------------------------------------------------------------------------------------------- */
/* recv and send without the C library's.  In a process with threads those make each call a place where pthread_cancel may
 * end the thread, and wait for it, which nobody here does: four atomic operations a message.  ThreadSanitizer has to see
 * the library's. */
#if defined(__linux__) && defined(SYS_recvfrom) && defined(SYS_sendto) && !defined(__SANITIZE_THREAD__)
#define net_sys_recv(fd, buf, n) ((ssize_t)syscall(SYS_recvfrom, fd, buf, n, 0, NULL, NULL))
#define net_sys_send(fd, buf, n) ((ssize_t)syscall(SYS_sendto, fd, buf, n, MSG_NOSIGNAL, NULL, (socklen_t)0))
#else
#define net_sys_recv(fd, buf, n) recv(fd, buf, n, 0)
#define net_sys_send(fd, buf, n) send(fd, buf, n, MSG_NOSIGNAL)
#endif

static inline ssize_t net_recv_raw(int fd, void *buf, size_t n, int sock) {
    ssize_t r;
    do r = sock ? net_sys_recv(fd, buf, n) : read(fd, buf, n); while (r < 0 && errno == EINTR);
    return r;
}

/* Reads up to n bytes; None when the call would block.  Small reads go through a buffer of the thread, and the result
 * has exactly the size that was read.  So a large n costs nothing. */
static inline PyObject *net_read(int fd, Py_ssize_t n, int sock) {
    ssize_t r;
    if (n <= NET_HOLD) {
        r = net_recv_raw(fd, net_scratch, (size_t)n, sock);
        if (r >= 0) return PyBytes_FromStringAndSize(net_scratch, r);
    } else {
        PyObject *b = PyBytes_FromStringAndSize(NULL, n);
        int e;
        if (b == NULL) return NULL;
        Py_BEGIN_ALLOW_THREADS
        r = net_recv_raw(fd, PyBytes_AS_STRING(b), (size_t)n, sock);
        e = errno;
        Py_END_ALLOW_THREADS
        if (r >= 0) {
            if (r != n && _PyBytes_Resize(&b, r) < 0) return NULL;
            return b;
        }
        Py_DECREF(b);
        errno = e;
    }
    if (net_would_block(errno)) Py_RETURN_NONE;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static inline Py_ssize_t net_readinto(int fd, PyObject *target, int sock) {
    Py_buffer view;
    ssize_t r;
    int e = 0;
    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0) return -1;
    if (view.len <= NET_HOLD) {
        r = net_recv_raw(fd, view.buf, (size_t)view.len, sock);
        e = errno;
    } else {
        Py_BEGIN_ALLOW_THREADS
        r = net_recv_raw(fd, view.buf, (size_t)view.len, sock);
        e = errno;
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&view);
    if (r >= 0) return r;
    if (net_would_block(e)) return NET_AGAIN;
    errno = e;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static inline Py_ssize_t net_sent(ssize_t r, int e) {
    if (r >= 0) return r;
    if (net_would_block(e)) return NET_AGAIN;
    errno = e;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static inline ssize_t net_send_raw(int fd, const void *buf, size_t n, int sock) {
    ssize_t r;
    do r = sock ? net_sys_send(fd, buf, n) : write(fd, buf, n); while (r < 0 && errno == EINTR);
    return r;
}

/* Writes data from `skip` on.  Returns the number of bytes that the kernel took. */
static inline Py_ssize_t net_write(int fd, PyObject *data, Py_ssize_t skip, int sock) {
    Py_buffer view;
    ssize_t r;
    int e = 0;
    if (PyBytes_CheckExact(data)) {
        view.buf = PyBytes_AS_STRING(data);
        view.len = PyBytes_GET_SIZE(data);
        view.obj = NULL;
    } else if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return -1;
    if (skip > view.len) skip = view.len;
    if (view.len - skip <= NET_HOLD) {
        r = net_send_raw(fd, (char *)view.buf + skip, (size_t)(view.len - skip), sock);
        e = errno;
    } else {
        Py_BEGIN_ALLOW_THREADS
        r = net_send_raw(fd, (char *)view.buf + skip, (size_t)(view.len - skip), sock);
        e = errno;
        Py_END_ALLOW_THREADS
    }
    if (view.obj != NULL) PyBuffer_Release(&view);
    return net_sent(r, e);
}

/* The same for a tuple of buffers.  One call takes up to NET_IOV of them. */
static inline Py_ssize_t net_writev(int fd, PyObject *parts, Py_ssize_t skip, int sock) {
    Py_buffer views[NET_IOV];
    struct iovec iov[NET_IOV];
    struct msghdr msg;
    Py_ssize_t i, n = PyTuple_GET_SIZE(parts);
    int used = 0, e;
    ssize_t r;
    for (i = 0; i < n && used < NET_IOV; i++) {
        Py_buffer *v = &views[used];
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(parts, i), v, PyBUF_SIMPLE) < 0) {
            while (used > 0) PyBuffer_Release(&views[--used]);
            return -1;
        }
        if (skip >= v->len) {
            skip -= v->len;
            PyBuffer_Release(v);
            continue;
        }
        iov[used].iov_base = (char *)v->buf + skip;
        iov[used].iov_len = (size_t)(v->len - skip);
        skip = 0;
        used++;
    }
    memset(&msg, 0, sizeof msg);
    msg.msg_iov = iov;
    msg.msg_iovlen = (size_t)used;
    Py_BEGIN_ALLOW_THREADS
    do r = sock ? sendmsg(fd, &msg, MSG_NOSIGNAL) : writev(fd, iov, used); while (r < 0 && errno == EINTR);
    e = errno;
    Py_END_ALLOW_THREADS
    while (used > 0) PyBuffer_Release(&views[--used]);
    return net_sent(r, e);
}

/* Accepts a connection: (descriptor, the peer's address as the kernel gives it).  None when no connection is
 * pending. */
static inline PyObject *net_accept(int fd, PyObject *sock) {
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    int c;
    (void)sock;
    do {
        len = sizeof addr;
#ifdef SOCK_NONBLOCK
        c = accept4(fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
        c = accept(fd, (struct sockaddr *)&addr, &len);
        if (c >= 0 && (fcntl(c, F_SETFD, FD_CLOEXEC) < 0 || fcntl(c, F_SETFL, fcntl(c, F_GETFL) | O_NONBLOCK) < 0)) {
            int e = errno;
            close(c);
            errno = e;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
#endif
        /* ECONNABORTED: the peer has closed the connection before it was accepted. */
    } while (c < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (c >= 0) {
        PyObject *result = Py_BuildValue("(iy#)", c, (char *)&addr, (Py_ssize_t)(len > sizeof addr ? sizeof addr : len));
        if (result == NULL) close(c);
        return result;
    }
    if (net_would_block(errno)) Py_RETURN_NONE;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static inline void net_close(int fd) { close(fd); }
/* Another descriptor of the same file, or the negative error. */
static inline int net_dup(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}
#endif
