# direct.pxd: the C signatures of direct.py, which has nothing for the uncompiled core.
from cpython.ref cimport PyObject
from gort._runtime.core.runtime2 cimport M, Op
from gort._runtime.wait.chan cimport Chan
cdef enum:  # beside READY and PARK
    MET = 2
    LONG = 3
cdef inline bint nothing_special(M m) noexcept
cdef inline void put_one(Chan c, Op op) noexcept
cdef inline void take_one(Chan c, Op op) noexcept
cdef inline int met(Chan c, Op op, Op w) noexcept
cdef inline int sends(Chan c, Op op) noexcept
cdef inline int receives(Chan c, Op op) noexcept
cdef int tries(Chan c, Op op) noexcept
cdef inline int waits(M m, Chan c, Op op) noexcept
cdef inline int moves(M m, Chan c, Op op) noexcept
cdef inline int suspends(Op op, M m, PyObject **result) noexcept
cdef inline int wakes(Op op, PyObject **result) noexcept
cdef inline int answers(Op op, PyObject **result) noexcept
cdef int begins(Op op, PyObject *arg, PyObject **result) noexcept
cdef int resumes(Op op, PyObject *arg, PyObject **result) noexcept
cdef inline bint moved(M m, Chan c, Op op) noexcept
cdef int value_send(Op op, PyObject *arg, PyObject **result) noexcept
