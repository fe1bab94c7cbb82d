# core.pxd: the C types of core.py.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport M, Op
from gort._runtime.poll.fd cimport FD
from gort._runtime.poll.netpoll cimport Netpoll
from gort._runtime.aio.stream cimport Cork
from gort._runtime.aio.watch cimport Watches

cdef enum:
    EVENTS = 256

cdef class LoopCore:
    cdef public object _ready
    cdef public object _scheduled
    cdef public object _transports
    cdef public object _own
    cdef dict _keys
    cdef public object _signal_handlers
    cdef public bint _stopping
    cdef public bint _closed
    cdef public bint _debug
    cdef public bint _turns
    cdef public bint _woken
    cdef public bint _due
    cdef bint _seen
    cdef public bint _again
    cdef public Py_ssize_t _timer_cancelled_count
    cdef public object _task_factory
    cdef public object _came
    cdef public dict _streams
    cdef public Watches _watches
    cdef Cork _cork
    cdef public int _ep
    cdef public int64_t _looked
    cdef int64_t _clock
    cdef public bint _own_clock
    cdef public int64_t _tick
    cdef public int64_t _since
    cdef public int64_t _deadline
    cdef int _bellfd
    cdef Netpoll _np
    cdef Op _place
    cdef readonly bint _inplace
    cdef M _m
    cdef public FD _fd
    cdef public object _bell

cdef object cut(object handle)
cdef bint plain(dict kwargs) except -1
cdef bint lone(LoopCore core) except -1
cdef int run_ready(Cork cork, object ready, Py_ssize_t n) except -1
cdef int run_once(LoopCore core) except -1
cdef bint turn(LoopCore core, object m) except -1
cdef object look(LoopCore core)
cdef object found(LoopCore core, int fd, unsigned int mask, object others)
cdef bint again(LoopCore core) except -1
cdef PyObject *call_soon_fast(PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) except NULL
