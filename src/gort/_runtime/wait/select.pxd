# select.pxd: the C signatures of select.py.
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from gort._runtime.core.runtime2 cimport G, M, Op
from gort._runtime.wait.chan cimport Chan
cpdef enum:
    DEFAULT = 1
    TIMED = 2
    TWICE = 4
    FEW = 16
cdef class SelectOp(Op):
    cdef leave(self)
cdef PyObject *select_fast(PyObject *self, PyObject **args, Py_ssize_t nargs, PyObject *kwnames) except NULL
cdef object choose(tuple cases, bint default)
cdef inline uint64_t address(object c) noexcept
cdef inline bint same(Op op, Op other) noexcept
cdef void lockorder(Op sel) noexcept
cdef inline void sellock(Op sel) noexcept
cdef inline void selunlock(Op sel) noexcept
cdef inline int cheaprandn(M m, int n) noexcept
cpdef list shuffled(int n, M m)
cdef inline int pass1(tuple cases, M m) except -2
cdef inline int picked(Op sel, Op case) except -1
cdef bint from_outside(tuple cases) except -1
cdef int watch_timers(tuple cases, bint waits) except -1
cdef M stranger(Op sel)
cdef inline bint open_for(Chan c, Op case) noexcept
cdef inline PyObject *case_at(tuple cases, Py_ssize_t i) noexcept
cdef inline void enlist(Op case, Op sel, G g) noexcept
cdef inline void delist(Op case) noexcept
cdef look(tuple cases)
