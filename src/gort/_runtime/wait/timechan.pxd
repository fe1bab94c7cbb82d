# timechan.pxd: the C types of timechan.py, Timer and Ticker.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t
from gort._runtime.core.lockrank cimport LOCK_RANK_HCHAN
from gort._runtime.c.rt cimport rt_mutex, rt_lock, rt_unlock
from gort._runtime.core.runtime2 cimport M
from gort._runtime.wait.chan cimport Chan
from gort._runtime.sched.timers cimport Timer as HeapTimer
cdef class Timer(HeapTimer):
    cdef readonly Chan c
    cdef int64_t expires
    cdef int64_t period
    cdef int blocked
    cdef int golasti
    cdef object context
    cdef object gocode
    cdef int64_t parentgoid
    cdef object home
    cdef check(self)
    cdef rt_mutex mu
    cdef inline void lock_state(self) noexcept:
        if self.c is not None:
            self.c.lock()
        else:
            rt_lock(&self.mu, LOCK_RANK_HCHAN)
    cdef inline void unlock_state(self) noexcept:
        if self.c is not None:
            self.c.unlock()
        else:
            rt_unlock(&self.mu, LOCK_RANK_HCHAN)
    cpdef look(self)
    cpdef block(self)
    cpdef unblock(self)
    cdef int fire(self, int64_t gen, int64_t now) except -1
    cdef bint set(self, int64_t when)
cdef class Ticker(Timer):
    pass
cdef Timer start_later(M m, object seconds, object fn, tuple args, object code, int lasti)
cdef PyObject *after_func_fast(PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) except NULL
