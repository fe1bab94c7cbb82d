# direct.pxd: the C signatures of direct.py, which has nothing for the uncompiled core.
from cpython.ref cimport PyObject
from gort._runtime.core.runtime2 cimport M, Op
from gort._runtime.wait.chan cimport Chan
cdef inline bint nothing_special(M m) noexcept
cdef inline bint put_one(Chan c, Op op) noexcept
cdef inline bint take_one(Chan c, Op op) noexcept
cdef inline bint on_buffer(Chan c, Op op) noexcept
cdef int move(Op op, PyObject *arg, PyObject **result) noexcept
cdef int value_send(Op op, PyObject *arg, PyObject **result) noexcept
